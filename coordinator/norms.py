"""How long an update may be: a guard against a broken trainer, whose one huge Δ would ruin the model.

Relative, because nobody knows the scale of a model beforehand: what is longer than `Limits.norm_factor` times
the model itself, or the median of the last accepted updates, is no training. A model that nobody has trained
yet tells no scale, so the first updates may be as long as numbers that the optimisers' squares can hold.
Not done here: nothing is said about attackers, who stay below any such bound; `Limits.norm` is for those who
know what is normal.
"""

from collections import deque
from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from antiphon.coordinator.settings import Limits

REMEMBERED = 32
"""Accepted updates whose median norm counts."""

EARLY = 8
"""Accepted updates before which the scale is not known."""

EARLY_BOUND = 1e12
"""Euclidean norm: the bound until then. Its square is far from the largest float32."""

PIECE = 1 << 20
"""Elements that are squared at once."""


class Norms:
    """What was normal so far."""

    def __init__(self, limits: Limits) -> None:
        """Nothing is known."""
        self._most, self._factor = limits.norm, limits.norm_factor
        self._accepted: deque[float] = deque(maxlen=REMEMBERED)
        self.model = 0.0

    def plain(self) -> list[float]:
        """Return the remembered norms, oldest first, to be stored with a version."""
        return list(self._accepted)

    def restore(self, plain: Sequence[float]) -> None:
        """Go on from what `plain` returned."""
        self._accepted = deque(map(float, plain), maxlen=REMEMBERED)

    def accepted(self, norm: float) -> None:
        """An update of that norm was accepted."""
        self._accepted.append(norm)

    @property
    def known(self) -> bool:
        """Whether there were enough to tell the scale; before, each may change the bound a lot."""
        return len(self._accepted) >= EARLY

    def bound(self) -> float:
        """Return the largest Euclidean norm that the next update may have; infinity: any finite one."""
        most = self._most or float("inf")
        if not self._factor:
            return most
        relative = self._factor * max(self.model, median(self._accepted) if self.known else 0.0)
        return min(most, relative if self.known and relative > 0 else max(relative, EARLY_BOUND))


def euclidean(vector: npt.NDArray[Any]) -> float:
    """Return the Euclidean norm of a vector, float64; CPU work."""
    total = 0.0
    with np.errstate(over="ignore"):
        for at in range(0, vector.size, PIECE):
            total += float(np.add.reduce(np.square(vector[at : at + PIECE], dtype=np.float64)))
    return total**0.5
