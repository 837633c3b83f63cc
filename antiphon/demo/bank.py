"""The banks' trainers: the numpy trainers of `antiphon.agents.trainers`, on hardware that takes its time.

A demo's models train in a millisecond. ``seconds`` makes a bank as slow as a real one would be, and one of
them 20 times slower; the waiting happens where the training happens, and ends when the agent has to stop.
"""

import time
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from antiphon.agents import trainers
from antiphon.agents.trainer import Trainer, TrainingContext, TrainingResult

Params = Mapping[str, npt.NDArray[Any]]

_SLICE = 0.05
"""Seconds between two looks at whether to stop."""


class Paced:
    """A trainer whose trainings take 0.8 to 1.3 times ``seconds``, drawn anew each time."""

    def __init__(self, trainer: Trainer, seconds: float) -> None:
        """``trainer`` does the work, before the waiting."""
        self._trainer, self._seconds = trainer, seconds

    def get_model_params(self) -> Params:
        """Return what the trainer has."""
        return self._trainer.get_model_params()

    def update_model_params(self, params: Params) -> None:
        """Hand the global model to the trainer."""
        self._trainer.update_model_params(params)

    def train_model(self, context: TrainingContext) -> TrainingResult:
        """Train, then wait for the rest of the time."""
        until = time.monotonic() + self._seconds * float(context.rng.uniform(0.8, 1.3))
        result = self._trainer.train_model(context)
        while (left := until - time.monotonic()) > 0 and not context.stopping():
            time.sleep(min(left, _SLICE))
        return result


def logistic(data: str, seconds: float = 0.0, **settings: Any) -> Paced:
    """`antiphon.agents.trainers.logistic` with a pace; for the credit data."""
    return Paced(trainers.logistic(data, **settings), float(seconds))


def mlp(data: str, seconds: float = 0.0, **settings: Any) -> Paced:
    """`antiphon.agents.trainers.mlp` with a pace; for the digits."""
    return Paced(trainers.mlp(data, **settings), float(seconds))
