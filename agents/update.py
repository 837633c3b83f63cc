"""From Δ to an update on disk: encoded once, digested, and written in one pass. Blocks.

Stochastic rounding is not repeated: what is on disk is what is sent, however often. With error feedback what
an encoding leaves out stays here for the next update, and comes back whole when the update does not count.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from antiphon.agents import residual
from antiphon.agents.database import Mark
from antiphon.agents.entries import Entry, Head
from antiphon.agents.outbox import Outbox, ResidualSpec
from antiphon.agents.settings import Encoding
from antiphon.codecs import encodings, schema
from antiphon.codecs.chunks import UpdateDigest
from antiphon.codecs.schema import BLOCK, Schema

SLAB = 1024 * BLOCK
"""Elements encoded at a time: 4 MiB of float32, so that the encoded vector is never in memory as a whole."""

NOTHING = memoryview(b"")


def wire_encoding(wanted: Encoding, schema: Schema, *, initial: bool = False) -> str:
    """Return how a vector of this schema travels.

    ``lossless`` and anything wider than the vector become the vector's own type. So does everything in an
    initial model: its numbers are weights, not changes, and a coarse Δ against zero would be a coarse model.
    """
    if initial or wanted == "lossless" or (wanted == "float64" and schema.dtype == "float32"):
        return schema.dtype
    return wanted


def size(schema: Schema, encoding: str) -> int:
    """Return the bytes of an update's payload."""
    return encodings.encoded_size(encoding, schema.size) + schema.exact_size


def residual_spec(run: bytes, own: Schema) -> ResidualSpec:
    """Return what a residual of this run and schema is."""
    return ResidualSpec(run, own.digest, own.size * np.dtype(own.dtype).itemsize)


def store(
    outbox: Outbox,
    head: Head,
    schema: Schema,
    delta: NDArray[Any],
    exact: bytes,
    rng: np.random.Generator,
    *,
    mark: Mark | None = None,
    feedback: bool = False,
) -> Entry:
    """Encode and write an update; returns its entry once it is durable.

    Args:
        outbox: Where to.
        head: All but sizes and digest, which are filled in.
        schema: Of ``delta`` and ``exact``.
        delta: Shape ``(schema.size,)``.
        exact: The exact section.
        rng: For stochastic rounding.
        mark: The version that it was trained on.
        feedback: Add what lossy encodings left out before, and keep what this one leaves out.

    Raises:
        StateError: The disk is full or the folder gone.
    """
    digest = UpdateDigest(schema.digest, head.base, head.encoding)
    feedback = feedback and residual.is_lossy(head.encoding, schema)
    full = msgspec.structs.replace(
        head,
        schema=schema.encode(),
        vector_bytes=encodings.encoded_size(head.encoding, schema.size),
        exact_bytes=schema.exact_size,
        raw_bytes=delta.nbytes,
        fed=feedback,
    )
    rest = residual_spec(head.run, schema) if feedback else None

    def parts() -> Iterator[tuple[bytes, memoryview]]:
        kept = outbox.residual(rest) if rest is not None else None
        for start in range(0, schema.size, SLAB):
            part = delta[start : start + SLAB]
            if rest is None:
                encoded, left = encodings.encode(part, head.encoding, rng), NOTHING
            else:
                before = _slab(kept, start, schema)
                encoded, new = residual.compress(part, before, head.encoding, rng)
                left = _bytes(residual.clear(new, schema, start))
            digest.update(encoded)
            yield encoded, left

    def finished() -> Head:
        digest.update(exact)
        return msgspec.structs.replace(full, digest=digest.digest())

    with outbox.feedback:
        return outbox.add(parts(), exact, finished, size=full.size, rest=rest, mark=mark)


def take_back(outbox: Outbox, entry: Entry) -> None:
    """Forget an update that did not count; the residual takes what it held, if that is still here.

    Raises:
        OSError: The disk is full, say: the update is still there.
        StateError: Its file is gone or cut short.
    """
    head = entry.head
    if not head.fed or not entry.whole:
        outbox.settle(entry)
        return
    own = schema.decode(head.schema, len(head.schema))
    rest, (vector, _) = residual_spec(head.run, own), entry.content()

    def parts() -> Iterator[memoryview]:
        kept = outbox.residual(rest)
        for start in range(0, own.size, SLAB):
            count = min(SLAB, own.size - start)
            at = encodings.encoded_size(head.encoding, start)
            sent = vector[at : at + encodings.encoded_size(head.encoding, count)]
            before = _slab(kept, start, own)
            whole = residual.restore(before, sent, head.encoding, count, own.dtype)
            yield _bytes(residual.clear(whole, own, start))

    with outbox.feedback:
        if outbox.replaced(rest):  # its run is over: what a newer one has left out stays
            outbox.settle(entry)
        else:
            outbox.take_back(entry, parts(), rest)


def _slab(kept: memoryview | None, start: int, own: Schema) -> NDArray[Any] | None:
    if kept is None:
        return None
    count = min(SLAB, own.size - start)
    item = np.dtype(own.dtype).newbyteorder("<")
    return np.frombuffer(kept, item, count, start * item.itemsize).astype(own.dtype, copy=False)


def _bytes(values: NDArray[Any]) -> memoryview:
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    return np.ascontiguousarray(little).data.cast("B")
