"""Fairness weights."""

import heapq
from collections.abc import Iterator, Mapping
from itertools import islice

import numpy as np
import pytest

from antiphon.coordinator.aggregation.fairness import InverseRate, NoFairness, fairness_weight
from antiphon.coordinator.aggregation.history import Arrival, RuleState, admitted
from antiphon.coordinator.aggregation.plan import plan
from antiphon.coordinator.aggregation.presets import build_rule
from antiphon.coordinator.aggregation.rule import Rule

FAIR = build_rule("fedbuff", {"fairness": {"kind": "inverse-rate", "clip": 100}})
BY_DEFAULT = build_rule("fedbuff", {"fairness": "inverse-rate"})


def test_without_fairness_everybody_counts_one() -> None:
    assert fairness_weight(NoFairness(), 7, 100, 3) == 1.0


def test_a_first_update_weighs_one_whoever_else_is_there() -> None:
    assert [fairness_weight(InverseRate(), 1, 1.0, agents) for agents in (1, 8, 20_000)] == [1.0] * 3


def test_the_weight_is_the_inverse_of_the_share_since_the_agent_joined() -> None:
    """10 of 100 updates where 8 agents are at work: the first stands for 8, the other nine gaps are 92."""
    assert fairness_weight(InverseRate(), 10, 1 + 92 / 8, 8) == pytest.approx((1 / 8) / (10 / 100))


def test_the_clip_is_the_number_of_agents_by_default() -> None:
    assert fairness_weight(InverseRate(), 10, 1e4, 8) == 8.0
    assert fairness_weight(InverseRate(clip=3), 10, 1e4, 8) == 3.0


def _arrivals(periods: Mapping[str, float], begins: Mapping[str, float] | None = None) -> Iterator[str]:
    """Senders in the order of time; periods vary by a fifth, and an agent begins when it is said to."""
    rng = np.random.default_rng(7)
    queue = [((begins or {}).get(agent, 0.0) + period, agent) for agent, period in periods.items()]
    heapq.heapify(queue)
    while True:
        now, agent = heapq.heappop(queue)
        yield agent
        heapq.heappush(queue, (now + periods[agent] * rng.uniform(0.8, 1.2), agent))


def _weights(rule: Rule, senders: Iterator[str], number: int) -> Iterator[tuple[str, float]]:
    """Everybody's weights, each update merged when it is admitted."""
    state = RuleState()
    for agent in islice(senders, number):
        state = admitted(rule, state, agent, 0.0)
        planned = plan(rule, state, [Arrival(agent, 0, 1, 0.0)], version=0, k=1)
        state = planned.state
        yield agent, planned.weights[0]


def test_an_agent_that_is_twenty_times_slower_tends_to_an_equal_influence() -> None:
    periods = {f"fast-{number}": 1.0 for number in range(7)} | {"slow": 20.0}
    parts: list[float] = []
    for number in (2_000, 40_000):
        influence = dict.fromkeys(periods, 0.0)
        for agent, weight in _weights(FAIR, _arrivals(periods), number):
            influence[agent] += weight
        parts.append(8 * influence["slow"] / sum(influence.values()))
    assert 0.8 < parts[0] < parts[1] < 1.01
    assert parts[1] > 0.97


def test_weights_are_one_on_average_whoever_is_slow() -> None:
    periods = {str(number): 1.0 + number for number in range(8)}
    weights = [weight for _, weight in _weights(FAIR, _arrivals(periods), 20_000)]
    assert np.mean(weights) == pytest.approx(1.0, abs=0.02)


def test_a_late_joiner_weighs_about_one_from_its_first_update_on() -> None:
    periods = {str(number): 1.0 for number in range(8)}
    weights = list(_weights(BY_DEFAULT, _arrivals(periods, {"7": 1_000.0}), 9_000))
    joiners = [weight for agent, weight in weights if agent == "7"]
    assert joiners[0] == 1.0
    assert len(joiners) > 100
    assert all(0.8 < weight < 1.25 for weight in joiners)


@pytest.mark.parametrize("agents", [2, 8, 100])
def test_the_first_rounds_of_a_run_weigh_about_one(agents: int) -> None:
    senders = _arrivals({str(number): 1.0 for number in range(agents)})
    weights = [weight for _, weight in _weights(BY_DEFAULT, senders, 10 * agents)]
    assert weights[:agents] == [1.0] * agents
    assert all(0.5 < weight < 1.5 for weight in weights)


def test_who_joins_or_leaves_does_not_make_the_others_jump() -> None:
    """Four agents, for a while eight: a departure is seen late, and until then the rest weighs too little."""
    parts = [(4, 2_000), (8, 2_000), (4, 8_000)]
    senders = [
        sender
        for agents, number in parts
        for sender in islice(_arrivals({str(agent): 1.0 for agent in range(agents)}), number)
    ]
    weights = list(_weights(BY_DEFAULT, iter(senders), len(senders)))
    assert all(0.6 < weight < 1.4 for _, weight in weights)
    assert all(weight > 0.9 for agent, weight in weights[2_000:] if agent in "0123")
    assert weights[-1][1] == pytest.approx(1.0, abs=0.05)


def test_who_was_forgotten_while_its_update_waited_weighs_like_one_that_joins() -> None:
    state = RuleState()
    for agent in ("away", *["here"] * 200):
        state = admitted(FAIR, state, agent, 0.0)
    assert plan(FAIR, state, [Arrival("away", 0, 1, 0.0)], version=0, k=1).weights == (1.0,)
