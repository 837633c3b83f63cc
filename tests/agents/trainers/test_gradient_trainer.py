"""The trainer around a model: the protocol, the hints, what it refuses."""

from pathlib import Path

import numpy as np
import pytest

from antiphon.agents.trainer import Evaluates, Trainer, TrainingContext
from antiphon.agents.trainers.data import Dataset
from antiphon.agents.trainers.descent import Descent
from antiphon.agents.trainers.gradient_trainer import GradientTrainer
from antiphon.agents.trainers.logistic import logistic_model
from antiphon.codecs.errors import ConfigError, TrainerError

X = np.array([[0.0], [1.0], [2.0], [3.0]])
ROWS = Dataset(X, np.array([0, 0, 1, 1]), ("a", "b"))
NONE = Dataset(X[:0], ROWS.y[:0], ROWS.classes)


def trainer(
    held_out: Dataset = NONE, descent: Descent | None = None, dtype: str = "float32"
) -> GradientTrainer:
    return GradientTrainer(
        logistic_model(1, 2, 0.0), ROWS, held_out, descent or Descent(steps=50, rate=1.0), dtype
    )


def context(**hints: float) -> TrainingContext:
    return TrainingContext(version=3, hints=hints, rng=np.random.default_rng(0))


def test_it_is_a_trainer_that_evaluates() -> None:
    assert isinstance(trainer(), Trainer)
    assert isinstance(trainer(), Evaluates)


def test_training_lowers_the_loss_and_says_how_much_work_it_was() -> None:
    one = trainer()
    before = one.judge(ROWS)["log_loss"]
    result = one.train_model(context())
    assert (result.examples, result.steps) == (4, 50)
    assert one.judge(ROWS)["log_loss"] < before
    assert one.judge(ROWS)["auc"] == one.judge(ROWS)["accuracy"] == 1.0


def test_proximal_hint_of_the_federation_goes_before_the_own_setting() -> None:
    def moved(hint: dict[str, float], own: float) -> float:
        one = trainer(descent=Descent(steps=50, rate=0.5, proximal_mu=own))
        one.train_model(context(**hint))
        return float(np.abs(one.get_model_params()["weights"]).sum())

    assert (
        moved({"proximal_mu": 1.0}, 0.0)
        == moved({}, 1.0)
        < moved({}, 0.0)
        == moved({"proximal_mu": 0.0}, 1.0)
    )


def test_parameters_are_copies_in_the_asked_dtype() -> None:
    one = trainer(dtype="float64")
    params = dict(one.get_model_params())
    assert params["weights"].dtype == np.float64
    params["weights"][:] = 9.0
    assert one.get_model_params()["weights"][0, 0] == 0.0
    one.update_model_params(params)
    assert one.get_model_params()["weights"][0, 0] == 9.0


def test_evaluation_uses_held_out_rows_only_and_is_empty_without_them() -> None:
    assert trainer().evaluate_model() == {}
    assert set(trainer(held_out=ROWS).evaluate_model()) == {"log_loss", "accuracy", "auc"}
    one_class = ROWS.take(np.array([0, 1]))
    assert "auc" not in trainer(held_out=one_class).evaluate_model()


def test_model_of_another_shape_is_refused() -> None:
    with pytest.raises(ConfigError, match="same column specification"):
        trainer().update_model_params({"weights": np.zeros((2, 1)), "bias": np.zeros(1)})


def test_no_rows_or_another_dtype_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no rows"):
        GradientTrainer(logistic_model(1, 2, 0.0), NONE, NONE, Descent())
    with pytest.raises(ConfigError, match="float16"):
        trainer(dtype="float16")


@pytest.mark.parametrize("mu", [-1.0, float("nan")])
def test_a_senseless_proposal_of_the_federation_is_no_reason_to_end_the_agent(mu: float) -> None:
    context = TrainingContext(1, {"proximal_mu": mu}, np.random.default_rng(0))
    with pytest.raises(TrainerError, match="proximal_mu"):
        trainer().train_model(context)
