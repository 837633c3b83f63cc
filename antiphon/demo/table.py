"""The demo's tables: plain functions from what is known to what rich draws, at most 80 columns wide.

Width and shape depend on the content alone, never on the terminal, so that a run looks the same everywhere.
"""

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from antiphon.demo.board import Board, Line
from antiphon.demo.problem import Bank

WIDTH = 80

STATES = {"": "not here yet"}
COLOURS = {"not here yet": "dim", "lost": "red", "offline": "yellow", "done": "dim", "training": "green"}


def console() -> Console:
    """Return the console that the demo prints on: wide enough for every table, coloured where wanted."""
    probe = Console()
    return probe if probe.width >= WIDTH else Console(width=WIDTH)


def bank_table(
    board: Board,
    banks: Sequence[Bank],
    parts: Mapping[str, str],
    holder: str,
    alone: Mapping[str, float] | None = None,
) -> Table:
    """Return the table of banks: who it is, what it does, what it has given.

    Args:
        board: What the monitor knows.
        banks: In the order to show.
        parts: A word on the bank's part in the demo ("20 x slower"), by id.
        holder: Heading of the first column.
        alone: Score of each bank's own model by id, once it is known.
    """
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(holder, width=10, no_wrap=True)
    table.add_column("rows", justify="right", width=4)
    table.add_column("state", width=12, no_wrap=True)
    table.add_column("version", justify="right", width=7)
    table.add_column("updates", justify="right", width=7)
    table.add_column("influence", justify="right", width=9)
    if alone is not None:
        table.add_column("alone", justify="right", width=5)
    table.add_column("", width=11, no_wrap=True, style="dim")
    for bank in banks:
        line = board.agents[bank.id]
        table.add_row(
            bank.id,
            str(len(bank.rows)),
            state_of(line, over=board.state == "over"),
            str(line.version) if line.version >= 0 else "-",
            str(line.applied),
            f"{100 * line.influence:.1f} %",
            *([f"{alone[bank.id]:.3f}"] if alone is not None else []),
            parts.get(bank.id, ""),
        )
    return table


def state_of(line: Line, *, over: bool) -> Text:
    """Return an agent's state as a coloured word; who left after the run was ``over`` is done."""
    word = line.activity if line.state == "online" else STATES.get(line.state, line.state)
    word = "done" if over and line.state == "offline" else word or "online"
    return Text(word, style=COLOURS.get(word, ""))


def headline(board: Board, seconds: float, score: str, value: float | None) -> str:
    """Return one line about the federation as a whole."""
    version = max(board.version, 0)
    judged = f"   {score} {value:.3f} on held-out rows" if value is not None else ""
    return f"{seconds:4.0f} s   version {version:3}   {board.merged:4} updates merged{judged}"
