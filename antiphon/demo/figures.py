"""``python -m antiphon.demo.figures``: the demo over ten splits, with all ten results and their means.

One lucky split proves nothing: the same run with other rows held out, ten times, one after the other.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from rich import box
from rich.console import Console
from rich.table import Table

from antiphon.demo.defaults import FIGURES_SECONDS
from antiphon.demo.run import quiet_demo
from antiphon.demo.stage import Plan
from antiphon.demo.table import console as make_console


@dataclass(frozen=True, slots=True)
class Figure:
    """One split."""

    seed: int
    pooled: float
    federated: float
    alone: float
    worst: float
    versions: int
    seconds: float


def figures(
    console: Console,
    dataset: str,
    seeds: Sequence[int],
    plan: Plan,
    folder: Path,
    *,
    embedded: bool = False,
) -> list[Figure]:
    """Run one demo for each seed, and print the table.

    Args:
        console: Where to print.
        dataset: As for the demo.
        seeds: One for each split.
        plan: Of each run.
        folder: For a folder of each run.
        embedded: As for the demo.

    Raises:
        AntiphonError: As for the demo.
    """
    done: list[Figure] = []
    for seed in seeds:
        outcome = quiet_demo(dataset, seed, folder / f"seed-{seed}", plan, embedded=embedded)
        one = Figure(
            seed,
            outcome.pooled,
            outcome.federated,
            outcome.mean_alone,
            min(outcome.alone.values()),
            outcome.record.versions,
            outcome.seconds,
        )
        done.append(one)
        console.print(
            f"seed {seed}: pooled {one.pooled:.4f}, federated {one.federated:.4f}, alone {one.alone:.4f} "
            f"({one.versions} versions in {one.seconds:.0f} s)",
            highlight=False,
        )
    console.print(table(done))
    return done


def table(done: Sequence[Figure]) -> Table:
    """Return all splits and their means; each difference is what its heading says."""
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_footer=len(done) > 1)
    drawn.add_column("split", footer="mean")
    columns = (
        ("pooled", [one.pooled for one in done]),
        ("federated", [one.federated for one in done]),
        ("alone", [one.alone for one in done]),
        ("pooled - federated", [one.pooled - one.federated for one in done]),
        ("federated - alone", [one.federated - one.alone for one in done]),
    )
    for name, values in columns:
        drawn.add_column(name, justify="right", footer=f"{fmean(values):.4f}" if values else "")
    for number, one in enumerate(done):
        drawn.add_row(str(one.seed), *(f"{values[number]:.4f}" for _, values in columns))
    return drawn


def repeat(dataset: str, splits: int, seconds: float, *, embedded: bool = False) -> list[Figure]:
    """Run the seeds from 0 on in a temporary folder, and print on the screen."""
    with tempfile.TemporaryDirectory(prefix="antiphon-figures-") as folder:
        plan = Plan(seconds=seconds)
        return figures(make_console(), dataset, range(splits), plan, Path(folder), embedded=embedded)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m antiphon.demo.figures", description=__doc__)
    parser.add_argument("--dataset", default="credit", help="credit or digits")
    parser.add_argument("--seeds", type=int, default=10, help="number of splits, from seed 0 on")
    parser.add_argument("--seconds", type=float, default=FIGURES_SECONDS, help="of each run")
    given = parser.parse_args(arguments)
    repeat(given.dataset, given.seeds, given.seconds)


if __name__ == "__main__":
    main()
