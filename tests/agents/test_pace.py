"""Waits double, spread, and have bounds."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from antiphon.agents.pace import RoundTrip, backoff


@given(tries=st.integers(0, 10**6), seed=st.integers(0, 99))
def test_waits_stay_between_the_first_and_the_longest(tries: int, seed: int) -> None:
    wait = backoff(2.0, 60.0, tries, np.random.default_rng(seed))
    assert 2.0 <= wait <= min(60.0, 2.0 * 2.0 ** min(tries, 6))


def test_the_first_wait_is_exact() -> None:
    assert backoff(2.0, 60.0, 0, np.random.default_rng(0)) == 2.0


def test_a_first_wait_longer_than_the_bound_counts() -> None:
    assert backoff(90.0, 60.0, 5, np.random.default_rng(0)) == 90.0


def test_round_trips_are_smoothed_and_never_too_short() -> None:
    trip = RoundTrip()
    assert (trip.rto, trip.silence) == (2.0, 3.0)
    trip.sample(1.0)
    assert trip.smoothed == 1.0
    trip.sample(9.0)
    assert trip.smoothed == 2.0
    assert (trip.rto, trip.silence) == (8.0, 16.0)
    trip.sample(-5.0)
    assert trip.smoothed == 1.75
