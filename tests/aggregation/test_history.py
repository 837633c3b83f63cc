"""What a rule remembers."""

from dataclasses import replace

import msgspec
import numpy as np

from antiphon.coordinator.aggregation.history import (
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
    assert dict(state.counts)["gone"] == 1
    assert len(state.recent_agents) == 200
    assert len(state.recent_gaps) == 31  # between 32 admissions


def test_gaps_begin_at_the_last_admission_or_flush_and_are_never_negative() -> None:
    state = RuleState(flushed_at=5.0)
    for now in (10.0, 12.0, 11.0):
        state = admitted(RULE, state, "a", now)
    assert state.recent_gaps == (2.0, 0.0)  # nothing before the first admission
    assert admitted(RULE, replace(state, flushed_at=18.0), "a", 20.0).recent_gaps == (2.0, 0.0, 2.0)


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
