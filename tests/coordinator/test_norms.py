"""How long an update may be."""

import numpy as np
import pytest

from antiphon.coordinator.norms import EARLY, EARLY_BOUND, PIECE, Norms, euclidean
from antiphon.coordinator.settings import Limits


def known(norm: float = 0.0, norm_factor: float = 1000.0) -> Norms:
    norms = Norms(Limits(norm=norm, norm_factor=norm_factor))
    for _ in range(EARLY):
        norms.accepted(2.0)
    return norms


def test_untrained_model_tells_no_scale() -> None:
    norms = Norms(Limits())
    norms.model = 0.3
    assert norms.bound() == EARLY_BOUND
    norms.model = 1e13
    assert norms.bound() == 1e16


def test_known_scale_bounds_by_the_larger_of_model_and_median_update() -> None:
    norms = known()
    assert norms.bound() == 2000.0
    norms.model = 5.0
    assert norms.bound() == 5000.0
    for _ in range(3):
        norms.accepted(4000.0)
    assert norms.bound() == 5000.0


def test_model_and_updates_of_nothing_but_zeros_bound_nobody_to_zero() -> None:
    norms = Norms(Limits())
    for _ in range(EARLY):
        norms.accepted(0.0)
    assert norms.bound() == EARLY_BOUND


def test_smaller_of_the_operators_bound_and_the_relative_one_counts() -> None:
    assert known(norm=10.0).bound() == 10.0
    assert known(norm=1e6).bound() == 2000.0
    assert known(norm_factor=0.0).bound() == float("inf")
    assert known(norm=10.0, norm_factor=0.0).bound() == 10.0


def test_norm_of_a_long_vector_is_taken_in_pieces_without_overflow() -> None:
    assert euclidean(np.full(PIECE + 5, 2.0, np.float32)) == pytest.approx(2.0 * (PIECE + 5) ** 0.5)
    assert euclidean(np.full(3, 3e38, np.float32)) == pytest.approx(3e38 * 3**0.5)
    assert euclidean(np.full(3, 1e300)) == float("inf")
    assert euclidean(np.empty(0, np.float32)) == 0.0


def test_what_was_normal_is_stored_and_read_back() -> None:
    one, other = known(), Norms(Limits())
    one.accepted(0.1 + 0.2)
    other.restore(one.plain())
    one.model = other.model = 0.3
    assert other.plain() == one.plain()
    assert other.bound() == one.bound()
