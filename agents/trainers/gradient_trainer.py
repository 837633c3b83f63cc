"""A `Trainer` for any model that has scores and a gradient: logistic regression, a small neural network, ...

It computes in float64 and hands its parameters over as float32 unless told otherwise: the wire carries what
the model is worth, and the rounding is far below what one training moves.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from antiphon.agents.trainer import TrainingContext, TrainingResult
from antiphon.agents.trainers.data import Dataset
from antiphon.agents.trainers.descent import Descent, Gradient, Params, descend, probabilities
from antiphon.agents.trainers.metrics import accuracy, auc, log_loss
from antiphon.codecs.errors import ConfigError, TrainerError

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Model:
    """A model as a value: where it starts, how it scores, how its loss slopes."""

    init: Params
    scores: Callable[[Params, Array], Array]
    """(parameters, x (n, features)) -> (n, classes), or (n, 1) for two classes."""

    gradient: Gradient


class GradientTrainer:
    """Trains ``model`` on ``training`` rows and judges it on ``held_out`` rows.

    ``hints["proximal_mu"]`` of the federation goes before the trainer's own ``descent.proximal_mu``.
    """

    def __init__(
        self,
        model: Model,
        training: Dataset,
        held_out: Dataset,
        descent: Descent,
        dtype: str = "float32",
    ) -> None:
        """``dtype`` ("float32" or "float64") is what the federation sees of the parameters.

        Raises:
            ConfigError: no rows to train on, or another dtype.
        """
        if not len(training):
            raise ConfigError("there are no rows to train on")
        if dtype not in ("float32", "float64"):
            raise ConfigError(f'dtype is "{dtype}", it must be "float32" or "float64"')
        self._model, self._training, self._held_out = model, training, held_out
        self._descent, self._dtype = descent, dtype
        self._params = self._as_told(model.init)

    def get_model_params(self) -> Mapping[str, Array]:
        """Return the parameters by name, in the trainer's dtype."""
        return {name: value.copy() for name, value in self._params.items()}

    def update_model_params(self, params: Mapping[str, Array]) -> None:
        """Take the global model over.

        Raises:
            ConfigError: names or shapes differ from this trainer's model.
        """
        mine = {name: value.shape for name, value in self._params.items()}
        theirs = {name: np.shape(value) for name, value in params.items()}
        if mine != theirs:
            raise ConfigError(
                f"the federation's model is {theirs}, this trainer's is {mine}: "
                "give every agent the same column specification and the same model settings"
            )
        self._params = self._as_told(params)

    def train_model(self, context: TrainingContext) -> TrainingResult:
        """Walk downhill on the training rows from the parameters taken over last."""
        mu = float(context.hints.get("proximal_mu", self._descent.proximal_mu))
        if not 0 <= mu < float("inf"):
            # The operator's mistake, which the next version may correct: no reason to end this agent.
            raise TrainerError(f"the federation proposes proximal_mu = {mu}, it must be at least 0")
        settings = replace(self._descent, proximal_mu=mu)
        x, y = self._training.x, self._training.y
        walk = descend(self._params, self._model.gradient, x, y, settings, context.rng, context.stopping)
        self._params = self._as_told(walk.params)
        return TrainingResult(examples=len(self._training), metrics={"loss": walk.loss}, steps=walk.steps)

    def evaluate_model(self) -> Mapping[str, float]:
        """Judge the parameters taken over last on the held-out rows; nothing where there are none."""
        return self.judge(self._held_out) if len(self._held_out) else {}

    def predict(self, x: Array) -> Array:
        """Return class probabilities, shape (n, classes), for rows x of shape (n, features)."""
        return probabilities(self._model.scores(self._wide(), x))

    def judge(self, rows: Dataset) -> dict[str, float]:
        """Return ``log_loss``, ``accuracy`` and, for two classes that both occur, ``auc`` on ``rows``."""
        chances = self.predict(rows.x)
        numbers = {"log_loss": log_loss(chances, rows.y), "accuracy": accuracy(chances, rows.y)}
        if chances.shape[1] == 2 and len(np.unique(rows.y)) == 2:
            numbers["auc"] = auc(chances[:, 1], rows.y)
        return numbers

    def _as_told(self, params: Mapping[str, Array]) -> Params:
        return {name: np.asarray(value).astype(self._dtype) for name, value in params.items()}

    def _wide(self) -> Params:
        return {name: value.astype(np.float64) for name, value in self._params.items()}
