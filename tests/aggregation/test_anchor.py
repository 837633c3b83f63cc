"""Anchors."""

import numpy as np

from antiphon.coordinator.aggregation.anchor import anchored


def test_against_the_base_the_value_is_the_delta_in_float64() -> None:
    delta = np.array([0.1, -0.2], dtype=np.float32)
    out = np.empty(2)
    anchored(delta, None, np.zeros(2, dtype=np.float32), out)
    assert out.tolist() == delta.astype(np.float64).tolist()


def test_against_the_current_model_it_is_the_local_model_minus_it_without_float32_rounding() -> None:
    base = np.array([1.0], dtype=np.float32)
    delta = np.array([2.0**-30], dtype=np.float32)
    out = np.empty(1)
    anchored(delta, base, np.array([1.0], dtype=np.float32), out)
    assert out[0] == 2.0**-30  # in float32, 1 + 2^-30 is 1
