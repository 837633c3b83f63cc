"""What a rule remembers."""

from dataclasses import replace

import msgspec
import numpy as np

from antiphon.coordinator.aggregation.history import (
    Presence,
    RuleState,
    admitted,
    init_state,
    init_step,
)
from antiphon.coordinator.aggregation.presets import build_rule
from antiphon.coordinator.aggregation.step import StepState

RULE = build_rule("fedbuff", {})


def test_agents_at_work_are_those_of_the_last_two_hundred_updates() -> None:
    state = admitted(RULE, init_state(), "gone", 0.0)
    for number in range(200):
        assert state.agents == min(number, 7) + 1
        state = admitted(RULE, state, f"a{number % 7}", float(number))
    assert state.agents == 7
    assert len(state.recent_agents) == 200
    assert len(state.recent_gaps) == 31  # between 32 admissions


def test_an_agent_is_measured_by_the_gaps_between_its_updates() -> None:
    state = init_state()
    for agent in "babaab":
        state = admitted(RULE, state, agent, 0.0)
    assert state.admissions == 6
    assert state.presences == (Presence("a", 3, 2.5, 5), Presence("b", 3, 3.5, 6))


def test_who_sent_none_of_the_last_hundred_updates_an_agent_has_left_and_joins_anew() -> None:
    state = admitted(RULE, admitted(RULE, init_state(), "away", 0.0), "away", 0.0)
    for _ in range(100):  # longer ago than the last 200 there are two agents, and they get 200
        state = admitted(RULE, state, "here", 0.0)
    assert [presence.agent for presence in state.presences] == ["away", "here"]
    for _ in range(100):
        state = admitted(RULE, state, "here", 0.0)
    assert [presence.agent for presence in state.presences] == ["here"]
    state = admitted(RULE, state, "away", 0.0)
    assert state.presences[0] == Presence("away", 1, 1.0, 203)


def test_the_memory_is_bounded_although_ever_new_agents_come() -> None:
    state = RuleState(
        admissions=40_000, presences=tuple(Presence(f"{n:05}", 1, 1.0, n) for n in range(20_001, 40_001))
    )
    state = replace(state, recent_agents=tuple(str(n) for n in range(200)))
    for number in range(40_001, 40_011):
        state = admitted(RULE, state, f"{number:05}", 0.0)
        assert len(state.presences) == 20_001


def test_gaps_begin_at_the_last_admission_or_flush_and_are_never_negative() -> None:
    state = RuleState(flushed_at=5.0)
    for now in (10.0, 12.0, 11.0):
        state = admitted(RULE, state, "a", now)
    assert state.recent_gaps == (2.0, 0.0)  # nothing before the first admission
    assert admitted(RULE, replace(state, flushed_at=18.0), "a", 20.0).recent_gaps == (2.0, 0.0, 2.0)


def test_who_has_left_is_found_although_nobody_looks_at_every_update() -> None:
    """Against the definition: everybody who sent none of the last 100·C admitted updates is forgotten."""
    rng = np.random.default_rng(3)
    state, last = init_state(), dict[str, int]()
    for number in range(1, 3001):
        # Few agents at a time, and others later: C stays small and everybody leaves sooner or later.
        agent = f"a{number // 400 + int(rng.integers(2))}"
        state = admitted(RULE, state, agent, 0.0)
        oldest = number - 100 * len(set(state.recent_agents))
        last = {name: seen for name, seen in last.items() if seen >= oldest} | {agent: number}
        assert {presence.agent: presence.last for presence in state.presences} == last
        assert [presence.agent for presence in state.presences] == sorted(last)
        assert state.nobody_before <= min(last.values())
    assert len(last) < 8


def test_the_memory_before_is_not_changed() -> None:
    state = init_state()
    admitted(RULE, state, "a", 1.0)
    assert state == RuleState()


def test_a_stored_memory_comes_back_equal() -> None:
    state = RuleState()
    for agent in "abca":
        state = admitted(RULE, state, agent, 1.5)
    plain = msgspec.msgpack.decode(msgspec.msgpack.encode(state))
    assert msgspec.convert(plain, RuleState) == state


def test_a_rule_comes_back_equal_from_plain_values() -> None:
    rule = build_rule("fedadam", {"k": 3, "staleness": "hinge"})
    assert msgspec.convert(msgspec.to_builtins(rule), type(rule)) == rule


def test_the_optimiser_begins_with_zeros_of_the_models_dtype() -> None:
    assert init_step(RULE, 3, "float32") == StepState((), 0)
    state = init_step(build_rule("fedadam", {}), 3, "float32")
    assert [(vector.dtype, vector.tolist()) for vector in state.vectors] == [(np.float32, [0, 0, 0])] * 2
