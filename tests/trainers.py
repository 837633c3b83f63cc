"""Trainers for tests, and small models."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.agents.trainer import TrainingContext, TrainingResult

Params = dict[str, NDArray[Any]]


class Adder:
    """A trainer that adds one to every float, and can be told to misbehave."""

    def __init__(self, params: Mapping[str, NDArray[Any]]) -> None:
        self.params: Params = dict(params)
        self.trained: list[int] = []
        self.hints: list[Mapping[str, float]] = []
        self.failures = 0
        self.spoil: Callable[[Params], None] | None = None

    def get_model_params(self) -> Params:
        return self.params

    def update_model_params(self, params: Mapping[str, NDArray[Any]]) -> None:
        self.params = dict(params)

    def train_model(self, context: TrainingContext) -> TrainingResult:
        if self.failures:
            self.failures -= 1
            raise ValueError("no data today")
        self.trained.append(context.version)
        self.hints.append(context.hints)
        for value in self.params.values():
            value += np.ones((), value.dtype)
        if self.spoil:
            self.spoil(self.params)
        return TrainingResult(examples=10, metrics={"loss": 0.5})


def model(size: int = 3, value: float = 0.0) -> Params:
    """A small model: ``size`` float32 weights and a counter."""
    return {"w": np.full(size, value, np.float32), "steps": np.array(7, np.int64)}


def noise(chunks: int = 20) -> Params:
    """Floats that fill that many frames of 16 KiB."""
    return {"w": np.random.default_rng(3).normal(size=chunks * 3 * 1024).astype(np.float32)}


class Scrambler(Adder):
    """Replaces the model by noise, which does not compress."""

    def __init__(self, params: Params) -> None:
        super().__init__(params)
        self.spoil = lambda found: found.update(w=found["w"] * np.pi + noise(len(found["w"]) // 3072)["w"])
