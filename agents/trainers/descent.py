"""Gradient descent with the FedProx term, over any differentiable model; pure functions of numpy arrays.

The local objective is ``loss(w) + mu/2 · |w - w_base|²`` (Li et al. 2020, arXiv 1812.06127), where ``w_base``
is the global model that training started from; ``mu = 0`` is plain (stochastic) gradient descent.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from antiphon.codecs.errors import ConfigError

Array = npt.NDArray[Any]
Params = dict[str, Array]
Gradient = Callable[[Params, Array, Array], tuple[float, Params]]
"""(parameters, x (n, features), y (n,) class numbers) -> (loss, its gradient by name)."""


@dataclass(frozen=True, slots=True)
class Descent:
    """How a trainer walks downhill."""

    steps: int = 10
    """Gradient steps in one training."""

    rate: float = 0.1
    """Learning rate."""

    batch: int = 0
    """Rows in a step, drawn without repetition until all were seen; 0 means all rows in every step."""

    proximal_mu: float = 0.0
    """FedProx's mu, unless the federation proposes another one."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot train.

        Raises:
            ConfigError: names the setting and its range.
        """
        for name, value, least in (
            ("steps", self.steps, 1),
            ("batch", self.batch, 0),
            ("proximal_mu", self.proximal_mu, 0),
        ):
            if value < least:
                raise ConfigError(f"{name} is {value}, it must be at least {least}")
        if not 0 < self.rate < float("inf"):
            raise ConfigError(f"rate is {self.rate}, it must be above 0")


@dataclass(frozen=True, slots=True)
class Descended:
    """What a walk ended with: parameters, the mean loss on the way, steps taken."""

    params: Params
    loss: float
    steps: int


def descend(
    base: Mapping[str, Array],
    gradient: Gradient,
    x: Array,
    y: Array,
    settings: Descent,
    rng: np.random.Generator,
    stopping: Callable[[], bool] = lambda: False,
) -> Descended:
    """Walk downhill from ``base``; ``base`` itself is not changed.

    Args:
        base: the model to start from and to stay near, by name.
        gradient: the loss and its gradient on some rows.
        x: shape (n, features).
        y: shape (n,), class numbers.
        settings: steps, rate, batch and mu.
        rng: draws the batches.
        stopping: asked before every step but the first; true ends the walk early.
    """
    params: Params = {name: np.array(value, dtype=np.float64) for name, value in base.items()}
    start = {name: value.copy() for name, value in params.items()}
    batches = _batches(len(y), settings.batch, rng)
    losses: list[float] = []
    for _ in range(settings.steps):
        if losses and stopping():
            break
        rows = next(batches)
        loss, slopes = gradient(params, x[rows], y[rows])
        losses.append(loss)
        for name, slope in slopes.items():
            pull = settings.proximal_mu * (params[name] - start[name])
            params[name] = params[name] - settings.rate * (slope + pull)
    return Descended(params, float(np.mean(losses)), len(losses))


def _batches(rows: int, size: int, rng: np.random.Generator) -> Iterator[slice | Array]:
    while size <= 0 or size >= rows:
        yield slice(None)
    while True:
        order = rng.permutation(rows)
        for first in range(0, rows - size + 1, size):
            yield order[first : first + size]


def cross_entropy(scores: Array, labels: Array) -> tuple[float, Array]:
    """Return the mean cross entropy (nats) and its gradient by the scores.

    Args:
        scores: shape (n, classes) for softmax, or (n, 1) for two classes with a sigmoid (score of class 1).
        labels: shape (n,), class numbers.

    Returns:
        The loss and an array of the scores' shape.
    """
    chances = probabilities(scores)
    count = len(labels)
    if scores.shape[1] == 1:
        signed = np.where(labels == 1, scores[:, 0], -scores[:, 0])
        return float(np.mean(np.logaddexp(0.0, -signed))), (chances[:, 1:] - labels[:, None]) / count
    highest = scores.max(axis=1)
    normaliser: Array = highest + np.log(np.exp(scores - highest[:, None]).sum(axis=1))
    rows = np.arange(count)
    right: Array = scores[rows, labels]
    slopes = chances.copy()
    slopes[rows, labels] -= 1.0
    return float(np.mean(normaliser - right)), slopes / count


def probabilities(scores: Array) -> Array:
    """Turn scores (n, classes), or (n, 1) for two classes, into probabilities (n, classes)."""
    if scores.shape[1] == 1:
        # tanh never overflows, unlike 1 / (1 + exp(-s))
        positive = 0.5 * (1.0 + np.tanh(0.5 * scores))
        return np.hstack([1.0 - positive, positive])
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
