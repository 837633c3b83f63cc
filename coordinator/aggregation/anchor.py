"""Against what an update is combined: the base it was trained from, or the current model.

`Base` takes Δ as it came (FedBuff, FedAvg). `Current` takes w_base + Δ - w_t, so that adding α times it is
FedAsync's mixing (1 - α)·w_t + α·w_local (Xie et al. 2019, arXiv 1903.03934): always stable for α <= 1, but
it needs the base's values.
"""

import msgspec
import numpy as np
from numpy.typing import NDArray


class Base(msgspec.Struct, frozen=True, tag="base", tag_field="kind", forbid_unknown_fields=True):
    """The combined value is Δ."""


class Current(msgspec.Struct, frozen=True, tag="current", tag_field="kind", forbid_unknown_fields=True):
    """The combined value is w_base + Δ - w_t."""


Anchor = Base | Current

Floats = NDArray[np.float32] | NDArray[np.float64]


def anchored(delta: Floats, base: Floats | None, model: Floats, out: NDArray[np.float64]) -> None:
    """Write an update's combined value into ``out``, in float64.

    Args:
        delta: Δ, (n,) float32 or float64.
        base: the base's values, (n,), for `Current`; None for `Base`.
        model: the current model's values, (n,).
        out: (n,) float64, overwritten.
    """
    # A Python float times a float32 array stays float32: every operation names float64 or writes into it.
    if base is None:
        np.copyto(out, delta)
        return
    np.add(base, delta, out=out, dtype=np.float64)
    np.subtract(out, model, out=out, dtype=np.float64)
