"""Named algorithms that are special cases of each other, in float64 to 1e-12."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from antiphon.codecs.schema import infer
from antiphon.coordinator.aggregation.history import RuleState, admitted, init_step
from antiphon.coordinator.aggregation.presets import build_rule
from antiphon.coordinator.aggregation.rule import Rule
from antiphon.coordinator.aggregation.whole import TrainedUpdate, aggregate_params

Params = dict[str, NDArray[Any]]
SEEDS = range(5)


def _model(rng: np.random.Generator) -> Params:
    return {"a": rng.normal(size=(7, 5)), "b": rng.normal(size=11)}


def _flush(rule: Rule, model: Params, updates: list[TrainedUpdate], k: int, version: int) -> NDArray[Any]:
    schema = infer(model)
    step_state = init_step(rule, schema.size, schema.dtype)
    result = aggregate_params(rule, RuleState(), step_state, schema, model, updates, version=version, k=k)
    return schema.pack(result.params)[0]


@pytest.mark.parametrize("seed", SEEDS)
def test_fedbuff_with_everybody_fresh_is_fedavg(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = _model(rng)
    updates = [TrainedUpdate(f"a{i}", _model(rng), model, 5, examples=40) for i in range(8)]
    fedbuff = _flush(build_rule("fedbuff", {"k": 8}), model, updates, 8, 5)
    fedavg = _flush(build_rule("fedavg", {"k": 8}), model, updates, 8, 5)
    np.testing.assert_allclose(fedbuff, fedavg, rtol=0, atol=1e-12)
    mean = {name: np.mean([update.params[name] for update in updates], axis=0) for name in model}
    np.testing.assert_allclose(fedavg, infer(model).pack(mean)[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("eta", [0.1, 0.6, 1.0])
@pytest.mark.parametrize("seed", SEEDS)
def test_fedbuff_in_buffers_of_one_fresh_update_is_fedasync(seed: int, eta: float) -> None:
    rng = np.random.default_rng(seed)
    model = _model(rng)
    updates = [TrainedUpdate("a", _model(rng), model, 5)]
    fedbuff = _flush(build_rule("fedbuff", {"k": 1, "eta": eta}), model, updates, 1, 5)
    fedasync = _flush(build_rule("fedasync", {"alpha": eta}), model, updates, 1, 5)
    np.testing.assert_allclose(fedbuff, fedasync, rtol=0, atol=1e-12)
    mixed = {name: (1 - eta) * model[name] + eta * updates[0].params[name] for name in model}
    np.testing.assert_allclose(fedasync, infer(model).pack(mixed)[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("preset", ["fedasync", "fedbuff", "fedadam"])
def test_hinge_is_constant_while_nobody_is_staler_than_four(preset: str) -> None:
    rng = np.random.default_rng(3)
    model = _model(rng)
    updates = [TrainedUpdate(f"a{tau}", _model(rng), _model(rng), 9 - tau) for tau in range(5)]
    hinge = _flush(build_rule(preset, {"staleness": "hinge"}), model, updates, 5, 9)
    constant = _flush(build_rule(preset, {"staleness": "constant"}), model, updates, 5, 9)
    np.testing.assert_allclose(hinge, constant, rtol=0, atol=1e-12)


def test_alpha_is_unchanged_after_a_thousand_arrivals() -> None:
    rule = build_rule("fedasync", {"alpha": 0.6})
    model: Params = {"w": np.zeros(1)}
    schema, state = infer(model), RuleState()
    step_state = init_step(rule, 1, "float64")
    for version in range(1000):
        agent = f"a{version % 7}"
        state = admitted(rule, state, agent, float(version))
        updates = [TrainedUpdate(agent, {"w": model["w"] + 1.0}, model, version)]
        result = aggregate_params(rule, state, step_state, schema, model, updates, version=version)
        np.testing.assert_allclose(result.params["w"] - model["w"], 0.6, rtol=0, atol=1e-12)
        state, step_state, model = result.plan.state, result.step_state, result.params
    assert rule == build_rule("fedasync", {"alpha": 0.6})


@pytest.mark.parametrize("staleness", ["constant", "polynomial", "hinge"])
@pytest.mark.parametrize("preset", ["fedasync", "fedbuff", "fedavg", "fedadam", "fedyogi", "fedadagrad"])
def test_a_fresh_update_weighs_one(preset: str, staleness: str) -> None:
    rng = np.random.default_rng(3)
    rule, model = build_rule(preset, {"staleness": staleness}), _model(rng)
    schema = infer(model)
    updates = [TrainedUpdate("a", _model(rng), model, 41)]
    step_state = init_step(rule, schema.size, schema.dtype)
    result = aggregate_params(rule, RuleState(), step_state, schema, model, updates, version=41)
    assert (result.plan.taus, result.plan.weights, result.plan.scalars) == ((0,), (1.0,), (1.0,))
