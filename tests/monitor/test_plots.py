"""Pictures come out as PNG files of the right size, also of runs in which nothing happened."""

import sys
from pathlib import Path

import pytest

from antiphon.codecs.errors import ConfigError
from antiphon.monitor import plots

pytest.importorskip("matplotlib")


def size_of(path: Path) -> tuple[int, int]:
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


def test_score_over_time(tmp_path: Path) -> None:
    points = [(0.5 * step, 2 * step, 0.6 + 0.01 * step) for step in range(20)]
    path = tmp_path / "score.png"
    plots.plot_score(path, points, {"pooled": 0.8, "alone": 0.68}, "AUC", {"killed": 4.0})
    assert size_of(path) == (960, 540)


def test_staleness_and_influence(tmp_path: Path) -> None:
    plots.plot_staleness(tmp_path / "staleness.png", [("0", 10), ("1", 4), ("2+", 0)], 0.4)
    plots.plot_influence(tmp_path / "influence.png", [("a", 0.5, 0.6, 0.4), ("b", 0.5, 0.4, 0.6)])
    assert size_of(tmp_path / "staleness.png") == (960, 480)
    assert size_of(tmp_path / "influence.png") == (960, 540)


def test_runs_beside_each_other(tmp_path: Path) -> None:
    runs = ("fedbuff", "fedasync")
    curves = {name: [(0.0, 0.1), (10.0, 0.8)] for name in runs}
    staleness = {name: [("0", 3), ("1+", 1)] for name in runs}
    influence = {name: {"fast": 0.9, "slow": 0.1} for name in runs}
    path = tmp_path / "runs.png"
    rows = {"fast": 0.5, "slow": 0.5}
    plots.plot_comparison(path, curves, staleness, influence, rows, [0.75], "accuracy")
    assert size_of(path) == (1080, 900)


def test_run_in_which_nothing_happened_still_gives_pictures(tmp_path: Path) -> None:
    plots.plot_score(tmp_path / "score.png", [], {}, "AUC")
    plots.plot_staleness(tmp_path / "staleness.png", [], 0.0)
    plots.plot_influence(tmp_path / "influence.png", [])
    plots.plot_comparison(
        tmp_path / "runs.png", {"fedbuff": []}, {"fedbuff": []}, {"fedbuff": {}}, {}, [], "auc"
    )
    assert len(list(tmp_path.iterdir())) == 4


def test_without_matplotlib_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match=r"antiphon\[plots\]"):
        plots.plot_staleness(tmp_path / "staleness.png", [], 0.0)


def test_availability_is_said_without_importing() -> None:
    assert plots.available()
