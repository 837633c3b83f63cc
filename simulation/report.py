"""What a simulated run prints: tables of at most 80 columns, the same on a terminal and in a pipe."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from rich import box
from rich.console import Console
from rich.table import Table

from antiphon.monitor import plots
from antiphon.monitor.bars import bars
from antiphon.monitor.record import histogram
from antiphon.simulation.population import Population, SpeedClass
from antiphon.simulation.results import Result, time_to

WORDS = {"accuracy": "accuracy", "auc": "AUC", "log_loss": "log loss"}


def introduce(console: Console, population: Population, name: str, held_out: int) -> None:
    """Say who takes part."""
    run, data = population.run, population.data
    split = {
        "iid": "evenly",
        "dirichlet": f"Dirichlet({data.alpha:g})",
        "label": f"{data.labels} labels each",
    }
    _say(console, f"{name}: {len(population.ids)} agents, seed {population.seed}")
    for each in population.classes:
        _say(console, f"  {each.agents} x {each.name}: {each.pace} a training")
        if special := _special(each):
            _say(console, f"    {', '.join(special)}")
    _say(
        console,
        f"  {population.model.dataset}, {population.model.trainer}, dealt out {split[data.partition]}; "
        f"{WORDS[run.score]} on {held_out} held-out rows",
    )


def _special(each: SpeedClass) -> list[str]:
    parts: list[str] = []
    if each.factor is not None:
        parts.append(f"each agent's times {each.factor}".removesuffix(" s"))
    if each.dropout:
        back = "never back" if each.away is None else "for a while"
        parts.append(f"gone ({back}) after {100 * each.dropout:g} % of them")
    if each.leaves is not None:
        parts.append(f"leave at {each.leaves:g} s")
    if each.labels:
        parts.append(f"alone with {', '.join(each.labels)}")
    return parts


def report(console: Console, population: Population, results: Sequence[Result]) -> None:
    """Print everything about some runs of one population."""
    console.print()
    console.print(targets(population, results))
    for result in results:
        _say(console, f"\n{result.preset}: {result.reason}; digest {result.digest.hex()[:16]}")
        if result.refusals:
            reasons = ", ".join(f"{reason} {count}" for reason, count in result.refusals.items())
            _say(console, f"rejected: {reasons}")
        console.print(classes(population, result))
        mean = fmean(result.staleness) if result.staleness else 0.0
        _say(
            console, f"\nStaleness of {len(result.staleness)} merged updates, in versions (mean {mean:.1f}):"
        )
        console.print(bars(histogram(result.staleness)))


def targets(population: Population, results: Sequence[Result]) -> Table:
    """Return the table of virtual seconds until each target, one row a run; "-" where it was not reached."""
    run = population.run
    table = _table()
    table.add_column(f"seconds to {WORDS[run.score]}", no_wrap=True)
    for target in run.targets:
        table.add_column(f"{target:g}", justify="right")
    for heading in ("at the end", "version", "merged", "rejected"):
        table.add_column(heading, justify="right")
    for result in results:
        found = [time_to(result, run.score, target) for target in run.targets]
        table.add_row(
            result.preset,
            *("-" if point is None else _seconds(point.seconds) for point in found),
            f"{result.points[-1].score:.4f}" if result.points else "-",
            str(result.version),
            str(result.applied),
            str(result.rejected),
        )
    return table


def classes(population: Population, result: Result) -> Table:
    """Return the table of speed classes: what they gave, what it weighed, what the model knows of them."""
    rows = sum(each.rows for each in result.classes)
    table = _table()
    table.add_column("class", no_wrap=True)
    for heading in ("agents", "of rows", "merged", "mean τ", "influence", WORDS[population.run.score]):
        table.add_column(heading, justify="right")
    table.add_column("up", justify="right")
    table.add_column("down", justify="right")
    for each in result.classes:
        table.add_row(
            each.name,
            str(each.agents),
            f"{100 * each.rows / rows:.1f} %",
            str(each.updates),
            f"{each.staleness:.1f}",
            f"{100 * each.influence:.1f} %",
            "-" if each.score is None else f"{each.score:.4f}",
            _size(each.up),
            _size(each.down),
        )
    return table


def draw(path: Path, population: Population, results: Sequence[Result]) -> None:
    """Draw all runs into one PNG file.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    rows = sum(each.rows for each in results[0].classes)
    plots.plot_comparison(
        path,
        {result.preset: [(point.seconds, point.score) for point in result.points] for result in results},
        {result.preset: histogram(result.staleness) for result in results},
        {result.preset: {each.name: each.influence for each in result.classes} for result in results},
        {each.name: each.rows / rows for each in results[0].classes},
        population.run.targets,
        WORDS[population.run.score],
    )


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f}" if seconds < 100 else f"{seconds:.0f}"


def _size(count: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count / 1e3:.1f} kB"
