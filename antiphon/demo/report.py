"""What a demo says at its end: tables and sentences, and the pictures."""

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

from rich import box
from rich.console import Console
from rich.table import Table

from antiphon.demo.outcome import Outcome, Traffic
from antiphon.demo.table import bank_table
from antiphon.monitor import plots
from antiphon.monitor.bars import bars
from antiphon.monitor.record import histogram


def report(console: Console, outcome: Outcome, pictures: Mapping[str, Path]) -> None:
    """Print everything."""
    stage, problem = outcome.stage, outcome.stage.problem

    def say(text: str = "") -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    say()
    console.print(bank_table(outcome.board, problem.banks, stage.parts, problem.holder, outcome.alone))
    say()
    console.print(scores(outcome))
    say()
    staleness = outcome.record.staleness
    mean = fmean(staleness) if staleness else 0.0
    say(f"Staleness of the {len(staleness)} merged updates, in versions (mean {mean:.1f}):")
    console.print(bars(histogram(staleness)))
    say()
    for line in bytes_lines(outcome.traffic):
        say(line)
    say()
    for name, path in places(outcome, pictures):
        say(f"{name:<12}{path}")
    if not pictures:
        say("No pictures: matplotlib is not installed (pip install 'antiphon[plots]').")
    say("\nWhile a demo runs, anybody with the demo's monitor password can look at all its topics:")
    say(stage.look)


def scores(outcome: Outcome) -> Table:
    """Return the table of scores on the common held-out rows."""
    problem = outcome.stage.problem
    worst, best = min(outcome.alone.values()), max(outcome.alone.values())
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column(f"{problem.score} on the same {len(problem.test)} held-out rows", width=42)
    table.add_column(problem.score, justify="right", width=8)
    table.add_column("", width=22, style="dim")
    table.add_row("federation", f"{outcome.federated:.3f}", f"version {outcome.record.versions}")
    gap = outcome.federated - outcome.pooled
    table.add_row("all rows pooled in one place", f"{outcome.pooled:.3f}", f"federation {gap:+.3f}")
    gain = outcome.federated - outcome.mean_alone
    name = f"each {problem.holder} alone, mean of {len(outcome.alone)}"
    table.add_row(name, f"{outcome.mean_alone:.3f}", f"federation {gain:+.3f}")
    table.add_row(f"the worst and the best {problem.holder} alone", f"{worst:.3f}", f"to {best:.3f}")
    return table


def bytes_lines(traffic: Traffic) -> list[str]:
    """Return the sentences about bytes."""
    lines = [f"One update is {traffic.numbers:,} numbers: {traffic.raw:,} bytes as a plain array."]
    if not traffic.sealed:
        return lines
    lines[0] += f" Sealed it is {traffic.sealed:,.0f} bytes on average."
    extra = traffic.sealed - traffic.raw
    what = "header, one-time key, nonce, seal, digests, names, training time, loss"
    if extra > traffic.raw:
        lines.append(f"About {extra:,.0f} of them are fixed: {what}.")
        lines.append(
            "So a model this small is nearly all overhead; the overhead does not grow with the model."
        )
    elif extra > 0:
        lines.append(f"About {extra:,.0f} of them are fixed ({what}) and do not grow with the model.")
    return lines


def places(outcome: Outcome, pictures: Mapping[str, Path]) -> list[tuple[str, Path]]:
    """Return where things are, by name."""
    stage = outcome.stage
    return [
        ("model", stage.model),
        ("event log", stage.events),
        ("numbers", stage.folder / "summary.json"),
        *pictures.items(),
        ("logs", stage.folder / "logs"),
        ("folders", stage.folder / "banks"),
    ]


def draw(outcome: Outcome) -> dict[str, Path]:
    """Draw the pictures and return where they are; none without matplotlib."""
    if not plots.available():
        return {}
    stage, problem, record = outcome.stage, outcome.stage.problem, outcome.record
    folder = stage.folder / "plots"
    folder.mkdir(exist_ok=True)
    pictures = {name: folder / f"{name}.png" for name in ("score", "staleness", "influence")}
    levels = {
        "all rows pooled": outcome.pooled,
        f"mean of {problem.holder}s alone": outcome.mean_alone,
    }
    plots.plot_score(pictures["score"], outcome.points, levels, problem.score, outcome.marks)
    staleness = record.staleness
    mean = fmean(staleness) if staleness else 0.0
    plots.plot_staleness(pictures["staleness"], histogram(staleness), mean)
    rows, updates = len(problem.pooled), max(1, len(staleness))
    shares = [
        (bank.id, len(bank.rows) / rows, record.shares[bank.id].updates / updates, record.influence(bank.id))
        for bank in problem.banks
    ]
    plots.plot_influence(pictures["influence"], shares)
    return pictures
