"""Whole models: named tensors of all roles."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from antiphon.codecs.errors import Rejected, SchemaError
from antiphon.codecs.schema import infer
from antiphon.coordinator.aggregation.history import RuleState, admitted, init_step
from antiphon.coordinator.aggregation.presets import PRESETS, build_rule
from antiphon.coordinator.aggregation.whole import TrainedUpdate, aggregate_params

Params = dict[str, NDArray[Any]]


def _model(rng: np.random.Generator) -> Params:
    """As PyTorch names a convolution with batch normalisation."""
    return {
        "conv.weight": rng.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "bn.weight": np.ones(4, dtype=np.float32),
        "bn.running_mean": np.zeros(4, dtype=np.float32),
        "bn.running_var": np.ones(4, dtype=np.float32),
        "bn.num_batches_tracked": np.array(3, dtype=np.int64),
        "half": rng.normal(size=5).astype(np.float16),
    }


def _trained(params: Params, rng: np.random.Generator) -> Params:
    new = {
        name: (value + rng.normal(size=value.shape, scale=0.3)).astype(value.dtype)
        for name, value in params.items()
    }
    new["bn.running_var"] = rng.exponential(0.05, size=4).astype(np.float32)
    new["bn.num_batches_tracked"] = params["bn.num_batches_tracked"] + 17
    return new


@pytest.mark.parametrize("preset", PRESETS)
def test_a_model_with_running_statistics_keeps_dtypes_and_variances_stay_non_negative(preset: str) -> None:
    rng = np.random.default_rng(11)
    rule = build_rule(preset, {"eta": 1.0} if preset in ("fedadam", "fedyogi") else {})
    history = [_model(rng)]
    schema = infer(history[0])
    state, step_state = RuleState(), init_step(rule, schema.size, schema.dtype)
    for version in range(60):
        updates: list[TrainedUpdate] = []
        for agent in range(int(rng.integers(1, 5))):
            number = int(rng.integers(max(0, version - 12), version + 1))
            base = history[number]
            updates.append(
                TrainedUpdate(f"a{agent}", _trained(base, rng), base, number, int(rng.integers(1, 99)))
            )
            state = admitted(rule, state, f"a{agent}", float(version))
        result = aggregate_params(rule, state, step_state, schema, history[-1], updates, version=version, k=3)
        state, step_state = result.plan.state, result.step_state
        history.append(result.params)
    assert (step_state.t, state.flushes) == (60, 60)
    for params in history:
        assert {name: (a.dtype, a.shape) for name, a in params.items()} == {
            name: (a.dtype, a.shape) for name, a in history[0].items()
        }
        assert (params["bn.running_var"] >= 0).all()
        assert params["bn.num_batches_tracked"] == 3
        assert all(np.isfinite(value).all() for value in params.values())


def test_a_counter_with_role_max_takes_the_largest() -> None:
    params: Params = {"n": np.array([3], dtype=np.int64), "w": np.zeros(2, dtype=np.float32)}
    schema = infer(params, {"n": "max"})
    rule = build_rule("fedbuff", {})
    trained: Params = {"n": np.array([20], dtype=np.int64), "w": np.ones(2, dtype=np.float32)}
    updates = [TrainedUpdate("a", trained, params, 0)]
    result = aggregate_params(
        rule, RuleState(), init_step(rule, 2, "float32"), schema, params, updates, version=0
    )
    assert result.params["n"].tolist() == [20]
    assert result.params["w"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_update_that_is_not_finite_is_rejected_and_changes_nothing(value: float) -> None:
    params: Params = {"w": np.zeros(2, dtype=np.float32)}
    schema, rule = infer(params), build_rule("fedbuff", {})
    updates = [TrainedUpdate("mallory", {"w": np.array([0, value], dtype=np.float32)}, params, 0)]
    with pytest.raises(Rejected, match="mallory") as caught:
        aggregate_params(rule, RuleState(), init_step(rule, 2, "float32"), schema, params, updates, version=0)
    assert caught.value.reason == "not-finite"
    assert params["w"].tolist() == [0, 0]


def test_an_update_with_another_schema_is_refused() -> None:
    params: Params = {"w": np.zeros(2, dtype=np.float32)}
    schema, rule = infer(params), build_rule("fedbuff", {})
    updates = [TrainedUpdate("a", {"w": np.zeros(3, dtype=np.float32)}, params, 0)]
    with pytest.raises(SchemaError, match="'w'"):
        aggregate_params(rule, RuleState(), init_step(rule, 2, "float32"), schema, params, updates, version=0)
