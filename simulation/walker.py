"""A trainer whose updates anybody can compute again: they depend on the agent and the version alone."""

from collections.abc import Mapping

import numpy as np

from antiphon.agents.trainer import Array, TrainingContext, TrainingResult

STEP = 0.01
"""The largest number in an update."""


class Walker:
    """Adds `walk` to whatever model it gets; counts in an integer tensor."""

    def __init__(self, number: int, elements: int) -> None:
        """``number``: the agent's; ``elements``: of the weight tensor."""
        self._number = number
        self._params: Mapping[str, Array] = first_params(elements)

    def get_model_params(self) -> Mapping[str, Array]:
        """The model as it is now."""
        return self._params

    def update_model_params(self, params: Mapping[str, Array]) -> None:
        """Take a model over."""
        self._params = params

    def train_model(self, context: TrainingContext) -> TrainingResult:
        """Take the step that belongs to this version."""
        weights = self._params["w"]
        step = walk(self._number, context.version, weights.size)
        self._params = {"w": weights + step, "n": self._params["n"] + 1}
        return TrainingResult(examples=10 * (self._number + 1))


def first_params(elements: int) -> dict[str, Array]:
    """Return version 0: zeros."""
    return {"w": np.zeros(elements, np.float32), "n": np.zeros(1, np.int64)}


def walk(number: int, version: int, elements: int) -> Array:
    """Return what agent ``number`` adds to the weights of a version, shape ``(elements,)``, float32."""
    rng = np.random.default_rng([number, version + 1])
    return rng.uniform(-STEP, STEP, elements).astype(np.float32)
