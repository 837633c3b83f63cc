"""How the model moves: w and the optimiser's vectors from D, one step a flush.

Add is plain averaging; Momentum is FedAvgM (Hsu et al. 2019, arXiv 1909.06335); Adam, Yogi and Adagrad are
FedOpt (Reddi et al. 2021, arXiv 2003.00295): no bias correction, ε outside the root; Amsgrad is FADAS with
its delay-adaptive rate (Wang et al. 2024, arXiv 2407.18365). The vectors belong to the model: whoever saves a
version saves them with it.
"""

from dataclasses import dataclass
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from antiphon.coordinator.aggregation.anchor import Floats

Rate = Annotated[float, msgspec.Meta(gt=0, le=1e6)]
Decay = Annotated[float, msgspec.Meta(ge=0, lt=1)]
Epsilon = Annotated[float, msgspec.Meta(gt=0, le=1e3)]


class Add(msgspec.Struct, frozen=True, tag="add", tag_field="kind", forbid_unknown_fields=True):
    """w += η·D."""

    eta: Rate = 1.0


class Momentum(msgspec.Struct, frozen=True, tag="momentum", tag_field="kind", forbid_unknown_fields=True):
    """m = β·m + D; w += η·m."""

    eta: Rate = 1.0
    beta: Decay = 0.9


class Adam(msgspec.Struct, frozen=True, tag="adam", tag_field="kind", forbid_unknown_fields=True):
    """m = β1·m + (1 - β1)·D; v = β2·v + (1 - β2)·D²; w += η·m / (√v + ε)."""

    eta: Rate = 0.01
    beta1: Decay = 0.9
    beta2: Decay = 0.99
    epsilon: Epsilon = 1e-3


class Yogi(msgspec.Struct, frozen=True, tag="yogi", tag_field="kind", forbid_unknown_fields=True):
    """As Adam, with v -= (1 - β2)·D²·sign(v - D²)."""

    eta: Rate = 0.01
    beta1: Decay = 0.9
    beta2: Decay = 0.99
    epsilon: Epsilon = 1e-3


class Adagrad(msgspec.Struct, frozen=True, tag="adagrad", tag_field="kind", forbid_unknown_fields=True):
    """As Adam, with v += D²."""

    eta: Rate = 0.1
    beta1: Decay = 0.9
    epsilon: Epsilon = 1e-3


class Amsgrad(msgspec.Struct, frozen=True, tag="amsgrad", tag_field="kind", forbid_unknown_fields=True):
    """As Adam, with v̂ = max(v̂, v) below the root, and η / τ_max once τ_max > ``delay``.

    The paper prints min(η, 1 / τ_max), which never acts at its own η; η / τ_max is what it argues for.
    """

    eta: Rate = 0.01
    beta1: Decay = 0.9
    beta2: Decay = 0.99
    epsilon: Epsilon = 1e-8
    delay: Annotated[int, msgspec.Meta(ge=1, le=10**6)] = 1  # τ_c, versions


Adaptive = Adam | Yogi | Adagrad | Amsgrad
Step = Add | Momentum | Adam | Yogi | Adagrad | Amsgrad


@dataclass(frozen=True, slots=True)
class StepState:
    """The optimiser's vectors, each as long as the model's, and the steps done.

    Attributes:
        vectors: none for add; m for momentum; m and v for adam, yogi and adagrad; m, v and v̂ for amsgrad.
            (size,) in the model's dtype. Zero where the model holds statistics.
        t: steps done.
    """

    vectors: tuple[Floats, ...]
    t: int


def vector_count(step: Step) -> int:
    """How many vectors the step keeps."""
    match step:
        case Add():
            return 0
        case Momentum():
            return 1
        case Adam() | Yogi() | Adagrad():
            return 2
        case Amsgrad():
            return 3


def step_scale(step: Step, k: int, size: int, stalest: int) -> float:
    """The factor on η for one flush.

    Adaptive steps divide by the size of D, so dividing D by K does not make the step of a small buffer
    smaller: their rate is scaled by k/K instead (never above 1). Amsgrad's rate also falls with the largest
    staleness.

    Args:
        step: the choice.
        k: updates in the flush.
        size: K of the rule.
        stalest: the largest τ among the updates.
    """
    if isinstance(step, Add | Momentum):
        return 1.0
    scale = min(1.0, k / size)
    return scale / stalest if isinstance(step, Amsgrad) and stalest > step.delay else scale


def move(
    step: Step, scale: float, model: Floats, combined: NDArray[np.float64], vectors: tuple[Floats, ...]
) -> tuple[NDArray[np.float64], tuple[NDArray[np.float64], ...]]:
    """One step on a piece of the model, in float64.

    Args:
        step: the choice.
        scale: the factor on η (`step_scale`).
        model: w, (n,) float32 or float64.
        combined: D, (n,) float64; overwritten.
        vectors: the optimiser's vectors on this piece, (n,) each; not changed.

    Returns:
        The new w and the new vectors, float64, to be rounded to the model's dtype by the caller.
    """
    rate = step.eta * scale
    match step:
        case Add():
            return _add_scaled(model, combined, rate), ()
        case Momentum(beta=beta):
            mean = np.multiply(vectors[0], beta, dtype=np.float64)
            np.add(mean, combined, out=mean)
            return _add_scaled(model, mean.copy(), rate), (mean,)
        case _:
            return _adaptive(step, rate, model, combined, vectors)


def _add_scaled(model: Floats, value: NDArray[np.float64], rate: float) -> NDArray[np.float64]:
    np.multiply(value, rate, out=value)
    return np.add(model, value, out=value, dtype=np.float64)


def _adaptive(
    step: Adaptive, rate: float, model: Floats, combined: NDArray[np.float64], vectors: tuple[Floats, ...]
) -> tuple[NDArray[np.float64], tuple[NDArray[np.float64], ...]]:
    mean = np.multiply(vectors[0], step.beta1, dtype=np.float64)
    np.add(mean, np.multiply(combined, 1.0 - step.beta1), out=mean)
    square = np.multiply(combined, combined, out=combined)
    spread = _second_moment(step, vectors[1], square)
    kept = (mean, spread)
    if isinstance(step, Amsgrad):
        kept = (mean, spread, np.maximum(vectors[2], spread, dtype=np.float64))
    scaled = np.sqrt(kept[-1])
    np.add(scaled, step.epsilon, out=scaled)
    np.divide(mean, scaled, out=scaled)
    return _add_scaled(model, scaled, rate), kept


def _second_moment(step: Adaptive, before: Floats, square: NDArray[np.float64]) -> NDArray[np.float64]:
    """The new v, from the old one and D²; ``square`` is overwritten."""
    match step:
        case Adagrad():
            return np.add(before, square, out=square, dtype=np.float64)
        case Yogi(beta2=beta2):
            sign = np.sign(np.subtract(before, square, dtype=np.float64))
            np.multiply(square, 1.0 - beta2, out=square)
            np.multiply(square, sign, out=square)
            return np.subtract(before, square, out=square, dtype=np.float64)
        case Adam(beta2=beta2) | Amsgrad(beta2=beta2):
            np.multiply(square, 1.0 - beta2, out=square)
            decayed = np.multiply(before, beta2, dtype=np.float64)
            return np.add(decayed, square, out=square)
