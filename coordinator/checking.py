"""The one pass over a spooled update before it counts: does it hold what its offer says, and only numbers?

Opens every chunk once, in order, with memory for one chunk: shapes, tiling, root digest, every number finite,
and the sums of squares that norms are made of. CPU work: off the event loop. Not done here: judging the offer
(see `antiphon.coordinator.admission`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from antiphon.broker_config.disk import Disk
from antiphon.codecs import chunks, encodings
from antiphon.codecs.chunks import EXACT, VECTOR, Chunk, UpdateDigest
from antiphon.codecs.errors import LimitError, MalformedError, PeerError, Rejected
from antiphon.codecs.schema import BLOCK, Schema
from antiphon.coordinator.spool import Reader, Update

Sums = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tile:
    """The range of one chunk, and how it is encoded."""

    section: int
    first: int
    count: int
    encoding: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What the pass found.

    Attributes:
        tiles: One for each chunk, in order.
        block_sums: Sum of squares of each block, shape (blocks,), float64.
        sumsq: Their sum, added in order.
    """

    tiles: tuple[Tile, ...]
    block_sums: Sums
    sumsq: float


def check(update: Update, norm: float, disk: Disk) -> Checked:
    """Check a spooled update.

    Args:
        update: Complete; its offer was admitted.
        norm: The largest Euclidean norm; infinity: any finite one.
        disk: Where it lies.

    Returns:
        What merging needs to know.

    Raises:
        Rejected: With the reason: malformed, digest, not-finite, norm or too-large.
        OSError: The spool file cannot be read.
    """
    try:
        with np.errstate(over="ignore"):  # a sum of squares that overflows is no norm: rejected below
            return _pass(update, norm, disk)
    except Rejected:
        raise
    except LimitError as error:
        raise Rejected("too-large", str(error)) from None
    except PeerError as error:
        raise Rejected("malformed", str(error)) from None


def check_each(updates: Sequence[tuple[Update, float]], disk: Disk) -> list[Checked | Rejected | OSError]:
    """As `check` of each update with its norm: what it returned or raised, in order."""
    found: list[Checked | Rejected | OSError] = []
    for update, norm in updates:
        try:
            found.append(check(update, norm, disk))
        except (Rejected, OSError) as error:
            found.append(error)
    return found


def open_chunk(reader: Reader, index: int, schema: Schema, limit: int) -> tuple[Chunk, bytes]:
    """Return a chunk and its decompressed, still encoded bytes, which are no more than a frame may have.

    Raises:
        PeerError: It is not a chunk of this schema.
    """
    chunk = chunks.parse(reader.payload(index), limit)
    if chunk.section == VECTOR:
        whole = encodings.encoded_size(chunk.encoding, BLOCK) * chunk.count
    else:
        whole = chunk.count
    # Chunks are cut by their size before compression: a larger one would be a bomb, not a chunk.
    if whole > limit:
        raise LimitError("a chunk before compression in bytes", whole, limit)
    return chunk, chunks.raw(chunk, schema)


def _pass(update: Update, norm: float, disk: Disk) -> Checked:
    schema, offer = update.schema, update.offer
    digest = UpdateDigest(schema.digest, offer.base, offer.encoding)
    tiles: list[Tile] = []
    sums = np.zeros(schema.blocks)
    reader = Reader(update, disk)
    for index in range(update.chunks):
        chunk, data = open_chunk(reader, index, schema, update.frame_limit)
        tiles.append(Tile(chunk.section, chunk.first, chunk.count, chunk.encoding))
        digest.update(data)
        if chunk.section == EXACT:
            continue
        if chunk.encoding != offer.encoding:
            raise MalformedError(f"a chunk in {chunk.encoding}, the offer said {offer.encoding}")
        count = chunks.elements(chunk, schema)
        values = encodings.decode(data, chunk.encoding, count, schema.dtype)
        sums[chunk.first : chunk.first + chunk.count] = _sums(values)
    chunks.covers(tiles, schema)
    if digest.digest() != offer.digest:
        raise Rejected("digest", "the content is not what the offer's root digest says")
    sumsq = float(np.add.accumulate(sums)[-1]) if sums.size else 0.0
    if not np.isfinite(sumsq) or sumsq**0.5 > norm:
        raise Rejected("norm", f"the update's norm is {sumsq**0.5:.6g}, the bound is {norm:g}")
    return Checked(tuple(tiles), sums, sumsq)


def _sums(values: npt.NDArray[Any]) -> Sums:
    """Sum of squares of each block. `np.add.reduce`, no BLAS: the same bits on every machine."""
    if not np.isfinite(values).all():
        raise Rejected("not-finite", "the update holds a NaN or an infinity")
    whole = values.size // BLOCK * BLOCK
    squares = np.square(values, dtype=np.float64)
    if not whole:
        return np.add.reduce(squares, keepdims=True)
    sums = np.add.reduce(squares[:whole].reshape(-1, BLOCK), axis=1)
    if whole == values.size:
        return sums
    return np.append(sums, np.add.reduce(squares[whole:]))
