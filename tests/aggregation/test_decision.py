"""When to flush, and the reason in words."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.coordinator.aggregation.decision import first_of_each, should_flush
from antiphon.coordinator.aggregation.history import Arrival, RuleState, admitted
from antiphon.coordinator.aggregation.plan import plan
from antiphon.coordinator.aggregation.presets import PRESETS, build_rule
from antiphon.coordinator.aggregation.rule import Rule

FEDBUFF = build_rule("fedbuff", {"k": 3})


def _arrivals(*pairs: tuple[str, float]) -> list[Arrival]:
    return [Arrival(agent, 0, 1, at) for agent, at in pairs]


def _after(rule: Rule, arrivals: Sequence[Arrival]) -> RuleState:
    state = RuleState()
    for arrival in arrivals:
        state = admitted(rule, state, arrival.agent, arrival.admitted_at)
    return state


@pytest.mark.parametrize("preset", PRESETS)
def test_an_empty_buffer_never_flushes(preset: str) -> None:
    decision = should_flush(build_rule(preset, {}), RuleState(), [], 1e9, 8)
    assert (decision.flush, decision.reason, decision.next_at) == (False, "the buffer is empty", None)


def test_k_updates_of_distinct_agents_flush() -> None:
    waiting = _arrivals(("a", 0), ("b", 1), ("c", 2))
    decision = should_flush(FEDBUFF, _after(FEDBUFF, waiting), waiting, 2, 3)
    assert (decision.flush, decision.reason, decision.k) == (True, "3 of 3 updates are here", 3)


def test_two_updates_of_one_agent_count_once() -> None:
    waiting = _arrivals(("a", 0), ("b", 1), ("a", 2))
    decision = should_flush(FEDBUFF, _after(FEDBUFF, waiting), waiting, 2, 3)
    assert not decision.flush
    assert first_of_each(waiting) == (0, 1)


def test_a_partial_buffer_flushes_at_its_deadline_and_says_when() -> None:
    waiting = _arrivals(("a", 10), ("b", 12))
    state = _after(FEDBUFF, waiting)
    early = should_flush(FEDBUFF, state, waiting, 13, 3)
    assert (early.flush, early.reason, early.next_at) == (False, "2 of 3 updates, 3 s of 20 s waited", 30.0)
    due = should_flush(FEDBUFF, state, waiting, 30.0, 3)
    assert (due.flush, due.reason, due.k) == (True, "2 of 3 updates at the deadline of 20 s", 3)


@pytest.mark.parametrize("preset", PRESETS)
def test_one_agent_alone_gets_versions_at_once(preset: str) -> None:
    rule = build_rule(preset, {})
    waiting = _arrivals(("a", 0))
    assert should_flush(rule, _after(rule, waiting), waiting, 0, 1).flush


def test_when_one_of_two_dies_the_other_gets_versions_at_the_deadline() -> None:
    rule = build_rule("fedbuff", {})
    state = _after(rule, _arrivals(("a", 0), ("dead", 1), ("a", 2)))
    waiting = _arrivals(("a", 2))
    decision = should_flush(rule, state, waiting, 2, 2)
    assert (decision.flush, decision.k, decision.next_at) == (False, 2, 12.0)
    assert should_flush(rule, state, waiting, 12.0, 2).flush


def test_deadlines_do_not_grow_while_a_lone_survivor_lives_on_them() -> None:
    """It trains 1 s from every version; its partner is dead, K stays 2 until 200 admissions have passed."""
    rule = build_rule("fedbuff", {})
    state = _after(rule, _arrivals(("dead", 0.0)))
    now, waits = 0.0, list[float]()
    for version in range(150):
        now += 1.0
        state = admitted(rule, state, "a", now)
        waiting = _arrivals(("a", now))
        decision = should_flush(rule, state, waiting, now, 1)
        assert decision.next_at is not None
        waits.append(decision.next_at - now)
        now = decision.next_at
        assert should_flush(rule, state, waiting, now, 1).flush
        waiting = [Arrival("a", version, 1, now)]
        state = plan(rule, state, waiting, version=version, k=decision.k, now=now).state
    assert max(waits) == pytest.approx(10.0)


def test_an_agent_asleep_for_ever_changes_no_decision() -> None:
    rule = build_rule("fedbuff", {})
    waiting = _arrivals(*[(f"a{index}", float(index)) for index in range(7)])
    for count in range(8):
        state = _after(rule, waiting[:count])
        with_sleeper = should_flush(rule, state, waiting[:count], 7.0, live=8)
        assert with_sleeper == should_flush(rule, state, waiting[:count], 7.0, live=7)


def test_every_update_flushes_under_fedasync() -> None:
    rule = build_rule("fedasync", {})
    waiting = _arrivals(("a", 0))
    assert should_flush(rule, _after(rule, _arrivals(*[(c, 0) for c in "abcdefgh"])), waiting, 0, 8).flush


def test_an_update_left_over_from_the_last_buffer_waits_from_its_flush() -> None:
    waiting = _arrivals(("a", 0), ("b", 1), ("c", 2), ("a", 2))
    state = _after(FEDBUFF, waiting)
    state = plan(FEDBUFF, state, waiting[:3], version=0, k=3, now=40.0).state
    decision = should_flush(FEDBUFF, state, waiting[3:], 41.0, 3)
    assert (decision.flush, decision.next_at) == (False, 50.0)


def test_a_clock_that_went_back_does_not_hold_a_buffer_up() -> None:
    waiting = _arrivals(("a", 5000.0))
    decision = should_flush(FEDBUFF, _after(FEDBUFF, waiting), waiting, 1400.0, 3)
    assert decision.flush
    assert "clock went back" in decision.reason


@given(
    st.sampled_from(sorted(PRESETS)),
    st.lists(st.tuples(st.sampled_from("abcdef"), st.floats(0, 1e6)), min_size=1, max_size=12),
    st.integers(0, 6),
)
def test_whatever_waits_is_flushed_ten_minutes_later(
    preset: str, pairs: list[tuple[str, float]], live: int
) -> None:
    rule = build_rule(preset, {})
    waiting = _arrivals(*sorted(pairs, key=lambda pair: pair[1]))
    state = _after(rule, waiting)
    last = waiting[-1].admitted_at
    decision = should_flush(rule, state, waiting, last, live)
    if not decision.flush:
        assert decision.next_at is not None
        assert last < decision.next_at <= waiting[0].admitted_at + 600.0
        assert should_flush(rule, state, waiting, decision.next_at, live).flush
    assert should_flush(rule, state, waiting, last + 600.0, live).flush
