"""What is said at the end."""

import io
import re

import pytest
from rich.console import Console

from antiphon.demo.outcome import Outcome, Traffic
from antiphon.demo.report import bytes_lines, draw, report


def said(outcome: Outcome) -> str:
    out = io.StringIO()
    report(Console(file=out, width=80), outcome, draw(outcome))
    return out.getvalue()


def test_everything_that_was_promised_is_there(outcome: Outcome) -> None:
    pytest.importorskip("matplotlib")
    text = re.sub(" +", " ", said(outcome))  # rich before 14.3 made other columns
    for word in (
        "AUC on the same 250 held-out rows",
        "federation 0.801",
        "0.806 federation -0.005",
        "each bank alone, mean of 8",
        "Staleness of the 24 merged updates",
        "One update is 58 numbers: 232 bytes",
        "Sealed it is 900 bytes",
        "nearly all overhead",
        str(outcome.stage.model),
        str(outcome.stage.events),
        "score.png",
        outcome.stage.look,
    ):
        assert word in text
    assert all(path.exists() for path in draw(outcome).values())


def test_without_matplotlib_a_sentence_takes_the_place_of_pictures(
    outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("antiphon.monitor.plots.available", lambda: False)
    assert "pip install 'antiphon[plots]'" in said(outcome)


def test_overhead_is_named_as_such_only_where_it_is_most_of_it() -> None:
    assert "nearly all overhead" in bytes_lines(Traffic(58, 232, 900.0))[-1]
    large = bytes_lines(Traffic(100_000, 400_000, 400_700.0))
    assert "About 700" in large[-1]
    assert "do not grow" in large[-1]
    assert len(bytes_lines(Traffic(100_000, 400_000, 300_000.0))) == 1  # compressed below the raw size
    assert len(bytes_lines(Traffic(58, 232, 0.0))) == 1
