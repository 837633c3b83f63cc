"""Rules, plans and memories as bytes, and back without a lost bit."""

from dataclasses import replace

import msgspec
import pytest

from antiphon.coordinator.aggregation.history import RuleState, admitted, init_state
from antiphon.coordinator.aggregation.plan import Plan
from antiphon.coordinator.aggregation.presets import PRESETS, build_rule
from antiphon.coordinator.ending import Report
from antiphon.coordinator.ledger import versions
from antiphon.coordinator.ledger.records import Memory
from antiphon.coordinator.publication import Publication


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_rule_comes_back_as_it_was(preset: str) -> None:
    rule = build_rule(preset, {"step": "amsgrad"} if preset == "fedbuff" else {})
    assert versions.decode_rule(versions.encode_rule(rule)) == rule


def test_choice_that_nobody_knows_is_refused() -> None:
    plain = msgspec.to_builtins(build_rule("fedbuff", {}))
    plain["step"] = {"kind": "magic"}
    with pytest.raises(ValueError, match="magic"):
        versions.decode_rule(msgspec.msgpack.encode(plain))


def test_rule_state_comes_back_with_its_infinities() -> None:
    rule, state = build_rule("fedbuff", {"fairness": "inverse-rate"}), init_state()
    assert versions.decode(versions.encode(state), RuleState) == state
    for n in range(50):
        state = admitted(rule, state, f"agent-{n * n % 7}", 0.1 * n)
    state = replace(state, flushes=3, flushed_at=1.7)
    found = versions.decode(versions.encode(state), RuleState)
    assert found == state
    assert admitted(rule, found, "x", 9.0) == admitted(rule, state, "x", 9.0)


def test_plan_comes_back_bit_for_bit_without_the_rules_memory() -> None:
    plan = Plan((0.1 + 0.2, 1e-300), (1 / 3, 5e-324), 0.1, (0, 3), (0.7, 0.0), 5, init_state())
    busy = replace(plan, state=admitted(build_rule("fedbuff", {}), init_state(), "a", 1.0))
    assert versions.decode_plan(versions.encode_plan(busy)) == plan


def test_memory_and_publication_come_back() -> None:
    memory = Memory({"a": (0.5, (1, 2))}, [0.25], {"a": Report(7, {"loss": float("inf")})})
    assert versions.decode(versions.encode(memory), Memory) == memory
    plain = {
        "influence": {"a": [0.5, [1, 2]]},
        "norms": [0.25],
        "reports": {"a": [7, {"loss": float("inf")}]},
    }
    assert versions.encode(memory) == msgspec.msgpack.encode(plain)
    publication = Publication(b"p" * 16, b"k" * 8, b"model", 2, 3, 1, b"d" * 32, 99)
    assert versions.decode(versions.encode(publication), Publication) == publication
