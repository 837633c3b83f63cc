"""The small network: gradients, what a line cannot separate, command-line factory."""

from pathlib import Path

import numpy as np
import pytest

from antiphon.agents.trainer import TrainingContext
from antiphon.agents.trainers import mlp
from antiphon.agents.trainers.mlp import mlp_model
from antiphon.codecs.errors import ConfigError


@pytest.mark.parametrize("classes", [2, 3])
def test_gradient_is_the_finite_difference(classes: int) -> None:
    rng = np.random.default_rng(classes)
    x, y = rng.normal(size=(9, 3)), rng.integers(0, classes, 9)
    model = mlp_model(3, classes, hidden=4, l2=0.2, seed=5)
    params = {name: value + 0.1 * rng.normal(size=value.shape) for name, value in model.init.items()}
    _, slopes = model.gradient(params, x, y)
    assert set(slopes) == set(params)
    for name, value in params.items():
        for place in np.ndindex(*value.shape):
            up, down = ({**params, name: value.copy()} for _ in range(2))
            up[name][place] += 1e-6
            down[name][place] -= 1e-6
            difference = (model.gradient(up, x, y)[0] - model.gradient(down, x, y)[0]) / 2e-6
            assert slopes[name][place] == pytest.approx(difference, abs=1e-7)


def test_it_learns_what_no_line_separates(tmp_path: Path) -> None:
    x = np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    np.savez(tmp_path / "xor.npz", x=x, y=np.array([0, 0, 1, 1]))
    trainer = mlp(tmp_path / "xor.npz", hidden=8, l2=0.0, steps=2000, rate=0.5, batch=0, seed=1)
    trainer.train_model(TrainingContext(0, {}, np.random.default_rng(0)))
    assert np.argmax(trainer.predict(x), axis=1).tolist() == [0, 0, 1, 1]


def test_same_seed_means_the_same_first_weights(tmp_path: Path) -> None:
    one, two, other = (mlp_model(5, 3, 4, 0.0, seed).init["inner.weights"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_network_without_hidden_units_is_refused() -> None:
    with pytest.raises(ConfigError, match="hidden"):
        mlp_model(5, 2, 0, 0.0)
