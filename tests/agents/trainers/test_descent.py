"""Descent, the proximal term, and the losses' slopes against finite differences."""

from collections.abc import Callable

import numpy as np
import pytest

from antiphon.agents.trainers.descent import Array, Descent, Params, cross_entropy, descend, probabilities
from antiphon.codecs.errors import ConfigError

X = np.zeros((5, 1))
Y = np.arange(5)


def bowl(params: Params, x: Array, y: Array) -> tuple[float, Params]:
    """Half the squared distance to 3."""
    return 0.5 * float(np.sum((params["w"] - 3.0) ** 2)), {"w": params["w"] - 3.0}


def walk(settings: Descent, stopping: Callable[[], bool] = lambda: False) -> tuple[float, int]:
    base = {"w": np.zeros(1, dtype=np.float32)}
    end = descend(base, bowl, X, Y, settings, np.random.default_rng(0), stopping)
    assert base["w"][0] == 0.0
    return float(end.params["w"][0]), end.steps


def test_one_step_goes_against_the_slope() -> None:
    assert walk(Descent(steps=1, rate=0.5))[0] == pytest.approx(1.5)


def test_proximal_term_pulls_back_to_the_base() -> None:
    free, near = walk(Descent(steps=200, rate=0.2)), walk(Descent(steps=200, rate=0.2, proximal_mu=2.0))
    assert free[0] == pytest.approx(3.0)
    # (w - 3) + 2 w = 0
    assert near[0] == pytest.approx(1.0)


def test_training_ends_early_when_asked_to_stop_but_never_without_a_step() -> None:
    assert walk(Descent(steps=9), stopping=lambda: True)[1] == 1


def test_batches_see_every_row_before_one_comes_back() -> None:
    seen: list[int] = []

    def note(params: Params, x: Array, y: Array) -> tuple[float, Params]:
        seen.extend(y.tolist())
        return bowl(params, x, y)

    descend({"w": np.zeros(1)}, note, X[:4], Y[:4], Descent(steps=4, batch=2), np.random.default_rng(1))
    assert sorted(seen[:4]) == sorted(seen[4:]) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"steps": 0}, "steps"),
        ({"batch": -1}, "batch"),
        ({"proximal_mu": -0.1}, "mu"),
        ({"rate": 0.0}, "rate"),
    ],
)
def test_settings_that_cannot_train_are_refused(settings: dict[str, float], name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        Descent(**settings)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(("columns", "classes"), [(1, 2), (4, 4)])
def test_slope_of_the_cross_entropy_is_the_finite_difference(columns: int, classes: int) -> None:
    rng = np.random.default_rng(2)
    scores, labels = rng.normal(size=(6, columns)), rng.integers(0, classes, 6)
    loss, slopes = cross_entropy(scores, labels)
    assert loss > 0
    for place in np.ndindex(*scores.shape):
        step = np.zeros_like(scores)
        step[place] = 1e-6
        difference = (
            cross_entropy(scores + step, labels)[0] - cross_entropy(scores - step, labels)[0]
        ) / 2e-6
        assert slopes[place] == pytest.approx(difference, abs=1e-8)


def test_huge_scores_neither_overflow_nor_lose_the_loss() -> None:
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        loss, _ = cross_entropy(np.array([[800.0], [-800.0]]), np.array([0, 1]))
        assert loss == pytest.approx(800.0)
        assert cross_entropy(np.array([[0.0, 800.0]]), np.array([1]))[0] == 0.0
        np.testing.assert_allclose(probabilities(np.array([[0.0]])), [[0.5, 0.5]])
