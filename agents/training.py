"""Runs the user's trainer, and believes nothing that it returns before looking at it.

Guarantees: Δ has exactly the tensors, shapes and dtypes of the global model and only finite numbers; whatever
the trainer raises becomes a `TrainerError`. Nothing here can interrupt a trainer that hangs: whoever waits
may stop waiting.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, TypeVarTuple, cast

import numpy as np
from numpy.typing import NDArray

from antiphon.agents.model import Model
from antiphon.agents.trainer import NamesRoles, Trainer, TrainingContext, TrainingResult
from antiphon.codecs import schema
from antiphon.codecs.errors import AntiphonError, ConfigError, SchemaError, TrainerError
from antiphon.codecs.schema import Schema

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")
MOST = 2**53
"""Examples or steps of an update: the largest number of a message."""

SLAB = 1 << 20
"""Elements that are checked at a time, so that a check needs no memory to speak of."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What came out of one training.

    Attributes:
        delta: Trained minus base, shape ``(schema.size,)``, dtype ``schema.dtype``.
        exact: The trained model's exact section.
        result: As the trainer said.
        metrics: The trainer's metrics, and its evaluation of the base as ``global_<name>``.
    """

    delta: NDArray[Any]
    exact: bytes
    result: TrainingResult
    metrics: Mapping[str, float]


def own_schema(trainer: Trainer) -> Schema:
    """Return the schema of the trainer's model.

    Raises:
        TrainerError: The trainer raised.
        ConfigError: Its model cannot be federated: names, dtypes or roles.
    """
    params = call("get_model_params", trainer.get_model_params)
    roles = call("model_roles", trainer.model_roles) if isinstance(trainer, NamesRoles) else None
    try:
        return schema.infer(params, roles)
    except (AttributeError, TypeError) as error:
        raise TrainerError(f"get_model_params() must return named arrays: {error}") from None


def check_same(own: Schema, federation: Schema) -> None:
    """Compare tensors, shapes and dtypes; roles are the federation's to say.

    Raises:
        ConfigError: They differ; names the first tensor that does.
    """
    mine = {tensor.name: tensor for tensor in own.tensors}
    theirs = {tensor.name: tensor for tensor in federation.tensors}
    for name in sorted(mine.keys() | theirs.keys()):
        a, b = mine.get(name), theirs.get(name)
        if a is None:
            raise ConfigError(f"the trainer's model lacks tensor {name!r} of the federation's model")
        if b is None:
            raise ConfigError(f"the trainer's model has tensor {name!r}, the federation's model has not")
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            raise ConfigError(
                f"tensor {name!r} is {a.dtype}{list(a.shape)} in the trainer's model, "
                f"{b.dtype}{list(b.shape)} in the federation's"
            )


def initial(trainer: Trainer) -> tuple[Schema, NDArray[Any], bytes]:
    """Return the trainer's own model, to become version 0.

    Raises:
        TrainerError: The trainer raised, or its numbers are not finite.
        ConfigError: As `own_schema`.
    """
    own = own_schema(trainer)
    vector, exact = _pack(own, trainer)
    _check_finite(vector)
    return own, vector, exact


def train(trainer: Trainer, model: Model, context: TrainingContext) -> Trained:
    """Give the trainer the global model, let it work, and return what changed. Blocks, perhaps for hours.

    Raises:
        TrainerError: It raised, or returned something unusable.
    """
    metrics = hand_over(trainer, model)
    result = _checked(call("train_model", trainer.train_model, context))
    metrics.update(_numbers("train_model", result.metrics))
    delta, exact = _pack(model.schema, trainer)
    with np.errstate(over="ignore", invalid="ignore"):
        np.subtract(delta, model.vector, out=delta)
    _check_finite(delta)  # it shows whatever was not finite before, and two finite numbers may overflow
    return Trained(delta, exact, result, metrics)


def hand_over(trainer: Trainer, model: Model) -> dict[str, float]:
    """Give the trainer the global model; return its evaluation as ``global_<name>``, if it evaluates.

    Raises:
        TrainerError: It raised, or its evaluation is not names and numbers.
    """
    call("update_model_params", trainer.update_model_params, model.schema.unpack(model.vector, model.exact))
    # Not isinstance(trainer, Evaluates): that inspects the protocol anew at each call.
    evaluate = cast("Callable[[], Mapping[str, float]] | None", getattr(trainer, "evaluate_model", None))
    if evaluate is None:
        return {}
    found = _numbers("evaluate_model", call("evaluate_model", evaluate))
    return {f"global_{name}": value for name, value in found.items()}


def call(name: str, method: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
    """Call one of the trainer's methods.

    Raises:
        TrainerError: It raised; the cause is attached.
        ConfigError: It raised one: a person must change something.
    """
    try:
        return method(*arguments)
    except ConfigError:
        raise
    except Exception as error:
        words = str(error) if isinstance(error, AntiphonError) else f"{type(error).__name__}: {error}"
        raise TrainerError(f"{name}() failed: {words[:500]}") from error


def _pack(own: Schema, trainer: Trainer) -> tuple[NDArray[Any], bytes]:
    params = call("get_model_params", trainer.get_model_params)
    try:
        vector, exact = own.pack(params)
    except SchemaError as error:
        raise TrainerError(f"get_model_params() returned another model than before: {error}") from None
    except (AttributeError, TypeError, ValueError) as error:
        raise TrainerError(f"get_model_params() must return named arrays: {error}") from None
    return vector, exact


def _check_finite(vector: NDArray[Any]) -> None:
    for start in range(0, len(vector), SLAB):
        if not np.isfinite(vector[start : start + SLAB]).all():
            raise TrainerError("the trained model holds a NaN or an infinity: lower the learning rate")


def _checked(result: object) -> TrainingResult:
    if not isinstance(result, TrainingResult):
        raise TrainerError(f"train_model() must return a TrainingResult, not {type(result).__name__}")
    counts = cast("tuple[object, object]", (result.examples, result.steps))
    if not all(isinstance(count, int | np.integer) and 0 <= count <= MOST for count in counts):
        raise TrainerError(f"train_model() must return whole numbers of examples and steps, not {counts}")
    return result


def _numbers(what: str, found: Mapping[str, float]) -> dict[str, float]:
    """Return what is finite; NaN in a metric (no rows of a class, say) is no reason to lose the work."""
    try:
        numbers = {str(name)[:150]: float(value) for name, value in list(found.items())[:100]}
    except (AttributeError, TypeError, ValueError) as error:
        raise TrainerError(f"the metrics of {what}() must be names and numbers: {error}") from None
    return {name: value for name, value in numbers.items() if math.isfinite(value)}
