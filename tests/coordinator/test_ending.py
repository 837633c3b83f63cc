"""When a run is over."""

import pytest

from antiphon.coordinator.ending import (
    Course,
    Report,
    mean_metric,
    why_over,
)
from antiphon.coordinator.settings import End

REPORTS = {"a": Report(100, {"auc": 0.9}), "b": Report(300, {"auc": 0.7}), "c": Report(5, {"loss": 1.0})}


def test_without_any_condition_a_run_never_ends() -> None:
    assert why_over(End(), Course(10**9, 1e9, REPORTS)) == ""


@pytest.mark.parametrize(("number", "over"), [(-1, False), (4, False), (5, True), (6, True)])
def test_run_ends_with_its_last_version(number: int, over: bool) -> None:
    assert bool(why_over(End(max_versions=5), Course(number, 0.0))) == over


def test_time_counts_from_the_first_version() -> None:
    assert why_over(End(time_budget=60.0), Course(-1, 100.0)) == ""
    assert why_over(End(time_budget=60.0), Course(0, 59.0)) == ""
    assert "time budget" in why_over(End(time_budget=60.0), Course(0, 60.0))


def test_mean_is_weighted_by_examples_and_skips_who_did_not_report() -> None:
    assert mean_metric("auc", REPORTS) == (pytest.approx(0.75), 2)
    assert mean_metric("f1", REPORTS) == (0.0, 0)
    assert mean_metric("auc", {"a": Report(0, {"auc": 0.5})}) == (0.5, 1)
    liar = {"a": Report(1 << 53, {"auc": 1e308}), "b": Report(1 << 53, {"auc": -1e308})}
    assert mean_metric("auc", liar) == (0.0, 2)


def test_target_is_met_by_the_mean_of_enough_agents() -> None:
    course = Course(3, 0.0, REPORTS)
    assert "auc" in why_over(End(target_metric="auc", target_value=0.75), course)
    assert why_over(End(target_metric="auc", target_value=0.76), course) == ""
    assert why_over(End(target_metric="auc", target_value=0.1, target_agents=3), course) == ""


def test_falling_metric_has_to_fall() -> None:
    end = End(target_metric="loss", target_value=0.5, target_direction="at-most", target_agents=1)
    assert why_over(end, Course(3, 0.0, REPORTS)) == ""
    assert why_over(end, Course(3, 0.0, {"c": Report(5, {"loss": 0.5})}))
