"""Mistakes that shipping systems made in their merging, one test each."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from antiphon.codecs.errors import Rejected
from antiphon.codecs.schema import infer
from antiphon.coordinator.aggregation.decision import should_flush
from antiphon.coordinator.aggregation.history import Arrival, RuleState, admitted, init_step
from antiphon.coordinator.aggregation.plan import plan
from antiphon.coordinator.aggregation.presets import build_rule
from antiphon.coordinator.aggregation.rule import Rule
from antiphon.coordinator.aggregation.step import StepState
from antiphon.coordinator.aggregation.whole import Aggregated, TrainedUpdate, aggregate_params

Params = dict[str, NDArray[Any]]


def _flush(
    rule: Rule,
    model: Params,
    updates: list[TrainedUpdate],
    version: int,
    k: int = 1,
    step: StepState | None = None,
) -> Aggregated:
    schema = infer(model)
    step = step or init_step(rule, schema.size, schema.dtype)
    return aggregate_params(rule, RuleState(), step, schema, model, updates, version=version, k=k)


def _w(*values: float, dtype: str = "float64") -> Params:
    return {"w": np.array(values, dtype=dtype)}


def test_alpha_does_not_compound() -> None:
    rule = build_rule("fedasync", {})
    stale = TrainedUpdate("a", _w(1.0), _w(0.0), 0)
    results = [_flush(rule, _w(0.0), [stale], 9).params["w"][0] for _ in range(100)]
    assert set(results) == {0.6 * 10**-0.5}


def test_a_fresh_update_does_not_weigh_a_half() -> None:
    arrival = Arrival("a", 7, 1, 0.0)
    for a in (0.5, 1.0):
        rule = build_rule("fedasync", {"staleness": {"a": a}})
        assert plan(rule, RuleState(), [arrival], version=7, k=1).weights == (1.0,)


def test_hinge_has_its_plus_one() -> None:
    rule = build_rule("fedbuff", {"staleness": "hinge"})
    barely = plan(rule, RuleState(), [Arrival("a", 0, 1, 0.0)], version=5, k=1).weights[0]
    assert barely == pytest.approx(1 / 11)
    soft = build_rule("fedbuff", {"staleness": {"kind": "hinge", "a": 0.1, "b": 4}})
    assert plan(soft, RuleState(), [Arrival("a", 0, 1, 0.0)], version=5, k=1).weights[0] < 1


@pytest.mark.parametrize("preset", ["fedasync", "fedbuff", "fedavg"])
def test_whole_weights_are_not_added(preset: str) -> None:
    model = _w(1000.0, -1000.0)
    result = _flush(build_rule(preset, {}), model, [TrainedUpdate("a", model, model, 3)], 3)
    assert result.params["w"].tolist() == [1000.0, -1000.0]


def test_delta_is_against_the_base_and_not_the_current_model() -> None:
    rule = build_rule("fedbuff", {"staleness": "constant"})
    result = _flush(rule, _w(50.0), [TrainedUpdate("a", _w(11.0), _w(10.0), 2)], 9)
    assert result.params["w"].tolist() == [51.0]


def test_the_sum_is_divided_by_k_once_and_not_by_the_weights() -> None:
    updates = [TrainedUpdate(f"a{i}", _w(1.0), _w(0.0), 0) for i in range(4)]
    result = _flush(build_rule("fedbuff", {}), _w(0.0), updates, version=3, k=4)
    assert result.params["w"][0] == pytest.approx(0.5)  # 1 by Σs, 0.125 by K twice


def test_counters_are_neither_scaled_nor_turned_to_float() -> None:
    model: Params = {"n": np.array(10, dtype=np.int64), "flag": np.array([True]), **_w(0.0)}
    trained: Params = {"n": np.array(35, dtype=np.int64), "flag": np.array([False]), **_w(1.0)}
    result = _flush(build_rule("fedadam", {}), model, [TrainedUpdate("a", trained, model, 0)], 4, k=2)
    assert (result.params["n"].dtype, int(result.params["n"])) == (np.int64, 10)
    assert (result.params["flag"].dtype, result.params["flag"].tolist()) == (np.bool_, [True])


def test_asynchronous_example_weights_do_not_depend_on_buffer_mates() -> None:
    rule = build_rule("fedbuff", {"examples": {"kind": "bounded", "reference": 100}})
    me = Arrival("me", 0, 50, 0.0)
    weights = {
        plan(rule, RuleState(), [me, Arrival("mate", 0, examples, 0.0)], version=0, k=2).weights[0]
        for examples in (1, 100, 10**9)
    }
    assert weights == {0.5}


def test_a_nan_is_rejected_even_where_its_weight_is_zero() -> None:
    rule = build_rule("fedavg", {})
    updates = [
        TrainedUpdate("a", _w(1.0), _w(0.0), 0, examples=10),
        TrainedUpdate("nan", _w(math.nan), _w(0.0), 0, examples=0),
    ]
    with pytest.raises(Rejected, match="nan"):
        _flush(rule, _w(0.0), updates, version=0, k=2)


def test_half_precision_models_are_not_summed_in_half_precision() -> None:
    model = _w(0.0, dtype="float16")
    updates = [TrainedUpdate(f"a{i}", _w(0.25 if i else 2048.0, dtype="float16"), model, 0) for i in range(9)]
    result = _flush(build_rule("fedbuff", {"eta": 9.0}), model, updates, version=0, k=9)
    assert result.params["w"].dtype == np.float16
    assert result.params["w"][0] == 2050.0  # summed in float16, 2048 + 0.25 stays 2048


def test_the_optimisers_state_comes_with_the_model() -> None:
    rule = build_rule("fedadam", {})
    update = TrainedUpdate("a", _w(0.5), _w(0.0), 0)
    first = _flush(rule, _w(0.0), [update], version=0)
    assert first.step_state.t == 1
    assert all(vector.any() for vector in first.step_state.vectors)
    kept = _flush(rule, first.params, [update], version=1, step=first.step_state).params["w"][0]
    forgotten = _flush(rule, first.params, [update], version=1).params["w"][0]
    assert kept != forgotten


def test_one_agents_update_cannot_be_in_a_buffer_twice() -> None:
    update = TrainedUpdate("a", _w(0.5), _w(0.0), 0)
    with pytest.raises(ValueError, match="one update each"):
        _flush(build_rule("fedbuff", {}), _w(0.0), [update, update], version=0, k=2)


def test_time_in_the_coordinators_queue_is_not_staleness() -> None:
    rule = build_rule("fedbuff", {})
    waited = [Arrival("a", 4, 1, admitted_at=0.0), Arrival("b", 4, 1, admitted_at=500.0)]
    assert plan(rule, RuleState(), waited, version=4, k=2, now=501.0).taus == (0, 0)


def test_the_last_partial_buffer_is_not_dropped() -> None:
    rule = build_rule("fedbuff", {"k": 10})
    waiting = [Arrival("a", 0, 1, 0.0)]
    state = admitted(rule, RuleState(), "a", 0.0)
    decision = should_flush(rule, state, waiting, 0.0, 1)
    assert not decision.flush
    assert decision.next_at == 1.0
    assert should_flush(rule, state, waiting, 1.0, 1).flush
    assert plan(rule, state, waiting, version=0, k=10).scalars == (0.1,)


@pytest.mark.parametrize("preset", ["fedbuff", "fedavg", "fedasync", "fedadam"])
@pytest.mark.parametrize("staleness", ["constant", "polynomial", "hinge"])
def test_running_statistics_do_not_oscillate_when_everybody_is_stale(preset: str, staleness: str) -> None:
    """Each trainer replaces the running mean by its own, 1, from a base that is always 12 versions old."""
    rule = build_rule(preset, {"staleness": staleness})
    models: list[Params] = [{"bn.running_mean": np.zeros(1)}]
    trained: Params = {"bn.running_mean": np.ones(1)}
    for version in range(600):
        base = max(0, version - 12)
        update = TrainedUpdate("a", trained, models[base], base)
        models.append(_flush(rule, models[-1], [update], version).params)
    assert abs(models[-1]["bn.running_mean"][0] - 1.0) < 0.05


def test_inverse_rate_gives_a_slow_agent_its_share() -> None:
    """Seven agents answer every version, one every tenth: equal influence with fairness, a tenth without."""
    fair, plain = build_rule("fedbuff", {"fairness": "inverse-rate"}), build_rule("fedbuff", {})
    for rule, low, high in ((fair, 0.11, 0.14), (plain, 0.0, 0.02)):
        state, influence = RuleState(), dict.fromkeys(map(str, range(8)), 0.0)
        for version in range(2000):
            agents = [str(index) for index in range(7)] + (["7"] if version % 10 == 9 else [])
            for agent in agents:
                state = admitted(rule, state, agent, float(version))
            bases = [version - (9 if agent == "7" else 0) for agent in agents]
            arrivals = [Arrival(agent, base, 1, 0.0) for agent, base in zip(agents, bases, strict=True)]
            planned = plan(rule, state, arrivals, version=version, k=8)
            for agent, scalar in zip(agents, planned.scalars, strict=True):
                influence[agent] += scalar
        assert low < influence["7"] / sum(influence.values()) < high
