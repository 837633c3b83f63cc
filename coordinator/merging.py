"""Updates into a new version, range by range: of each that lies in a file, one chunk at a time is in memory.

The ranges are the common boundaries of all the updates' chunks, because agents cut as their brokers demand.
The new vector is complete before anybody sees it. CPU work: off the event loop. The formulas are not here
(`antiphon.coordinator.aggregation`), nor who is merged (`antiphon.coordinator.flushing`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar, TypeVarTuple

import numpy as np
import numpy.typing as npt

from antiphon.broker_config.disk import Disk
from antiphon.codecs import chunks, encodings
from antiphon.codecs.chunks import EXACT, VECTOR
from antiphon.codecs.errors import PeerError
from antiphon.codecs.schema import BLOCK, Schema, model_digest
from antiphon.coordinator.aggregation.merge import Unmergeable, merge_range
from antiphon.coordinator.aggregation.plan import Plan
from antiphon.coordinator.aggregation.rule import Rule
from antiphon.coordinator.aggregation.step import StepState
from antiphon.coordinator.buffer import Accepted
from antiphon.coordinator.checking import Tile, open_chunk
from antiphon.coordinator.models import Model
from antiphon.coordinator.spool import Reader

Vector = npt.NDArray[Any]
Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


@dataclass(frozen=True, slots=True)
class Merged:
    """A version that is not published yet, and the optimiser's state that goes with it."""

    model: Model
    step: StepState


@dataclass(frozen=True, slots=True)
class Spoiled:
    """The merge failed because of one update: reject it and start again without it."""

    index: int
    reason: str
    detail: str


class _Cursor:
    """Walks one update's vector; holds the chunk that it is in."""

    def __init__(self, reader: Reader, tiles: Sequence[Tile], schema: Schema, limit: int) -> None:
        self._reader, self._schema, self._limit = reader, schema, limit
        self._tiles = [(n, tile) for n, tile in enumerate(tiles) if tile.section == VECTOR]
        self._exact = [n for n, tile in enumerate(tiles) if tile.section == EXACT]
        self._at = -1
        self._values: Vector = np.empty(0)

    def range(self, first: int, stop: int) -> Vector:
        """Return the elements of blocks [first, stop), which one chunk holds; ranges only move forward."""
        while self._at < 0 or first >= self._tiles[self._at][1].first + self._tiles[self._at][1].count:
            self._at += 1
            index, _ = self._tiles[self._at]
            chunk, data = open_chunk(self._reader, index, self._schema, self._limit)
            count = chunks.elements(chunk, self._schema)
            self._values = encodings.decode(data, chunk.encoding, count, self._schema.dtype)
        start = self._tiles[self._at][1].first
        return self._values[(first - start) * BLOCK : (stop - start) * BLOCK]

    def exact(self) -> bytes:
        """Return the exact section."""
        parts = (open_chunk(self._reader, index, self._schema, self._limit)[1] for index in self._exact)
        return b"".join(parts)


def merge(
    rule: Rule,
    plan: Plan,
    model: Model,
    step: StepState,
    batch: Sequence[Accepted],
    bases: Sequence[Vector] | None,
    disk: Disk,
) -> Merged | Spoiled:
    """Compute the next version.

    Args:
        rule: The rule.
        plan: The scalars of this flush, in the order of ``batch``.
        model: The current version; left as it is.
        step: The optimiser's state; left as it is.
        batch: What is merged.
        bases: Each update's base vector (memory-mapped ones are read once, in order); None for anchor "base".
        disk: Where the spool is.

    Returns:
        The next version, or which update spoiled it.

    Raises:
        OSError: A spool file cannot be read.
    """
    schema = model.schema
    vector = np.empty_like(model.vector)
    moved = tuple(np.empty_like(old) for old in step.vectors)
    try:
        cursors = [_blame(n, _cursor, accepted, disk) for n, accepted in enumerate(batch)]
        for first, stop in pairwise(_boundaries(batch, schema)):
            deltas = [_blame(n, cursor.range, first, stop) for n, cursor in enumerate(cursors)]
            part = slice(first * BLOCK, min(stop * BLOCK, schema.size))
            vector[part], kept = merge_range(
                rule,
                plan,
                schema.spans(first, stop - first),
                part.start,
                model.vector[part],
                deltas,
                None if bases is None else [np.asarray(base[part]) for base in bases],
                tuple(old[part] for old in step.vectors),
            )
            for new, piece in zip(moved, kept, strict=True):
                new[part] = piece
        exacts = [_blame(n, cursor.exact) for n, cursor in enumerate(cursors)]
    except Unmergeable as error:
        return Spoiled(error.index, error.reason, error.detail)
    exact = schema.merge_exact(model.exact, exacts)
    digest = model_digest(schema, vector, exact)
    return Merged(Model(schema, vector, exact, model.number + 1, digest), StepState(moved, step.t + 1))


def _cursor(accepted: Accepted, disk: Disk) -> _Cursor:
    update = accepted.update
    return _Cursor(Reader(update, disk), accepted.checked.tiles, update.schema, update.frame_limit)


def _blame(index: int, work: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
    """Do a part of the work on one update; what is wrong with it is laid at its door.

    Raises:
        Unmergeable: Names the update by its index.
    """
    try:
        return work(*arguments)
    except PeerError as error:
        raise Unmergeable("malformed", str(error), index) from None


def first_version(accepted: Accepted, disk: Disk) -> Model | Spoiled:
    """Read the model that an agent brought as the first version: Δ against zero is the model itself."""
    schema = accepted.update.schema
    vector = np.empty(schema.size, schema.dtype)
    try:
        cursor = _cursor(accepted, disk)
        for first, stop in pairwise(_boundaries([accepted], schema)):
            vector[first * BLOCK : stop * BLOCK] = cursor.range(first, stop)
        exact = cursor.exact()
    except PeerError as error:
        return Spoiled(0, "malformed", str(error))
    return Model(schema, vector, exact, 0, model_digest(schema, vector, exact))


def _boundaries(batch: Sequence[Accepted], schema: Schema) -> list[int]:
    """Blocks at which a chunk of any update begins, and the end."""
    starts = {tile.first for a in batch for tile in a.checked.tiles if tile.section == VECTOR}
    return sorted(starts | {0, schema.blocks})
