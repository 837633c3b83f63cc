"""From Δ to an update on disk: encoded once, digested, and written in one pass. Blocks.

Stochastic rounding is not repeated: what is on disk is what is sent, however often.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from antiphon.agents.outbox import Entry, Head, Outbox
from antiphon.agents.settings import Encoding
from antiphon.codecs import encodings
from antiphon.codecs.chunks import UpdateDigest
from antiphon.codecs.schema import BLOCK, Schema

SLAB = 1024 * BLOCK
"""Elements encoded at a time: 4 MiB of float32, so that the encoded vector is never in memory as a whole."""


def wire_encoding(wanted: Encoding, schema: Schema, *, initial: bool = False) -> str:
    """Return how a vector of this schema travels.

    ``lossless`` and anything wider than the vector become the vector's own type. So does everything in an
    initial model: its numbers are weights, not changes, and a coarse Δ against zero would be a coarse model.
    """
    if initial or wanted == "lossless" or (wanted == "float64" and schema.dtype == "float32"):
        return schema.dtype
    return wanted


def size(schema: Schema, encoding: str) -> int:
    """Return the bytes that an update takes on disk, but for its head."""
    return encodings.encoded_size(encoding, schema.size) + schema.exact_size


def store(
    outbox: Outbox, head: Head, schema: Schema, delta: NDArray[Any], exact: bytes, rng: np.random.Generator
) -> Entry:
    """Encode and write an update; returns its entry once it is durable.

    Args:
        outbox: Where to.
        head: All but sizes and digest, which are filled in.
        schema: Of ``delta`` and ``exact``.
        delta: Shape ``(schema.size,)``.
        exact: The exact section.
        rng: For stochastic rounding.

    Raises:
        StateError: The disk is full or the folder gone.
    """
    digest = UpdateDigest(schema.digest, head.base, head.encoding)
    full = msgspec.structs.replace(
        head,
        schema=schema.encode(),
        vector_bytes=encodings.encoded_size(head.encoding, schema.size),
        exact_bytes=schema.exact_size,
        raw_bytes=delta.nbytes,
    )

    def parts() -> Iterator[bytes]:
        for start in range(0, schema.size, SLAB):
            part = encodings.encode(delta[start : start + SLAB], head.encoding, rng)
            digest.update(part)
            yield part

    def finished() -> Head:
        digest.update(exact)
        return msgspec.structs.replace(full, digest=digest.digest())

    return outbox.add(parts(), exact, finished)
