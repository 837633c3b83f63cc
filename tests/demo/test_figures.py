"""Ten splits and their means."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from antiphon.demo import figures
from antiphon.demo.outcome import Outcome
from antiphon.demo.stage import Plan


def test_all_splits_are_shown_and_the_means_below(
    outcome: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders: list[Path] = []

    def run(dataset: str, seed: int, folder: Path, plan: Plan, *, embedded: bool) -> Outcome:
        folders.append(folder)
        return replace(outcome, pooled=0.8 + 0.01 * seed, federated=0.8)

    monkeypatch.setattr(figures, "quiet_demo", run)
    out = io.StringIO()
    done = figures.figures(Console(file=out, width=80), "credit", range(3), Plan(), tmp_path)
    assert [round(one.pooled, 6) for one in done] == [0.8, 0.81, 0.82]
    assert len(set(folders)) == 3
    last = out.getvalue().strip().splitlines()[-1].split()
    assert last == ["mean", "0.8100", "0.8000", "0.6350", "0.0100", "0.1650"]


def test_command_line_reaches_the_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []
    monkeypatch.setattr(figures, "figures", lambda *arguments, **more: given.extend(arguments))  # pyright: ignore
    figures.main(["--dataset", "digits", "--seeds", "2", "--seconds", "7"])
    assert given[1:4] == ["digits", range(2), Plan(seconds=7.0)]
