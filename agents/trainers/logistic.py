"""Logistic regression for two classes, softmax regression for more, with an L2 penalty on the weights.

The loss is the mean cross entropy plus ``l2/2 · |weights|²``; the bias is not penalised. Two classes are one
column of scores (a sigmoid), so a model of 57 features is 58 numbers.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from antiphon.agents.trainers.data import open_rows, split
from antiphon.agents.trainers.descent import Descent, Params, cross_entropy
from antiphon.agents.trainers.gradient_trainer import GradientTrainer, Model

Array = npt.NDArray[Any]


def logistic_model(features: int, classes: int, l2: float) -> Model:
    """Return a linear model that starts at zero: ``weights`` (features, columns) and ``bias`` (columns,)."""
    columns = 1 if classes == 2 else classes

    def gradient(params: Params, x: Array, y: Array) -> tuple[float, Params]:
        weights = params["weights"]
        loss, slopes = cross_entropy(_scores(params, x), y)
        penalty = 0.5 * l2 * float(np.sum(weights**2))
        return loss + penalty, {"weights": x.T @ slopes + l2 * weights, "bias": slopes.sum(axis=0)}

    init = {"weights": np.zeros((features, columns)), "bias": np.zeros(columns)}
    return Model(init, _scores, gradient)


def _scores(params: Params, x: Array) -> Array:
    return x @ params["weights"] + params["bias"]


def logistic(
    data: str | Path,
    columns: str | Path = "",
    l2: float = 0.01,
    steps: int = 10,
    rate: float = 0.1,
    batch: int = 0,
    proximal_mu: float = 0.0,
    held_out: float = 0.0,
    seed: int = 0,
    dtype: str = "float32",
) -> GradientTrainer:
    """Make a trainer: ``antiphon agent FOLDER --trainer antiphon.agents.trainers:logistic --data bank.csv``.

    Args:
        data: a CSV file (then ``columns`` is needed) or an .npz file with ``x`` and ``y``.
        columns: the TOML file with the column specification that all agents share.
        l2: strength of the penalty.
        steps: gradient steps in one training.
        rate: learning rate.
        batch: rows in a step; 0 means all.
        proximal_mu: FedProx's mu, unless the federation proposes one.
        held_out: share of the rows (0 to below 1) kept back to judge the global model.
        seed: decides which rows are kept back.
        dtype: "float32" or "float64".

    Raises:
        ConfigError: a file is missing or does not fit its specification, or a setting is out of range.
    """
    rows = open_rows(data, columns)
    training, kept = split(rows, float(held_out), int(seed))
    model = logistic_model(rows.x.shape[1], len(rows.classes), float(l2))
    descent = Descent(int(steps), float(rate), int(batch), float(proximal_mu))
    return GradientTrainer(model, training, kept, descent, dtype)
