"""Bars of text."""

import io

from rich.console import Console

from antiphon.monitor.bars import bars


def lengths(rows: list[tuple[str, int]]) -> list[int]:
    out = io.StringIO()
    Console(file=out, width=80).print(bars(rows))
    return [line.count("#") for line in out.getvalue().splitlines()]


def test_smallest_bar_that_is_not_empty_is_seen() -> None:
    assert lengths([("0", 1000), ("1", 1), ("2", 0)]) == [40, 1, 0]


def test_no_rows_are_no_bars() -> None:
    assert sum(lengths([])) == 0
