"""The trainer whose updates are known."""

import numpy as np

from antiphon.agents.trainer import TrainingContext
from antiphon.simulation.walker import STEP, Walker, first_params, walk


def context(version: int) -> TrainingContext:
    return TrainingContext(version=version, hints={}, rng=np.random.default_rng(0), stopping=lambda: False)


def test_walker_adds_what_walk_says() -> None:
    walker = Walker(2, 10)
    walker.update_model_params({"w": np.ones(10, np.float32), "n": np.array([4])})
    result = walker.train_model(context(3))
    assert result.examples == 30
    np.testing.assert_array_equal(walker.get_model_params()["w"], 1 + walk(2, 3, 10))
    assert walker.get_model_params()["n"] == 5


def test_steps_are_small_and_no_two_are_alike() -> None:
    steps = [walk(number, version, 50) for number in range(3) for version in range(3)]
    assert all(abs(step).max() <= STEP for step in steps)
    assert len({step.tobytes() for step in steps}) == 9
    assert {name: value.dtype for name, value in first_params(1).items()} == {"w": np.float32, "n": np.int64}
