"""Metrics against numbers worked out by hand."""

import numpy as np
import pytest

from antiphon.agents.trainers.metrics import accuracy, auc, log_loss


def test_auc_of_a_perfect_and_of_a_reversed_ranking() -> None:
    labels = np.array([0, 0, 1, 1])
    assert auc(np.array([1.0, 2.0, 3.0, 4.0]), labels) == 1.0
    assert auc(np.array([4.0, 3.0, 2.0, 1.0]), labels) == 0.0


def test_ties_count_one_half() -> None:
    assert auc(np.zeros(6), np.array([0, 1, 0, 1, 1, 0])) == 0.5
    # pairs (positive, negative): (2, 1) right, (2, 2) half, (3, 1) right, (3, 2) right
    assert auc(np.array([1.0, 2.0, 2.0, 3.0]), np.array([0, 0, 1, 1])) == 3.5 / 4


def test_auc_agrees_with_counting_every_pair() -> None:
    rng = np.random.default_rng(3)
    scores, labels = rng.integers(0, 8, 60).astype(float), rng.integers(0, 2, 60)
    pairs = [(p > n) + 0.5 * (p == n) for p in scores[labels == 1] for n in scores[labels == 0]]
    assert auc(scores, labels) == pytest.approx(np.mean(pairs), abs=1e-12)


def test_auc_of_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="both classes"):
        auc(np.array([1.0, 2.0]), np.array([1, 1]))


def test_accuracy_and_log_loss() -> None:
    chances = np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.0, 1.0, 0.0]])
    labels = np.array([0, 1, 2])
    assert accuracy(chances, labels) == pytest.approx(2 / 3)
    assert log_loss(chances, labels) == pytest.approx(-(np.log(0.5) + np.log(0.8) + np.log(1e-15)) / 3)
