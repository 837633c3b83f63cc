"""Plans: numbers only."""

import msgspec
import pytest

from antiphon.coordinator.aggregation.history import Arrival, RuleState, admitted
from antiphon.coordinator.aggregation.plan import Plan, plan
from antiphon.coordinator.aggregation.presets import build_rule

FEDBUFF = build_rule("fedbuff", {})


def _arrival(agent: str, base: int, examples: int = 1) -> Arrival:
    return Arrival(agent, base, examples, 0.0)


def test_staleness_is_measured_against_the_version_that_is_merged_into() -> None:
    planned = plan(FEDBUFF, RuleState(), [_arrival("a", 5), _arrival("b", 2)], version=5, k=2)
    assert planned.taus == (0, 3)
    assert planned.weights == (1.0, 0.5)
    assert planned.scalars == (0.5, 0.25)


def test_the_memory_counts_the_flush_and_remembers_its_time() -> None:
    planned = plan(FEDBUFF, RuleState(), [_arrival("a", 0)], version=0, k=1, now=17.0)
    assert (planned.state.flushes, planned.state.flushed_at) == (1, 17.0)
    again = plan(FEDBUFF, planned.state, [_arrival("a", 1)], version=1, k=1)
    assert (again.state.flushes, again.state.flushed_at) == (2, 17.0)


def test_a_stored_plan_comes_back_equal() -> None:
    planned = plan(FEDBUFF, RuleState(), [_arrival("a", 0)], version=3, k=2)
    assert msgspec.convert(msgspec.msgpack.decode(msgspec.msgpack.encode(planned)), Plan) == planned


def test_statistics_are_a_mean_of_those_who_answered_however_few() -> None:
    planned = plan(FEDBUFF, RuleState(), [_arrival("a", 5), _arrival("b", 5)], version=5, k=10)
    assert planned.statistic_scalars == (0.5, 0.5)


def test_statistics_of_updates_without_examples_count_alike() -> None:
    rule = build_rule("fedavg", {"examples": {"kind": "bounded", "reference": 10}})
    planned = plan(rule, RuleState(), [_arrival("a", 5, 0), _arrival("b", 5, 0)], version=5, k=2)
    assert (planned.weights, planned.statistic_scalars) == ((0.0, 0.0), (0.5, 0.5))


def test_inverse_rate_uses_what_was_admitted() -> None:
    rule = build_rule("fedbuff", {"fairness": "inverse-rate"})
    state = RuleState()
    for agent in "baaab":
        state = admitted(rule, state, agent, 0.0)
    planned = plan(rule, state, [_arrival("a", 0), _arrival("b", 0)], version=9, k=2)
    assert planned.weights == pytest.approx((2 / 3, 1.5))


@pytest.mark.parametrize(
    ("arrivals", "k", "sentence"),
    [
        ([], 1, "one update each"),
        ([_arrival("a", 0), _arrival("a", 1)], 2, "one update each"),
        ([_arrival("a", 0)], 0, "K >= 1"),
        ([_arrival("a", 6)], 1, "newer"),
        ([_arrival("a", 0, -1)], 1, "negative"),
    ],
)
def test_a_flush_that_cannot_be_is_an_error(arrivals: list[Arrival], k: int, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        plan(FEDBUFF, RuleState(), arrivals, version=5, k=k)


def test_a_tiny_reference_does_not_pass_the_bound() -> None:
    rule = build_rule("fedavg", {"examples": {"kind": "bounded", "reference": 1e-300, "bound": 1e6}})
    assert plan(rule, RuleState(), [_arrival("a", 0, 10)], version=0, k=1).weights == (1e6,)
