"""Logistic and softmax regression: gradients, optimum, command-line factory."""

from pathlib import Path

import numpy as np
import pytest

from antiphon.agents.trainer import TrainingContext
from antiphon.agents.trainers import logistic
from antiphon.agents.trainers.logistic import logistic_model
from antiphon.codecs.errors import ConfigError


@pytest.mark.parametrize("classes", [2, 3])
def test_gradient_is_the_finite_difference(classes: int) -> None:
    rng = np.random.default_rng(classes)
    x, y = rng.normal(size=(12, 4)), rng.integers(0, classes, 12)
    model = logistic_model(4, classes, l2=0.3)
    params = {name: rng.normal(size=value.shape) for name, value in model.init.items()}
    _, slopes = model.gradient(params, x, y)
    for name, value in params.items():
        for place in np.ndindex(*value.shape):
            up, down = ({**params, name: value.copy()} for _ in range(2))
            up[name][place] += 1e-6
            down[name][place] -= 1e-6
            difference = (model.gradient(up, x, y)[0] - model.gradient(down, x, y)[0]) / 2e-6
            assert slopes[name][place] == pytest.approx(difference, abs=1e-7)


def test_two_classes_are_one_column_and_more_are_one_each() -> None:
    assert logistic_model(57, 2, 0.0).init["weights"].shape == (57, 1)
    assert logistic_model(57, 3, 0.0).init["weights"].shape == (57, 3)


def test_bias_is_not_penalised(tmp_path: Path) -> None:
    """Without features the best bias is the log odds, whatever the penalty."""
    np.savez(tmp_path / "rows.npz", x=np.zeros((4, 1)), y=np.array([0, 1, 1, 1]))
    trainer = logistic(tmp_path / "rows.npz", l2=50.0, steps=500, rate=1.0)
    trainer.train_model(TrainingContext(0, {}, np.random.default_rng(0)))
    assert trainer.get_model_params()["bias"][0] == pytest.approx(np.log(3.0), abs=1e-5)


def test_settings_from_the_command_line_reach_the_trainer(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", x=np.arange(8.0)[:, None], y=np.array([0, 0, 0, 0, 1, 1, 1, 1]))
    trainer = logistic(tmp_path / "rows.npz", l2=0.01, steps=3, held_out=0.5, seed=1, dtype="float64")
    result = trainer.train_model(TrainingContext(0, {}, np.random.default_rng(0)))
    assert (result.examples, result.steps) == (4, 3)
    assert trainer.get_model_params()["weights"].dtype == np.float64
    with pytest.raises(ConfigError, match="rate"):
        logistic(tmp_path / "rows.npz", rate=-1.0)
