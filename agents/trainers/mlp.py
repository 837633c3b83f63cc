"""A small neural network: one hidden layer with tanh, softmax (or sigmoid) on top, L2 on both matrices.

Every agent starts from the same seed, but only version 0 of the federation matters: whoever made it decides.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from antiphon.agents.trainers.data import open_rows, split
from antiphon.agents.trainers.descent import Descent, Params, cross_entropy
from antiphon.agents.trainers.gradient_trainer import GradientTrainer, Model
from antiphon.codecs.errors import ConfigError

Array = npt.NDArray[Any]


def mlp_model(features: int, classes: int, hidden: int, l2: float, seed: int = 0) -> Model:
    """Return a network ``features -> hidden -> classes`` with Glorot-normal weights and zero biases.

    Raises:
        ConfigError: ``hidden`` is below 1.
    """
    if hidden < 1:
        raise ConfigError(f"hidden is {hidden}, it must be at least 1")
    columns = 1 if classes == 2 else classes
    rng = np.random.default_rng(seed)

    def gradient(params: Params, x: Array, y: Array) -> tuple[float, Params]:
        inner, outer = params["inner.weights"], params["outer.weights"]
        hiddens = _hidden(params, x)
        loss, slopes = cross_entropy(hiddens @ outer + params["outer.bias"], y)
        back = (slopes @ outer.T) * (1.0 - hiddens**2)
        penalty = 0.5 * l2 * float(np.sum(inner**2) + np.sum(outer**2))
        return loss + penalty, {
            "inner.weights": x.T @ back + l2 * inner,
            "inner.bias": back.sum(axis=0),
            "outer.weights": hiddens.T @ slopes + l2 * outer,
            "outer.bias": slopes.sum(axis=0),
        }

    init = {
        "inner.weights": _glorot(rng, features, hidden),
        "inner.bias": np.zeros(hidden),
        "outer.weights": _glorot(rng, hidden, columns),
        "outer.bias": np.zeros(columns),
    }
    return Model(init, _scores, gradient)


def _hidden(params: Params, x: Array) -> Array:
    return np.tanh(x @ params["inner.weights"] + params["inner.bias"])


def _scores(params: Params, x: Array) -> Array:
    return _hidden(params, x) @ params["outer.weights"] + params["outer.bias"]


def _glorot(rng: np.random.Generator, rows: int, columns: int) -> Array:
    return rng.normal(0.0, np.sqrt(2.0 / (rows + columns)), (rows, columns))


def mlp(
    data: str | Path,
    columns: str | Path = "",
    hidden: int = 32,
    l2: float = 0.001,
    steps: int = 20,
    rate: float = 0.1,
    batch: int = 32,
    proximal_mu: float = 0.0,
    held_out: float = 0.0,
    seed: int = 0,
    dtype: str = "float32",
) -> GradientTrainer:
    """Make a trainer: ``antiphon agent FOLDER --trainer antiphon.agents.trainers:mlp --data rows.npz``.

    Args:
        data: a CSV file (then ``columns`` is needed) or an .npz file with ``x`` and ``y``.
        columns: the TOML file with the column specification that all agents share.
        hidden: width of the hidden layer.
        l2: strength of the penalty.
        steps: gradient steps in one training.
        rate: learning rate.
        batch: rows in a step; 0 means all.
        proximal_mu: FedProx's mu, unless the federation proposes one.
        held_out: share of the rows (0 to below 1) kept back to judge the global model.
        seed: of the first weights, and of the rows that are kept back.
        dtype: "float32" or "float64".

    Raises:
        ConfigError: a file is missing or does not fit its specification, or a setting is out of range.
    """
    rows = open_rows(data, columns)
    training, kept = split(rows, float(held_out), int(seed))
    model = mlp_model(rows.x.shape[1], len(rows.classes), int(hidden), float(l2), int(seed))
    descent = Descent(int(steps), float(rate), int(batch), float(proximal_mu))
    return GradientTrainer(model, training, kept, descent, dtype)
