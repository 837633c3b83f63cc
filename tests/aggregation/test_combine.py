"""The mean."""

import numpy as np
import pytest

from antiphon.coordinator.aggregation.combine import accumulate, mean_scalars


def test_a_full_buffer_divides_by_k_and_not_by_the_weights() -> None:
    assert mean_scalars((0.5, 0.5), 2) == (0.25, 0.25)


def test_a_partial_buffer_still_divides_by_k() -> None:
    assert mean_scalars((1.0,), 10) == (0.1,)


def test_a_buffer_that_had_to_wait_divides_by_its_number() -> None:
    assert mean_scalars((1.0,) * 4, 2) == (0.25,) * 4


def test_values_are_added_in_order() -> None:
    total = np.array([np.nan])
    for index, value in enumerate([1e16, 1.0, -1e16]):
        accumulate(total, np.array([value]), 1.0, first=index == 0)
    assert total[0] == 0.0  # 1e16 + 1 rounds to 1e16; another order would give 1
    for index, value in enumerate([1e16, -1e16, 1.0]):
        accumulate(total, np.array([value]), 1.0, first=index == 0)
    assert total[0] == pytest.approx(1.0)
