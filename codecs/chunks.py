"""A model's or an update's bytes, cut into chunks, and put together in any order.

Guarantees: a chunk that `raw` or `values` returns lies inside the schema and has exactly the size that its
range and encoding ask for; `covers` says whether chunks tile the whole; `plan` cuts so that even
incompressible chunks fit the frame limit. Pure bookkeeping: nothing here seals, stores or sends.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from numpy.typing import NDArray

from antiphon.codecs import compression, encodings, messages
from antiphon.codecs.digests import Buffer, hasher, prefixed
from antiphon.codecs.errors import ConfigError, LimitError, MalformedError
from antiphon.codecs.schema import BLOCK, Schema

VECTOR, EXACT = 0, 1
"""The two sections."""

EXACT_ENCODING = "exact"
MAX_POSITION = 1 << 48
RESERVE = 512
"""Bytes of a frame that are kept for its header, its seal and the heads of chunk and zstd frame."""


class Piece(Protocol):
    """The range of a section that something covers: a `Cut` or a `Chunk`."""

    @property
    def section(self) -> int: ...
    @property
    def first(self) -> int: ...
    @property
    def count(self) -> int: ...


class EncodedPiece(Piece, Protocol):
    """A range whose encoding is known."""

    @property
    def encoding(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Cut:
    """``count`` blocks (section 0) or bytes (section 1) from ``first`` on."""

    section: int
    first: int
    count: int


class Chunk(msgspec.Struct, frozen=True, array_like=True):
    """One chunk; ``data`` is still compressed."""

    section: int
    first: int
    count: int
    encoding: str
    data: bytes


def parse(payload: Buffer, limit: int) -> Chunk:
    """Read a chunk payload; nothing is decompressed.

    Args:
        payload: the msgpack array ``[section, first, count, encoding, data]``.
        limit: most bytes taken.

    Raises:
        LimitError: the payload is longer.
        MalformedError: another shape, another section, an empty range or an unknown encoding.
    """
    if len(payload) > limit:
        raise LimitError("a chunk in bytes", len(payload), limit)
    chunk = messages.unpack_as(payload, Chunk, items=5)
    section, first, count, encoding = chunk.section, chunk.first, chunk.count, chunk.encoding
    if section not in (VECTOR, EXACT) or first < 0 or count < 1 or first + count > MAX_POSITION:
        raise MalformedError(f"no chunk can be section {section}, first {first}, count {count}")
    if encoding not in (encodings.ENCODINGS if section == VECTOR else (EXACT_ENCODING,)):
        raise MalformedError(f"unknown encoding {encoding[:20]!r} in section {section}")
    return chunk


def plan(schema: Schema, encoding: str, frame_limit: int) -> tuple[Cut, ...]:
    """Say how to cut, so that every sealed frame stays within ``frame_limit`` bytes, compressible or not.

    Raises:
        ConfigError: not even one block fits.
        MalformedError: no such encoding.
    """
    # zstd adds 3 bytes to every 128 KiB that it cannot compress.
    room = frame_limit - RESERVE - frame_limit // 16384
    block = encodings.encoded_size(encoding, BLOCK)
    if room < block:
        raise ConfigError(
            f"frames of at most {frame_limit} bytes cannot hold one block in {encoding}: "
            f"raise the broker's packet limit to {block + RESERVE + 1024} bytes or choose a smaller encoding"
        )
    return (
        *_tile(VECTOR, schema.blocks, room // block),
        *_tile(EXACT, schema.exact_size, room),
    )


def cut(schema: Schema, encoding: str, encoded: Buffer, exact: Buffer, piece: Piece) -> bytes:
    """Return the payload of one chunk.

    Args:
        schema: the schema of the whole.
        encoding: the encoding of ``encoded``.
        encoded: the whole encoded vector.
        exact: the whole exact section.
        piece: the range to cut.

    Raises:
        ValueError: the range lies outside, or ``encoded`` or ``exact`` has another length.
    """
    if len(encoded) != encodings.encoded_size(encoding, schema.size) or len(exact) != schema.exact_size:
        raise ValueError("the encoded vector or the exact section has not the length that the schema says")
    if not _inside(schema, piece):
        raise ValueError(f"{piece} lies outside the model")
    if piece.section == EXACT:
        data = memoryview(exact)[piece.first : piece.first + piece.count]
        packed, name = compression.compress(data, 1), EXACT_ENCODING
    else:
        block = encodings.encoded_size(encoding, BLOCK)
        data = memoryview(encoded)[piece.first * block : (piece.first + piece.count) * block]
        packed, name = compression.compress(data, encodings.itemsize(encoding)), encoding
    return messages.pack([piece.section, piece.first, piece.count, name, packed])


def raw(chunk: Chunk, schema: Schema) -> bytes:
    """Return the decompressed, still encoded bytes of a chunk.

    Raises:
        MalformedError: it lies outside the schema, or does not hold what its range asks for.
        LimitError: it states a larger size.
    """
    if not _inside(schema, chunk):
        raise MalformedError(f"a chunk of section {chunk.section} lies outside the model")
    if chunk.section == EXACT:
        return compression.decompress(chunk.data, 1, chunk.count)
    size = encodings.encoded_size(chunk.encoding, elements(chunk, schema))
    return compression.decompress(chunk.data, encodings.itemsize(chunk.encoding), size)


def values(chunk: Chunk, schema: Schema) -> NDArray[Any]:
    """Return the numbers of a chunk of section 0, in the vector's dtype, to be read only.

    Raises:
        MalformedError: as `raw`, or the chunk is of the exact section.
        LimitError: as `raw`.
    """
    if chunk.section != VECTOR:
        raise MalformedError("the exact section holds no vector elements")
    return encodings.decode(raw(chunk, schema), chunk.encoding, elements(chunk, schema), schema.dtype)


def elements(piece: Piece, schema: Schema) -> int:
    """Return the number of vector elements in a range of blocks (the last block may be short)."""
    return min((piece.first + piece.count) * BLOCK, schema.size) - piece.first * BLOCK


def covers(chunks: Iterable[EncodedPiece], schema: Schema) -> None:
    """Check that chunks, in the order of their indices, tile section 0 and then section 1 exactly.

    Raises:
        MalformedError: a gap, an overlap, another order, or two encodings in section 0.
    """
    ends = {VECTOR: schema.blocks, EXACT: schema.exact_size}
    section, position, encoding = VECTOR, 0, ""
    for chunk in chunks:
        if section == VECTOR and position == ends[VECTOR] and chunk.section == EXACT:
            section, position = EXACT, 0
        if (chunk.section, chunk.first) != (section, position) or chunk.count < 1:
            raise MalformedError(f"the chunks leave a gap or overlap at {position} of section {section}")
        if section == VECTOR:
            encoding = encoding or chunk.encoding
            if chunk.encoding != encoding:
                raise MalformedError("the chunks of one vector must share an encoding")
        position += chunk.count
    if position != ends[section] or (section == VECTOR and ends[EXACT]):
        raise MalformedError(f"the chunks end at {position} of section {section}, too early or too late")


class Assembly:
    """Which chunks of a transfer are here: one byte a chunk, whatever the order or the repetitions."""

    __slots__ = ("_here", "count")

    def __init__(self, total: int) -> None:
        """``total`` is the number of chunks; the caller has checked it against a limit."""
        if total < 0:
            raise ValueError("a transfer cannot have fewer than no chunks")
        self._here = bytearray(total)
        self.count = 0

    @property
    def total(self) -> int:
        """Number of chunks of the whole."""
        return len(self._here)

    @property
    def complete(self) -> bool:
        """Whether every chunk is here."""
        return self.count == self.total

    def __contains__(self, index: int) -> bool:
        return 0 <= index < self.total and bool(self._here[index])

    def add(self, index: int) -> bool:
        """Note a chunk; return whether it is new.

        Raises:
            MalformedError: the transfer has no such chunk.
        """
        if not 0 <= index < self.total:
            raise MalformedError(f"chunk {index} of a transfer of {self.total}")
        if self._here[index]:
            return False
        self._here[index] = 1
        self.count += 1
        return True

    def missing(self, limit_bytes: int = 4096) -> tuple[list[list[int]], int]:
        """Return the runs ``[first, count]`` that are not here, and how far they tell everything.

        Below chunk ``upto``, the second value, the list is complete. The runs take at most ``limit_bytes``
        as msgpack.
        """
        runs: list[list[int]] = []
        room = limit_bytes
        first = self._here.find(0)
        while first >= 0:
            after = self._here.find(1, first)
            stop = self.total if after < 0 else after
            room -= len(messages.pack([first, stop - first]))
            if room < 0:
                return runs, first
            runs.append([first, stop - first])
            first = self._here.find(0, stop)
        return runs, self.total


class UpdateDigest:
    """The root digest of an update, fed piece by piece: the encoded vector, then the exact section."""

    __slots__ = ("_state",)

    def __init__(self, schema_digest: bytes, base_digest: bytes, encoding: str) -> None:
        """``schema_digest`` and ``base_digest`` have 32 bytes."""
        self._state = hasher("antiphon-update1")
        self.update(schema_digest + base_digest + prefixed(encoding.encode()))

    def update(self, encoded_bytes: Buffer) -> None:
        """Add the next bytes."""
        self._state.update(encoded_bytes)

    def digest(self) -> bytes:
        """Return the 32 bytes of the digest."""
        return self._state.digest()


def _tile(section: int, total: int, step: int) -> Iterable[Cut]:
    for first in range(0, total, step):
        yield Cut(section, first, min(step, total - first))


def _inside(schema: Schema, piece: Piece) -> bool:
    end = {VECTOR: schema.blocks, EXACT: schema.exact_size}.get(piece.section, -1)
    return piece.first >= 0 and piece.count >= 1 and piece.first + piece.count <= end
