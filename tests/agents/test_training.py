"""What the user's trainer returns is looked at before it is believed."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import pytest
from trainers import Adder, Params, model

from antiphon.agents import training
from antiphon.agents.model import Model
from antiphon.agents.trainer import TrainingContext, TrainingResult
from antiphon.codecs import schema
from antiphon.codecs.errors import ConfigError, TrainerError
from antiphon.codecs.messages import NO_DIGEST, Announcement

VERSION = Announcement(
    wire=1,
    federation="banks",
    run=b"r" * 16,
    started=0.0,
    term=1,
    number=3,
    digest=NO_DIGEST,
    schema=NO_DIGEST,
    issued=0.0,
    state="running",
)
CONTEXT = TrainingContext(3, {"mu": 0.5}, np.random.default_rng(0))


def received(params: Params) -> Model:
    own = schema.infer(params)
    return Model(VERSION, own, *own.pack(params))


class Judge(Adder):
    def evaluate_model(self) -> Mapping[str, float]:
        return {"auc": float(self.params["w"][0]), "odd": float("nan")}


def test_delta_is_trained_minus_base_and_the_base_is_judged_first() -> None:
    trainer = Judge(model())
    trained = training.train(trainer, received(model(value=2.0)), CONTEXT)
    np.testing.assert_array_equal(trained.delta, np.ones(3, np.float32))
    assert trained.delta.dtype == np.float32
    assert np.frombuffer(trained.exact, np.int64) == [8]
    assert trained.metrics == {"global_auc": 2.0, "loss": 0.5}
    assert trainer.hints == [{"mu": 0.5}]
    assert not CONTEXT.stopping()


def test_float64_stays_float64() -> None:
    params = {"w": np.full(3, 1e-9)}
    trained = training.train(Adder(params), received(params), CONTEXT)
    assert trained.delta.dtype == np.float64
    np.testing.assert_allclose(trained.delta, 1.0, rtol=1e-15)


def _set(name: str, value: Any) -> Callable[[Params], None]:
    return lambda params: params.update({name: value})


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_set("w", np.array([1, np.nan, 2], np.float32)), "NaN or an infinity"),
        (_set("w", np.array([1, np.inf, 2], np.float32)), "NaN or an infinity"),
        (_set("w", np.zeros(4, np.float32)), "tensor 'w' is"),
        (_set("w", np.zeros(3)), "tensor 'w' is"),
        (_set("extra", np.zeros(3)), "'extra'"),
        (dict[str, Any].clear, "'steps' is missing"),
    ],
)
def test_unusable_models_are_named(spoil: Callable[[Params], None], said: str) -> None:
    trainer = Adder(model())
    trainer.spoil = spoil
    with pytest.raises(TrainerError, match=said):
        training.train(trainer, received(model()), CONTEXT)


def test_a_difference_that_overflows_is_not_finite() -> None:
    largest = float(np.finfo(np.float32).max)
    trainer = Adder(model())
    trainer.spoil = _set("w", np.full(3, largest, np.float32))
    with pytest.raises(TrainerError, match="infinity"):
        training.train(trainer, received(model(value=-largest)), CONTEXT)


def test_an_infinity_that_the_base_has_too_is_not_taken_for_no_change() -> None:
    trainer = Adder(model())
    trainer.spoil = _set("w", np.full(3, np.inf, np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(TrainerError, match="infinity"):
            training.train(trainer, received(model(value=np.inf)), CONTEXT)


def test_a_first_model_that_is_not_finite_is_refused() -> None:
    with pytest.raises(TrainerError, match="NaN"):
        training.initial(Adder(model(value=np.nan)))


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (None, "must return a TrainingResult, not NoneType"),
        (TrainingResult(examples=-1), "whole numbers"),
        (TrainingResult(examples=1, steps=-1), "whole numbers"),
        (TrainingResult(examples=cast("int", None)), "whole numbers"),
        (TrainingResult(examples=cast("int", "12")), "whole numbers"),
        (TrainingResult(examples=cast("int", float("nan"))), "whole numbers"),
        (TrainingResult(examples=2**60), "whole numbers"),
        (TrainingResult(examples=1, metrics={"loss": "low"}), "names and numbers"),  # pyright: ignore
        (TrainingResult(examples=1, metrics=[1]), "names and numbers"),  # pyright: ignore
    ],
)
def test_unusable_results_are_named(result: Any, said: str) -> None:
    trainer = Adder(model())
    trainer.train_model = lambda context: result
    with pytest.raises(TrainerError, match=said):
        training.train(trainer, received(model()), CONTEXT)


def test_parameters_that_are_no_mapping_are_named() -> None:
    trainer = Adder(model())
    trainer.get_model_params = lambda: [1, 2]  # pyright: ignore
    with pytest.raises(TrainerError, match="named arrays"):
        training.train(trainer, received(model()), CONTEXT)


def test_what_a_trainer_raises_keeps_its_words() -> None:
    trainer = Adder(model())
    trainer.failures = 1
    with pytest.raises(TrainerError, match=r"train_model\(\) failed: ValueError: no data today") as caught:
        training.train(trainer, received(model()), CONTEXT)
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_config_error_of_a_trainer_stays_one() -> None:
    def refuse() -> Params:
        raise ConfigError("install torch")

    with pytest.raises(ConfigError, match="install torch"):
        training.call("get_model_params", refuse)


def test_roles_come_from_the_trainer() -> None:
    class Counting(Adder):
        def model_roles(self) -> Mapping[str, str]:
            return {"steps": "max"}

    assert training.own_schema(Counting(model())).tensors[0].extra == "max"
    assert training.own_schema(Adder(model())).tensors[0].extra == "keep"


@pytest.mark.parametrize(
    ("mine", "said"),
    [
        ({"w": np.zeros(3, np.float32)}, "lacks tensor 'steps'"),
        ({**model(), "b": np.zeros(1)}, "has tensor 'b'"),
        (model(size=4), r"tensor 'w' is float32\[4\] in the trainer's model, float32\[3\]"),
        ({**model(), "w": np.zeros(3)}, r"tensor 'w' is float64"),
    ],
)
def test_the_first_tensor_that_differs_is_named(mine: Params, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        training.check_same(schema.infer(mine), schema.infer(model()))


def test_roles_are_the_federations_to_say() -> None:
    training.check_same(schema.infer(model()), schema.infer(model(), {"steps": "max"}))


def test_the_first_model_is_the_trainers_own() -> None:
    own, vector, exact = training.initial(Adder(model(value=4.0)))
    np.testing.assert_array_equal(vector, np.full(3, 4.0, np.float32))
    assert own.digest == schema.infer(model()).digest
    assert len(exact) == 8
