"""Shows a running demo: a table that changes in place on a terminal, plain lines elsewhere."""

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text


class Display(Protocol):
    """What a run is shown on."""

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End; the screen stays usable whatever happened."""
        ...

    def note(self, text: str) -> None:
        """Say that something happened."""
        ...

    def show(self, seconds: float, line: str, table: Callable[[], Table]) -> None:
        """Show how things are."""
        ...


class LiveDisplay:
    """A terminal: the newest table stays at the bottom, notes pass above it."""

    def __init__(self, console: Console) -> None:
        """``console`` must be a terminal."""
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        """Take the bottom of the screen."""
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the screen back."""
        self._live.stop()

    def note(self, text: str) -> None:
        """Print a line above the table."""
        self._console.print(text, highlight=False, markup=False)

    def show(self, seconds: float, line: str, table: Callable[[], Table]) -> None:
        """Draw the table anew."""
        parts: list[RenderableType] = ["", Text(line), "", table()]
        self._live.update(Group(*parts), refresh=True)


class PlainDisplay:
    """A file or a pipe: a line now and then."""

    def __init__(self, console: Console, every: float = 4.0) -> None:
        """``every``: seconds between two lines."""
        self._console, self._every, self._last = console, every, float("-inf")

    def __enter__(self) -> Self:
        """Nothing to begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to end."""

    def note(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, highlight=False, markup=False)

    def show(self, seconds: float, line: str, table: Callable[[], Table]) -> None:
        """Print the line if the last one is old enough; the table waits for the end."""
        if seconds - self._last >= self._every:
            self._last = seconds
            self._console.print(line, highlight=False, markup=False)


def display(console: Console) -> Display:
    """Return what suits the console."""
    return LiveDisplay(console) if console.is_terminal else PlainDisplay(console)
