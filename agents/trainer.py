"""What a user writes: a trainer. It owns its data and its model; Antiphon calls it.

The calls of one trainer never overlap. They run on a worker thread, off the event loop, so a trainer may
compute for hours. An exception in it is logged and the trainer is asked again later; it never ends the agent.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class TrainingContext:
    """What the federation tells a trainer before it trains."""

    version: int
    """Number of the global version that ``update_model_params`` was called with."""

    hints: Mapping[str, float]
    """Settings that the operator proposes, for example ``proximal_mu``; a trainer may ignore them."""

    rng: np.random.Generator
    """For shuffling and sampling; seeded by whoever runs the agent."""

    stopping: Callable[[], bool] = _never
    """True once the agent is asked to stop: long loops may look at it and return early."""


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a trainer says about the work it has just done."""

    examples: int
    """Examples that took part, at least 1; may weigh the update."""

    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    """Numbers for the operator, for example ``loss``; they travel sealed."""

    steps: int = 0
    """Optimiser steps taken; 0 means not said."""


@runtime_checkable
class Trainer(Protocol):
    """The three methods that turn training code into an agent.

    Two more are optional: `Evaluates` and `NamesRoles`.
    """

    def get_model_params(self) -> Mapping[str, Array]:
        """Return the model as named arrays; names, shapes and dtypes never change."""
        ...

    def update_model_params(self, params: Mapping[str, Array]) -> None:
        """Take the global model over; the arrays are the trainer's to keep."""
        ...

    def train_model(self, context: TrainingContext) -> TrainingResult:
        """Train on the trainer's own data, starting from the parameters taken over last."""
        ...


@runtime_checkable
class Evaluates(Protocol):
    """Optional: judges the global model before training; its numbers travel as ``global_<name>``."""

    def evaluate_model(self) -> Mapping[str, float]:
        """Return numbers about the parameters taken over last, on the trainer's own held-out data."""
        ...


@runtime_checkable
class NamesRoles(Protocol):
    """Optional: says which tensors are not ordinary weights."""

    def model_roles(self) -> Mapping[str, str]:
        """Return ``"weight"``, ``"statistic"``, ``"variance"``, ``"keep"`` or ``"max"`` by tensor name."""
        ...
