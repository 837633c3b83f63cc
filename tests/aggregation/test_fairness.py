"""Fairness weights."""

import pytest

from antiphon.coordinator.aggregation.fairness import InverseRate, NoFairness, fairness_weight

COUNTS = {"fast": 300, "medium": 90, "slow": 10}


def test_without_fairness_everybody_counts_one() -> None:
    assert fairness_weight(NoFairness(), {}, "anybody") == 1.0


def test_with_inverse_rate_everybody_has_the_same_influence() -> None:
    rule = InverseRate(clip=100)
    influence = {agent: count * fairness_weight(rule, COUNTS, agent) for agent, count in COUNTS.items()}
    assert list(influence.values()) == pytest.approx([400 / 3] * 3)


def test_the_clip_is_the_number_of_agents_by_default() -> None:
    assert fairness_weight(InverseRate(), COUNTS, "slow") == 3.0
    assert fairness_weight(InverseRate(), COUNTS, "medium") == pytest.approx(400 / 270)


def test_equal_rates_weigh_one() -> None:
    assert fairness_weight(InverseRate(), {"a": 7, "b": 7}, "a") == 1.0


def test_an_agent_alone_weighs_one() -> None:
    assert fairness_weight(InverseRate(), {"a": 1}, "a") == 1.0


def test_an_agent_that_was_never_admitted_is_an_error() -> None:
    with pytest.raises(ValueError, match="stranger"):
        fairness_weight(InverseRate(), COUNTS, "stranger")
