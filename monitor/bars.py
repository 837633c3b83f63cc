"""Bar charts in text, for reports on a terminal or in a file."""

from collections.abc import Sequence

from rich.table import Table


def bars(rows: Sequence[tuple[str, int]], width: int = 40) -> Table:
    """Return a bar chart of (label, count); the longest bar is ``width`` letters, what is not 0 is seen."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(width=8, justify="right")
    table.add_column(width=5, justify="right")
    table.add_column(width=width, no_wrap=True)
    most = max((count for _, count in rows), default=0)
    for label, count in rows:
        length = max(1, round(width * count / most)) if count else 0
        table.add_row(label, str(count), "#" * length)
    return table
