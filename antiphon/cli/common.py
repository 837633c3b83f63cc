"""What several commands share: the options of a trainer's factory, and stopping a service by signals."""

import asyncio
import signal
import sys
from collections.abc import Callable
from typing import Annotated

import typer

SIGNALS = (signal.SIGINT, signal.SIGTERM)

Data = Annotated[str, typer.Option(metavar="FILE", help="The factory's argument `data`.", show_default=False)]

Arguments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "--argument",
        metavar="NAME=VALUE",
        help="Another argument for the factory; repeat it.",
        show_default=False,
    ),
]


def stop_on_signals(stop: Callable[[], None]) -> None:
    """Call ``stop`` at the first SIGINT or SIGTERM; a second one ends the process at once.

    Call it in a running event loop. On Windows, whose loop knows no signals, Ctrl-C interrupts instead.
    """
    if sys.platform == "win32":
        return
    loop = asyncio.get_running_loop()

    def first() -> None:
        for name in SIGNALS:
            loop.remove_signal_handler(name)
        stop()

    for name in SIGNALS:
        loop.add_signal_handler(name, first)
