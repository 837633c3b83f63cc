"""How many updates become one: D = combine(values, weights, K).

The mean runs. The robust combines and CA2FL have their names here and nothing else yet: they see unweighted
values, so they will get all values of a range at once instead of one at a time, and D is then scaled by
(1/k)·Σ weights.
"""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec
import numpy as np
from numpy.typing import NDArray


class Mean(msgspec.Struct, frozen=True, tag="mean", tag_field="kind", forbid_unknown_fields=True):
    """D = (1 / max(K, k))·Σ weight_i·value_i: divided by K, never by the sum of the weights."""


Combine = Mean

LATER: Mapping[str, str] = MappingProxyType(
    {
        "trimmed-mean": "Yin et al. 2018, arXiv 1803.01498",
        "median": "Yin et al. 2018, arXiv 1803.01498",
        "krum": "Blanchard et al. 2017, arXiv 1703.02757",
        "geometric-median": "Pillutla et al. 2019, arXiv 1912.13445",
        "centred-clipping": "Karimireddy et al. 2021, arXiv 2012.10333",
        "ca2fl": "Wang et al. 2024, ICLR",
    }
)
"""Combines that have a place but do not run yet, with their source."""


def mean_scalars(weights: tuple[float, ...], k: int) -> tuple[float, ...]:
    """What each update's value is multiplied with: weight / max(K, k).

    Args:
        weights: one weight >= 0 for each of the k updates.
        k: K of the rule at the flush. A flush at the deadline has fewer updates and still divides by K; one
            that had to wait has more and divides by their number.
    """
    return tuple(weight / max(k, len(weights)) for weight in weights)


def accumulate(total: NDArray[np.float64], value: NDArray[np.float64], scalar: float, *, first: bool) -> None:
    """Add scalar·value to ``total`` in place, or start it. ``value`` is overwritten.

    One update after the other, in ledger order, one rounding an operation: the same bits on every machine,
    and whatever the ranges are.
    """
    if first:
        np.multiply(value, scalar, out=total)
    else:
        np.multiply(value, scalar, out=value)
        np.add(total, value, out=total)
