"""Staleness weights."""

import math

import pytest

from antiphon.coordinator.aggregation.staleness import (
    Constant,
    Hinge,
    Polynomial,
    Staleness,
    staleness_weight,
    statistic_weight,
)

ALL: list[Staleness] = [Constant(), Polynomial(), Hinge(), Polynomial(a=2.0), Hinge(a=0.5, b=0.0)]


@pytest.mark.parametrize("staleness", ALL)
def test_a_fresh_update_weighs_exactly_one(staleness: Staleness) -> None:
    assert staleness_weight(staleness, 0) == 1.0
    assert statistic_weight(staleness, 0) == 1.0


@pytest.mark.parametrize("staleness", ALL)
def test_a_staler_update_never_weighs_more(staleness: Staleness) -> None:
    weights = [staleness_weight(staleness, tau) for tau in range(1000)]
    assert weights == sorted(weights, reverse=True)
    assert weights[-1] > 0


def test_polynomial_is_the_inverse_root_by_default() -> None:
    assert [staleness_weight(Polynomial(), tau) for tau in (3, 8, 99)] == pytest.approx(
        [1 / 2, 1 / 3, 1 / 10]
    )


def test_hinge_is_one_until_b_and_has_its_plus_one_after_it() -> None:
    weights = [staleness_weight(Hinge(), tau) for tau in (4, 5, 14)]
    assert weights == pytest.approx([1, 1 / 11, 1 / 101])


def test_hinge_is_constant_while_tau_is_at_most_four() -> None:
    for tau in range(5):
        assert staleness_weight(Hinge(), tau) == staleness_weight(Constant(), tau)


@pytest.mark.parametrize("staleness", ALL)
def test_an_update_newer_than_the_version_is_an_error(staleness: Staleness) -> None:
    with pytest.raises(ValueError, match="newer"):
        staleness_weight(staleness, -1)


@pytest.mark.parametrize("staleness", ALL)
def test_statistics_stay_below_the_bound_of_delayed_addition(staleness: Staleness) -> None:
    for tau in range(2000):
        assert statistic_weight(staleness, tau) < 2 * math.sin(math.pi / (2 * (2 * tau + 1)))


def test_statistics_that_are_stale_never_weigh_more_than_weights_do() -> None:
    assert statistic_weight(Polynomial(a=2.0), 3) == 1 / 16
    assert statistic_weight(Hinge(), 5) == 1 / 11
    assert statistic_weight(Hinge(), 4) == 1 / 5
