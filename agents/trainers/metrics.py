"""How good are scores? Area under the ROC curve, accuracy and log loss, in numpy alone.

Nothing here needs scikit-learn, so that an agent stays small.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def auc(scores: Array, labels: Array) -> float:
    """Return the area under the ROC curve: how often a positive row scores above a negative one.

    Computed from average ranks (the Mann-Whitney U statistic), so ties count one half.

    Args:
        scores: shape (n,), any real numbers; larger means more likely positive.
        labels: shape (n,), 0 or 1.

    Raises:
        ValueError: one of the two classes is missing; there is nothing to rank.
    """
    positive = np.asarray(labels) == 1
    many = int(positive.sum())
    few = positive.size - many
    if not many or not few:
        raise ValueError("the AUC needs rows of both classes")
    _, group, counts = np.unique(np.asarray(scores), return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2.0
    above = float(ranks[group][positive].sum()) - many * (many + 1) / 2.0
    return above / (many * few)


def accuracy(probabilities: Array, labels: Array) -> float:
    """Return the share of rows whose most probable class is the right one.

    Args:
        probabilities: shape (n, classes).
        labels: shape (n,), class numbers.
    """
    right: Array = np.argmax(probabilities, axis=1) == labels
    return float(np.mean(right))


def log_loss(probabilities: Array, labels: Array) -> float:
    """Return the mean negative logarithm (nats) of the probability given to the right class.

    Args:
        probabilities: shape (n, classes), rows summing to 1; zeros are lifted to 1e-15.
        labels: shape (n,), class numbers.
    """
    right: Array = probabilities[np.arange(len(labels)), labels]
    logs: Array = np.log(np.clip(right, 1e-15, None))
    return float(-np.mean(logs))
