"""Buffer sizes and deadlines."""

import math

from hypothesis import given
from hypothesis import strategies as st

from antiphon.coordinator.aggregation.trigger import (
    Deadline,
    Every,
    Quorum,
    Updates,
    auto_size,
    buffer_size,
    deadline_seconds,
)


def test_automatic_size_for_the_agents_at_work() -> None:
    expected = {0: 1, 1: 1, 2: 2, 8: 2, 24: 2, 25: 3, 34: 3, 35: 4, 75: 8, 100: 10, 1000: 10}
    assert {agents: auto_size(agents) for agents in expected} == expected


@given(st.integers(0, 10_000))
def test_automatic_size_is_never_above_the_agents_nor_ten(agents: int) -> None:
    assert 1 <= auto_size(agents) <= max(1, min(10, agents))


def test_every_update_is_a_buffer_of_one() -> None:
    assert buffer_size(Every(), 100, 100) == 1


def test_a_size_that_was_set_stays() -> None:
    assert buffer_size(Updates(k=7), 2, 2) == buffer_size(Quorum(k=7), 2, 2) == 7


def test_automatic_updates_do_not_depend_on_who_says_to_be_live() -> None:
    assert buffer_size(Updates(), 40, 1) == buffer_size(Updates(), 40, 0) == 4


def test_an_automatic_quorum_is_everybody_at_work_who_is_live() -> None:
    assert [
        buffer_size(Quorum(), agents, live) for agents, live in [(0, 0), (0, 8), (8, 0), (8, 9), (8, 5)]
    ] == [
        1,
        1,
        8,
        8,
        5,
    ]


def test_the_deadline_is_ten_median_gaps() -> None:
    assert deadline_seconds(Deadline(), [1, 100, 2]) == 20.0
    assert deadline_seconds(Deadline(), [2, 1]) == 15.0


def test_the_deadline_is_between_a_second_and_ten_minutes() -> None:
    assert deadline_seconds(Deadline(), [0.001]) == 1.0
    assert deadline_seconds(Deadline(), [3600]) == 600.0


def test_before_a_gap_was_seen_the_deadline_is_the_shortest() -> None:
    assert deadline_seconds(Deadline(), []) == 1.0


@given(st.lists(st.floats(0, 1e9), max_size=31))
def test_any_history_gives_a_deadline_within_bounds(gaps: list[float]) -> None:
    seconds = deadline_seconds(Deadline(), gaps)
    assert math.isfinite(seconds)
    assert 1.0 <= seconds <= 600.0
