"""The whole demo: set the stage, play, compare, report."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from rich.console import Console

from antiphon.broker_config.mosquitto import find_mosquitto
from antiphon.codecs.errors import ConfigError
from antiphon.demo.credit import credit
from antiphon.demo.digits import digits
from antiphon.demo.display import Display, PlainDisplay, display
from antiphon.demo.outcome import Outcome, conclude
from antiphon.demo.play import play
from antiphon.demo.problem import Problem
from antiphon.demo.processes import Children, free_port
from antiphon.demo.report import draw, report
from antiphon.demo.stage import Plan, Stage, prepare, save_summary

DATASETS: Mapping[str, Callable[[int], Problem]] = MappingProxyType({"credit": credit, "digits": digits})
"""The problems, by the name that people type; each takes a seed."""


def demo(
    console: Console,
    dataset: str,
    seed: int,
    folder: Path,
    plan: Plan,
    port: int = 0,
    *,
    embedded: bool = False,
) -> Outcome:
    """Run one demo and print all about it.

    Args:
        console: Where to print.
        dataset: A name in `DATASETS`.
        seed: Decides which rows are held out.
        folder: For everything that is written; replaced if a demo made it.
        plan: How long it takes.
        port: Of the broker, on the loopback; 0 for any free one.
        embedded: Use the broker that pip installs, even where mosquitto is.

    Raises:
        ConfigError: An argument is not usable, or something is not installed.
        AntiphonError: A process failed, or nothing happened.
    """
    stage = _staged(dataset, seed, folder, plan, port, embedded)
    introduce(console, stage)
    outcome = perform(stage, display(console))
    save_summary(stage, outcome.summary())
    report(console, outcome, draw(outcome))
    return outcome


def quiet_demo(dataset: str, seed: int, folder: Path, plan: Plan, *, embedded: bool = False) -> Outcome:
    """Run one demo without a word."""
    stage = _staged(dataset, seed, folder, plan, 0, embedded)
    return perform(stage, PlainDisplay(Console(quiet=True)))


def _staged(dataset: str, seed: int, folder: Path, plan: Plan, port: int, embedded: bool) -> Stage:
    if dataset not in DATASETS:
        raise ConfigError(f"--dataset {dataset}: use {' or '.join(DATASETS)}")
    return prepare(DATASETS[dataset](seed), plan, folder.resolve(), free_port(port), embedded=embedded)


def perform(stage: Stage, screen: Display) -> Outcome:
    """Run the processes; they have all ended when this returns or raises."""
    logging.getLogger("antiphon").addHandler(logging.NullHandler())  # the screen is taken; children have logs
    with Children(stage.folder / "logs") as children, screen:
        run = asyncio.run(play(stage, children, screen))
    return conclude(run)


def introduce(console: Console, stage: Stage) -> None:
    """Say what is about to happen."""
    problem = stage.problem
    parts = stage.parts

    def say(text: str = "") -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    say(f"{problem.title}")
    banks = f"{len(problem.banks)} {problem.holder}s"
    broker = "the embedded one" if stage.embedded or find_mosquitto() is None else "mosquitto"
    say(
        f"A broker ({broker}), a coordinator and {banks} are processes of their own;\n"
        f"each {problem.holder} sees its own rows only."
    )
    for id, part in parts.items():
        say(f"  {id}: {PARTS.get(part, part)}")
    say(f"\nTo look at every topic from another terminal:\n{stage.look}\n")


PARTS = {
    "20 x slower": "20 times slower than the others",
    "killed": "killed half way (kill -9), and comes back",
    "joins late": "joins when the others are well under way",
}
