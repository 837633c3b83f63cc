"""Error feedback: what a lossy encoding leaves out of one update goes into the next.

p = Δ + e, q = C(p), e ← p − q (Seide et al. 2014; Karimireddy et al. 2019, arXiv:1901.09847), and e ← e + q
when the coordinator does not take q. On weights alone: a running mean that comes late is a wrong mean. Pure,
and slab by slab: a slab starts at a block boundary, so nothing here needs more memory than one of them.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.codecs import encodings
from antiphon.codecs.schema import BLOCK, Schema

Vector = NDArray[Any]


def is_lossy(encoding: str, schema: Schema) -> bool:
    """Return whether a vector of this schema loses anything in ``encoding``."""
    return encoding != schema.dtype


def compress(
    delta: Vector, kept: Vector | None, encoding: str, rng: np.random.Generator
) -> tuple[bytes, Vector]:
    """Encode one slab of Δ together with what was left out before.

    Args:
        delta: Δ, shape ``(n,)``, float32 or float64, finite.
        kept: e, of the same shape and dtype; None for zeros.
        encoding: The lossy one.
        rng: For stochastic rounding.

    Returns:
        q encoded, and the new e: p − q, shape ``(n,)``, statistics included (see `clear`).
    """
    whole = delta if kept is None else _sum(delta, kept, delta)
    encoded = encodings.encode(whole, encoding, rng)
    return encoded, whole - encodings.decode(encoded, encoding, len(whole), whole.dtype.name)


def restore(kept: Vector | None, encoded: bytes | memoryview, encoding: str, size: int, dtype: str) -> Vector:
    """Return e + q, for one slab of an update that did not count; arguments as in `compress`."""
    sent = encodings.decode(encoded, encoding, size, dtype)
    return sent.copy() if kept is None else _sum(kept, sent, kept)


def clear(rest: Vector, schema: Schema, first: int) -> Vector:
    """Set everything but weights to zero in a slab that starts at element ``first``; returns the slab."""
    blocks = -(-len(rest) // BLOCK)
    for span in schema.spans(first // BLOCK, blocks):
        if span.role != "weight":
            rest[span.start : min(span.stop, len(rest))] = 0
    return rest


def _sum(a: Vector, b: Vector, instead: Vector) -> Vector:
    """Return a + b; where that is beyond the largest number, ``instead``."""
    with np.errstate(over="ignore"):
        total = a + b
    finite = np.isfinite(total)
    return total if finite.all() else np.where(finite, total, instead)
