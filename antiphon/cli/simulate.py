"""``antiphon simulate``: a federation of any number of agents in virtual time."""

import json
import sys
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from antiphon.codecs.errors import ConfigError
from antiphon.demo.defaults import one_thread

if TYPE_CHECKING:  # numpy must not be imported before its threads are counted
    from rich.console import Console

    from antiphon.simulation.population import Population
    from antiphon.simulation.results import Point, Result


def simulate(
    population: Annotated[
        str, typer.Argument(help="The name of a population that comes with Antiphon, or a .toml file.")
    ] = "",
    preset: Annotated[
        list[str] | None,
        typer.Option(
            help="Run this algorithm, or this one of the file's [compare]; may be repeated.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Decides every draw; by default the population's.", min=0, show_default=False),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write all numbers to this file.", show_default=False)
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the runs into this .png file.", show_default=False)
    ] = None,
) -> None:
    """Run a federation of simulated agents in virtual time, with the real coordinator and agents.

    Without a population it lists those that come with Antiphon. docs/simulate.md explains the file.

    Example: antiphon simulate fadas --preset fedbuff --preset fedasync --plot fadas.png
    """
    one_thread()
    import msgspec

    from antiphon.demo.datasets import open_dataset
    from antiphon.demo.table import console as make_console
    from antiphon.simulation import report
    from antiphon.simulation.complaints import listening
    from antiphon.simulation.learning import prepare
    from antiphon.simulation.population import open_population, shipped
    from antiphon.simulation.study import study

    console = make_console()
    if not population:
        for name, line in shipped().items():
            console.print(f"{name:<16}{line}", highlight=False, markup=False, soft_wrap=True)
        return
    people, folder = open_population(population)
    if seed is not None:
        people = msgspec.structs.replace(people, seed=seed)
    presets = tuple(preset or (people.preset,))
    people.check(presets)
    _check_outputs(plot, json_file)
    name = Path(population).stem
    rows = open_dataset(people.model.dataset, folder)
    with tempfile.TemporaryDirectory(prefix="antiphon-simulate-") as scratch, listening() as heard:
        place = Path(scratch)
        learning = prepare(people, rows, place)
        report.introduce(console, people, name, learning.held_out)
        with _progress(people) as tell:
            found = [study(people, each, learning, place / each, tell) for each in presets]
    _tell(console, people, name, learning.held_out, found, json_file, plot)
    for line in heard.lines():
        print(f"complaint: {line}", file=sys.stderr)


def _tell(
    console: "Console",
    people: "Population",
    name: str,
    held_out: int,
    found: "list[Result]",
    json_file: Path | None,
    plot: Path | None,
) -> None:
    from antiphon.simulation import report, results

    report.report(console, people, found)
    if json_file is not None:
        plain = results.document(people, name, held_out, found)
        json_file.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")
    if plot is not None:
        report.draw(plot, people, found)


def _check_outputs(plot: Path | None, json_file: Path | None) -> None:
    """Refuse before the run what could not be written after it.

    Raises:
        ConfigError: Names the option and what to do.
    """
    from antiphon.monitor import plots

    for option, path in (("--plot", plot), ("--json", json_file)):
        if path is not None and not path.parent.is_dir():
            raise ConfigError(f"{option} {path}: there is no folder {path.parent}, make it first")
    if plot is not None and plot.suffix.lower() != ".png":
        raise ConfigError(f"--plot {plot}: only .png files are drawn")
    if plot is not None and not plots.available():
        raise ConfigError("plots need matplotlib: pip install 'antiphon[plots]'")


@contextmanager
def _progress(population: "Population") -> Generator["Callable[[str, Point], None]"]:
    """Show how far a run is, on a terminal; the line goes away with the block."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    from antiphon.simulation.report import WORDS

    console, run = Console(stderr=True), population.run
    words = TextColumn("{task.description}", markup=False)
    with Progress(
        words, BarColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=1.0)

        def tell(preset: str, point: "Point") -> None:
            shares = [point.seconds / run.seconds]
            shares += [point.version / run.versions] if run.versions else []
            shares += [point.updates / run.updates] if run.updates else []
            score = f"{WORDS[run.score]} {point.score:.4f}"
            words = f"{preset} {point.seconds:.0f} s, version {point.version}, {score}"
            bar.update(task, completed=min(1.0, max(shares)), description=words)

        yield tell
