"""Moving a range: bits, ranges, finiteness, inputs."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from antiphon.codecs.schema import Span
from antiphon.coordinator.aggregation import merge
from antiphon.coordinator.aggregation.history import Arrival, RuleState, init_step
from antiphon.coordinator.aggregation.merge import Unmergeable, merge_range
from antiphon.coordinator.aggregation.plan import Plan, plan
from antiphon.coordinator.aggregation.presets import build_rule
from antiphon.coordinator.aggregation.rule import Rule

Vector = NDArray[Any]
RULES = {
    "fedasync": build_rule("fedasync", {}),
    "fedbuff": build_rule("fedbuff", {}),
    "momentum": build_rule("fedbuff", {"step": "momentum"}),
    "fedadam": build_rule("fedadam", {}),
    "fedyogi": build_rule("fedyogi", {}),
    "fedadagrad": build_rule("fedadagrad", {}),
    "amsgrad": build_rule("fedbuff", {"step": "amsgrad"}),
}
SIZE = 5000
ROLES: tuple[Span, ...] = (
    Span(0, 1500, "weight", False),
    Span(1500, 1600, "statistic", False),
    Span(1600, 1777, "statistic", True),
    Span(1777, SIZE, "weight", False),
)


def _plan(rule: Rule, updates: int = 3) -> Plan:
    return plan(rule, RuleState(), [Arrival(f"a{i}", 9 - i, 1, 0.0) for i in range(updates)], 9, updates)


def _cut(start: int, stop: int) -> tuple[Span, ...]:
    return tuple(
        Span(max(span.start, start) - start, min(span.stop, stop) - start, span.role, span.floor)
        for span in ROLES
        if span.start < stop and span.stop > start
    )


def _data(rule: Rule, dtype: str) -> tuple[Vector, list[Vector], list[Vector] | None, tuple[Vector, ...]]:
    rng = np.random.default_rng(7)
    model = rng.normal(size=SIZE).astype(dtype)
    deltas = [rng.normal(size=SIZE).astype(dtype) for _ in range(3)]
    bases = (
        [rng.normal(size=SIZE).astype(dtype) for _ in range(3)]
        if rule.anchor != RULES["fedbuff"].anchor
        else None
    )
    vectors = tuple(np.abs(rng.normal(size=SIZE)).astype(dtype) for _ in init_step(rule, 1, dtype).vectors)
    return model, deltas, bases, vectors


def _merge(rule: Rule, dtype: str, cuts: list[int]) -> list[bytes]:
    model, deltas, bases, vectors = _data(rule, dtype)
    results: list[list[Vector]] = []
    for start, stop in zip([0, *cuts], [*cuts, SIZE], strict=True):
        part = slice(start, stop)
        new, kept = merge_range(
            rule,
            _plan(rule),
            _cut(start, stop),
            start,
            model[part],
            [delta[part] for delta in deltas],
            None if bases is None else [base[part] for base in bases],
            tuple(vector[part] for vector in vectors),
        )
        results.append([new, *kept])
    return [np.concatenate(column).tobytes() for column in zip(*results, strict=True)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", RULES)
def test_any_partition_into_ranges_gives_the_same_bits(name: str, dtype: str) -> None:
    whole = _merge(RULES[name], dtype, [])

    @settings(max_examples=8, deadline=None)
    @given(st.lists(st.integers(1, SIZE - 1), unique=True, max_size=6).map(sorted))
    def same(cuts: list[int]) -> None:
        assert _merge(RULES[name], dtype, cuts) == whole

    same()


@pytest.mark.parametrize("name", RULES)
def test_the_size_of_a_piece_does_not_change_a_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _merge(RULES[name], "float32", [])
    monkeypatch.setattr(merge, "PIECE", 333)
    assert _merge(RULES[name], "float32", []) == whole


def test_float32_updates_are_added_in_float64() -> None:
    rule = build_rule("fedbuff", {})
    deltas = [np.array([value], dtype=np.float32) for value in (1e8, 1.0, -1e8)]
    planned = plan(rule, RuleState(), [Arrival(str(i), 0, 1, 0.0) for i in range(3)], 0, 3)
    new, _ = merge_range(
        rule, planned, [Span(0, 1, "weight", False)], 0, np.zeros(1, dtype=np.float32), deltas, None, ()
    )
    assert new.dtype == np.float32
    assert new[0] == pytest.approx(1 / 3, rel=1e-6)  # in float32 1e8 + 1 is 1e8, and the sum 0


@pytest.mark.parametrize("name", RULES)
def test_inputs_are_not_changed(name: str) -> None:
    rule = RULES[name]
    model, deltas, bases, vectors = _data(rule, "float32")
    inputs = [model, *deltas, *(bases or []), *vectors]
    before = [array.tobytes() for array in inputs]
    for array in inputs:
        array.setflags(write=False)
    new, kept = merge_range(rule, _plan(rule), ROLES, 0, model, deltas, bases, vectors)
    assert [array.tobytes() for array in inputs] == before
    assert [array.dtype for array in (new, *kept)] == [np.float32] * (1 + len(vectors))


def test_statistics_leave_the_optimiser_alone() -> None:
    rule = RULES["amsgrad"]
    model, deltas, bases, vectors = _data(rule, "float32")
    _, kept = merge_range(rule, _plan(rule), ROLES, 0, model, deltas, bases, vectors)
    for before, after in zip(vectors, kept, strict=True):
        assert after[1500:1777].tobytes() == before[1500:1777].tobytes()
        assert after[:1500].tobytes() != before[:1500].tobytes()


def test_an_empty_range_is_merged_to_an_empty_range() -> None:
    rule = RULES["fedadam"]
    none = np.zeros(0, dtype=np.float32)
    new, kept = merge_range(rule, _plan(rule), [], 0, none, [none] * 3, None, (none, none))
    assert new.size == kept[0].size == 0


@pytest.mark.parametrize("name", ["fedbuff", "fedadam", "fedasync"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_names_its_update(name: str, value: float) -> None:
    rule = RULES[name]
    model, deltas, bases, vectors = _data(rule, "float32")
    deltas[1][4000] = value
    with pytest.raises(Unmergeable, match="element 14000 of Δ is not finite") as caught:
        merge_range(rule, _plan(rule), ROLES, 10000, model, deltas, bases, vectors)
    assert (caught.value.index, caught.value.reason) == (1, "not-finite")


@pytest.mark.parametrize("name", ["fedbuff", "fedadam"])
def test_an_update_that_overflows_the_model_or_the_optimiser_is_named(name: str) -> None:
    rule = RULES[name]
    model, deltas, bases, vectors = _data(rule, "float32")
    model[3] = deltas[2][3] = np.finfo(np.float32).max
    with pytest.raises(Unmergeable, match="overflow") as caught:
        merge_range(rule, _plan(rule, 3), ROLES, 0, model, deltas, bases, vectors)
    assert (caught.value.index, caught.value.reason) == (2, "norm")


def test_a_model_that_is_not_finite_is_nobodys_update() -> None:
    rule = RULES["fedbuff"]
    model, deltas, bases, vectors = _data(rule, "float32")
    model[3] = np.nan
    with pytest.raises(ValueError, match="current model"):
        merge_range(rule, _plan(rule), ROLES, 0, model, deltas, bases, vectors)


def test_arguments_that_do_not_fit_each_other_are_errors() -> None:
    rule = RULES["fedadam"]
    planned = _plan(rule)
    model, deltas, _, vectors = _data(rule, "float32")
    with pytest.raises(ValueError, match="bases are needed"):
        merge_range(rule, planned, ROLES, 0, model, deltas, deltas, vectors)
    with pytest.raises(ValueError, match="3 updates, there are 2"):
        merge_range(rule, planned, ROLES, 0, model, deltas[:2], None, vectors)
    with pytest.raises(ValueError, match="keeps 2 vectors, there are 1"):
        merge_range(rule, planned, ROLES, 0, model, deltas, None, vectors[:1])
    with pytest.raises(ValueError, match="must have that many"):
        merge_range(rule, planned, ROLES, 0, model, [*deltas[:2], deltas[2][1:]], None, vectors)
    with pytest.raises(ValueError, match="follow each other at element 1500"):
        merge_range(rule, planned, ROLES[:1] + ROLES[2:], 0, model, deltas, None, vectors)
    with pytest.raises(ValueError, match="spans end at 1777"):
        merge_range(rule, planned, ROLES[:3], 0, model, deltas, None, vectors)
