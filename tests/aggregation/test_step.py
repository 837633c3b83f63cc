"""Steps; their formulas are in test_vectors.py."""

import numpy as np
import pytest

from antiphon.coordinator.aggregation.step import (
    Adagrad,
    Adam,
    Add,
    Amsgrad,
    Momentum,
    Step,
    Yogi,
    move,
    step_scale,
    vector_count,
)

ALL: list[Step] = [Add(), Momentum(), Adam(), Yogi(), Adagrad(), Amsgrad()]


@pytest.mark.parametrize("step", ALL)
def test_nothing_to_add_moves_nothing_and_changes_no_input(step: Step) -> None:
    model = np.array([1.0, -2.0], dtype=np.float32)
    vectors = tuple(np.zeros(2, dtype=np.float32) for _ in range(vector_count(step)))
    moved, kept = move(step, 1.0, model, np.zeros(2), vectors)
    assert moved.tolist() == [1.0, -2.0]
    assert all(not vector.any() for vector in kept)
    assert not any(ours is before for ours, before in zip(kept, vectors, strict=True))


@pytest.mark.parametrize("step", ALL)
def test_a_step_climbs_along_the_combined_update(step: Step) -> None:
    vectors = tuple(np.zeros(2) for _ in range(vector_count(step)))
    moved, kept = move(step, 1.0, np.zeros(2), np.array([0.5, -0.5]), vectors)
    assert moved[0] > 0 > moved[1]
    assert all(vector.dtype == np.float64 for vector in kept)


def test_only_adaptive_steps_shrink_with_a_small_buffer() -> None:
    assert [step_scale(step, 1, 4, 0) for step in ALL] == [1, 1, 0.25, 0.25, 0.25, 0.25]
    assert [step_scale(step, 8, 4, 0) for step in ALL] == [1] * 6


def test_only_amsgrad_slows_down_for_stale_buffers_and_only_beyond_its_threshold() -> None:
    step = Amsgrad(delay=5)
    assert [step_scale(step, 4, 4, tau) for tau in (0, 5, 6, 20)] == [1, 1, 1 / 6, 1 / 20]
    assert step_scale(Adam(), 4, 4, 20) == 1


def test_yogi_leaves_v_alone_where_it_equals_the_square() -> None:
    _, kept = move(Yogi(), 1.0, np.zeros(1), np.array([0.5]), (np.zeros(1), np.array([0.25])))
    assert kept[1].tolist() == [0.25]


@pytest.mark.parametrize("step", [Adam(), Yogi(), Adagrad(), Amsgrad()])
def test_second_moments_never_become_negative(step: Step) -> None:
    rng = np.random.default_rng(1)
    vectors = tuple(np.zeros(50) for _ in range(vector_count(step)))
    model = np.zeros(50)
    for _ in range(300):
        model, vectors = move(step, 1.0, model, rng.normal(size=50) * rng.choice([0, 1e-6, 1, 1e6]), vectors)
        assert all((vector >= 0).all() for vector in vectors[1:])
        assert np.isfinite(model).all()
