"""The demo's command line reaches the demo; the demo itself is tested in ``tests/demo``."""

from pathlib import Path
from typing import Any

import pytest

from antiphon.cli import main
from antiphon.demo import figures, run
from antiphon.demo.defaults import SECONDS
from antiphon.demo.stage import Plan


def test_options_reach_the_demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(run, "demo", lambda *given, **more: seen.append((given[1:], more)))  # pyright: ignore
    words = ["demo", "--dataset", "digits", "--seed", "3", "--output", str(tmp_path), "--seconds", "9"]
    assert main([*words, "--port", "1999", "--embedded"]) == 0
    assert seen == [(("digits", 3, tmp_path, Plan(9.0), 1999), {"embedded": True})]


def test_without_options_it_is_the_credit_data_at_its_usual_length(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(run, "demo", lambda *given, **more: seen.append((given[1:], more)))  # pyright: ignore
    assert main(["demo"]) == 0
    assert seen == [(("credit", 0, Path("demo-output"), Plan(SECONDS), 0), {"embedded": False})]


def test_figures_repeats_shorter_runs_over_ten_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(figures, "figures", lambda *given, **more: seen.append(given[1:4]))  # pyright: ignore
    assert main(["demo", "--figures"]) == 0
    assert seen == [("credit", range(10), Plan(seconds=15.0))]


def test_length_that_makes_no_sense_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--seconds", "1"]) == 2
    assert "--seconds 1: use 5 to 600" in capsys.readouterr().err
