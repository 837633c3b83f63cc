"""A terminal gets a table that changes, a pipe gets lines."""

import io

from rich.console import Console
from rich.table import Table

from antiphon.demo.display import LiveDisplay, PlainDisplay, display


def tables(made: list[int]) -> Table:
    made.append(1)
    return Table("one")


def test_pipe_gets_a_line_now_and_then_and_every_note() -> None:
    out, made = io.StringIO(), list[int]()
    screen = display(Console(file=out, width=80))
    assert isinstance(screen, PlainDisplay)
    with screen:
        for tenth in range(100):
            screen.show(tenth / 10, f"second {tenth / 10:g}", lambda: tables(made))
        screen.note("a [bold]note[/bold]")
    assert out.getvalue().splitlines() == ["second 0", "second 4", "second 8", "a [bold]note[/bold]"]
    assert not made


def test_terminal_gets_the_table_and_is_given_back() -> None:
    out, made = io.StringIO(), list[int]()
    screen = display(Console(file=out, width=80, force_terminal=True))
    assert isinstance(screen, LiveDisplay)
    with screen:
        screen.show(0.0, "now", lambda: tables(made))
        screen.note("a note")
    assert made
    assert "a note" in out.getvalue()
    assert "now" in out.getvalue()
    assert out.getvalue().endswith("\x1b[?25h") or "\x1b[?25h" in out.getvalue()  # the cursor is back
