"""What came of a run, as JSON."""

import json

import pytest
from populations import result, small

from antiphon.simulation.population import RunSettings
from antiphon.simulation.results import document, reaches, time_to


def test_time_to_a_target_is_that_of_the_first_score_that_reaches_it() -> None:
    found = time_to(result(), "accuracy", 0.8)
    assert found is not None
    assert (found.seconds, found.version) == (10.0, 4)
    assert time_to(result(), "accuracy", 0.95) is None


def test_loss_has_to_fall_to_its_target() -> None:
    assert reaches("log_loss", 0.4, 0.5)
    assert not reaches("log_loss", 0.6, 0.5)
    assert reaches("auc", 0.6, 0.5)


def test_document_has_every_number_and_nothing_that_json_cannot_hold() -> None:
    plain = document(small(), "two-speeds", 30, [result(), result("fedasync")])
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert (plain["population"], plain["seed"], plain["agents"], plain["held_out"]) == (
        "two-speeds",
        3,
        5,
        30,
    )
    first = plain["runs"][0]
    assert [run["preset"] for run in plain["runs"]] == ["fedbuff", "fedasync"]
    assert first["digest"] == "ab" * 32
    assert first["points"]["score"] == [0.3, 0.85, 0.8]
    assert first["targets"] == [
        {"target": 0.6, "seconds": 10.0, "version": 4, "updates": 8},
        {"target": 0.8, "seconds": 10.0, "version": 4, "updates": 8},
        {"target": 1.1, "seconds": None, "version": None, "updates": None},
    ]
    assert first["final"] == 0.8
    assert (first["staleness"]["mean"], first["staleness"]["median"], first["staleness"]["most"]) == (
        2.5,
        1,
        7,
    )
    assert sum(first["staleness"]["histogram"].values()) == 4
    assert [each["name"] for each in first["classes"]] == ["fast", "slow"]


def test_run_in_which_nothing_was_merged_is_a_document_too() -> None:
    plain = document(small(run=RunSettings()), "nothing", 30, [result(points=(), staleness=())])
    assert plain["runs"][0]["final"] is None
    assert plain["runs"][0]["staleness"]["mean"] is None


@pytest.mark.parametrize("key", ["time", "path", "folder", "took"])
def test_document_has_nothing_that_differs_between_two_runs(key: str) -> None:
    assert key not in json.dumps(document(small(), "two-speeds", 30, [result()])).split('"')
