"""Every formula against numbers computed by hand (tests/vectors/aggregation.json).

The model is [1, 2] at version 10. Updates: A fresh, 30 examples; B three versions stale, 10 examples; C and D
fresh; E four versions stale; F fresh and large.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antiphon.codecs.schema import Span
from antiphon.coordinator.aggregation.anchor import Current
from antiphon.coordinator.aggregation.history import Arrival, RuleState, admitted
from antiphon.coordinator.aggregation.merge import merge_range
from antiphon.coordinator.aggregation.plan import plan
from antiphon.coordinator.aggregation.presets import build_rule
from antiphon.coordinator.aggregation.rule import AXES, ROWS, Rule, kind_of

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "aggregation.json").read_text()
)
MODEL = [1.0, 2.0]
UPDATES = {  # base number, examples, Δ, base
    "A": (10, 30, [0.4, -0.2], [1.0, 2.0]),
    "B": (7, 10, [0.2, 0.6], [0.5, 1.5]),
    "C": (10, 1, [0.2, -0.4], [1.0, 2.0]),
    "D": (10, 1, [0.4, -0.8], [1.0, 2.0]),
    "E": (6, 1, [0.2, -0.4], [1.0, 2.0]),
    "F": (10, 1, [-1.5, 0.5], [1.0, 2.0]),
}


def _span(role: str) -> Span:
    return Span(0, 2, "weight" if role == "weight" else "statistic", role == "variance")


def _rule(vector: dict[str, Any]) -> Rule:
    return build_rule(vector["preset"], vector["overrides"])


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_a_flush_gives_what_was_computed_by_hand(vector: dict[str, Any]) -> None:
    rule = _rule(vector)
    state = RuleState()
    for agent in vector.get("admitted", ""):
        state = admitted(rule, state, agent, 0.0)
    used = [UPDATES[name] for name in vector["updates"]]
    arrivals = [
        Arrival(name, base, examples, 0.0)
        for name, (base, examples, _, _) in zip(vector["updates"], used, strict=True)
    ]
    planned = plan(rule, state, arrivals, version=10, k=vector["k"])
    bases = [np.array(base) for _, _, _, base in used] if isinstance(rule.anchor, Current) else None
    model, kept = merge_range(
        rule,
        planned,
        [_span(vector.get("role", "weight"))],
        0,
        np.array(MODEL),
        [np.array(delta) for _, _, delta, _ in used],
        bases,
        tuple(np.array(before, dtype=np.float64) for before in vector.get("before", [])),
    )
    np.testing.assert_allclose(planned.weights, vector["weights"], rtol=0, atol=1e-15)
    np.testing.assert_allclose(model, vector["model"], rtol=0, atol=1e-15)
    assert len(kept) == len(vector.get("after", []))
    for ours, theirs in zip(kept, vector.get("after", []), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-15)


@pytest.mark.parametrize("row", range(len(ROWS)))
def test_every_value_of_every_row_has_a_vector(row: int) -> None:
    seen: dict[str, set[str]] = {axis: set() for axis in AXES}
    for vector in VECTORS:
        kinds = {axis: kind_of(getattr(_rule(vector), axis)) for axis in AXES}
        if all(kinds[axis] in ROWS[row][axis] for axis in AXES):
            for axis, kind in kinds.items():
                seen[axis].add(kind)
    for axis in ("trigger", "fairness", "examples", "anchor", "combine"):
        assert seen[axis] == set(ROWS[row][axis]), axis
    everywhere = {kind_of(getattr(_rule(vector), axis)) for vector in VECTORS for axis in AXES}
    assert set(ROWS[row]["step"]) | set(ROWS[row]["staleness"]) <= everywhere
