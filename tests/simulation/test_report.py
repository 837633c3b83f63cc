"""What a run prints: tables that fit 80 columns and say everything, and the picture."""

import io
from pathlib import Path
from typing import Any

import msgspec
import pytest
from populations import result, small
from rich.console import Console

from antiphon.simulation import report
from antiphon.simulation.delays import Law
from antiphon.simulation.population import DataSettings, Population, RunSettings, SpeedClass, open_population
from antiphon.simulation.results import ClassResult

WIDTH = 80


def printed(draw: Any, *arguments: Any) -> list[str]:
    out = io.StringIO()
    draw(Console(file=out, width=WIDTH), *arguments)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def row(lines: list[str], name: str) -> list[str]:
    return next(line for line in lines if line.startswith(name)).split()


def test_time_to_each_target_is_a_row_a_run_and_a_dash_where_it_never_came() -> None:
    lines = printed(report.report, small(), [result(), result("fedasync", points=())])
    heading = "seconds to accuracy 0.6 0.8 1.1 at the end version merged rejected"
    assert " ".join(row(lines, "seconds to")) == heading
    assert row(lines, "fedbuff") == ["fedbuff", "10.0", "10.0", "-", "0.8000", "6", "4", "1"]
    assert row(lines, "fedasync") == ["fedasync", "-", "-", "-", "-", "6", "4", "1"]


def test_classes_staleness_and_refusals_are_told_for_each_run() -> None:
    lines = printed(report.report, small(), [result(), result("fedasync")])
    assert lines.count("rejected: run-over 1") == 2
    assert "fedbuff: version 6 is the last of 6; digest abababababababab" in lines
    assert row(lines, "fast") == [
        "fast",
        "3",
        "66.7",
        "%",
        "3",
        "1.0",
        "90.0",
        "%",
        "0.9500",
        "4.2",
        "MB",
        "123.0",
        "MB",
    ]
    assert row(lines, "slow") == [
        "slow",
        "2",
        "33.3",
        "%",
        "1",
        "7.0",
        "10.0",
        "%",
        "-",
        "1.0",
        "kB",
        "2.0",
        "kB",
    ]
    assert lines.count("Staleness of 4 merged updates, in versions (mean 2.5):") == 2
    assert any(line.split() == ["1", "3", "#" * 40] for line in lines)


def test_run_in_which_nothing_happened_is_told_too() -> None:
    nobody = ClassResult("fast", 3, 90, 0, 0, 0.0, 0.0, None, 0, 0)
    lines = printed(report.report, small(), [result(points=(), staleness=(), refusals={}, classes=(nobody,))])
    assert "Staleness of 0 merged updates, in versions (mean 0.0):" in lines
    assert not any("rejected:" in line for line in lines)


@pytest.mark.parametrize("name", ["fadas", "fedbuff", "fedstaleweight"])
def test_tables_of_shipped_populations_fit_80_columns(name: str) -> None:
    population, _ = open_population(name)
    large = [
        ClassResult(each.name, each.agents, 10_000, 99_999, 99_999, 2345.6, 0.999, 0.9999, 10**10, 10**11)
        for each in population.classes
    ]
    lines = printed(
        report.report, population, [result("fedadagrad", version=99_999, applied=99_999, classes=large)]
    )
    assert max(len(line) for line in lines) <= WIDTH
    assert not any("\N{HORIZONTAL ELLIPSIS}" in line for line in lines)
    assert len([line for line in lines if line.startswith(population.classes[-1].name)]) == 1


def described(**more: Any) -> str:
    each = SpeedClass(name="few", agents=2, delay=Law(law="exponential", scale=5.0), **more)
    return "\n".join(printed(report.introduce, small(classes=(each,)), "two-speeds", 30))


def test_introduction_says_who_takes_part() -> None:
    lines = printed(report.introduce, small(), "two-speeds", 30)
    assert lines[0] == "two-speeds: 5 agents, seed 3"
    assert lines[1:3] == ["  3 x fast: uniform 1 to 2 s a training", "  2 x slow: 8 s a training"]
    assert lines[3] == "  rows.npz, logistic, dealt out evenly; accuracy on 30 held-out rows"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"factor": Law(law="lognormal", sigma=0.5)}, "each agent's times lognormal(0, 0.5)"),
        ({"dropout": 0.05}, "gone (never back) after 5 % of them"),
        ({"dropout": 0.5, "away": 30.0}, "gone (for a while) after 50 % of them"),
        ({"leaves": 90.0}, "leave at 90 s"),
        ({"labels": ("8", "9")}, "alone with 8, 9"),
    ],
)
def test_what_is_special_about_a_class_is_told(more: dict[str, Any], words: str) -> None:
    assert words in described(**more)


def test_partition_and_score_have_their_words() -> None:
    def last(data: DataSettings, run: RunSettings) -> str:
        population: Population = msgspec.structs.replace(small(), data=data, run=run)
        return printed(report.introduce, population, "x", 30)[-1]

    assert "Dirichlet(0.3); AUC" in last(
        DataSettings(partition="dirichlet", alpha=0.3), RunSettings(score="auc")
    )
    assert "3 labels each; log loss" in last(
        DataSettings(partition="label", labels=3), RunSettings(score="log_loss")
    )


def test_runs_are_drawn_into_one_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    report.draw(tmp_path / "runs.png", small(), [result(), result("fedasync")])
    assert (tmp_path / "runs.png").read_bytes()[:4] == b"\x89PNG"
