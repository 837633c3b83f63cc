"""A version and its optimiser as one run of bytes: in the ledger if it is small, else a file beside it.

Guaranteed: what is read back is what was written, bit for bit, or refused: digests of the model and of the
    optimiser's vectors are compared.
The bytes are a safetensors file (https://huggingface.co/docs/safetensors) with the flat tensors ``vector``,
``exact`` and ``step.0`` and on, little-endian. Nothing here chooses what is kept.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from antiphon.codecs.digests import digest, little_endian
from antiphon.codecs.errors import StateError
from antiphon.codecs.schema import Schema, model_digest
from antiphon.coordinator.aggregation.step import StepState
from antiphon.coordinator.ledger.tables import REMEDY
from antiphon.coordinator.models import Model

Vector = npt.NDArray[Any]

SMALL = 64 << 10
"""Bytes: a checkpoint up to this size goes into the ledger itself."""

HEAD = 8
"""Bytes that hold the header's length."""

LONGEST_HEADER = 1 << 16
"""Bytes: a header of ours has some hundred."""

_DTYPES = {"float32": "F32", "float64": "F64"}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What the ledger's row says of one.

    Attributes:
        number, digest: The version's; 32 bytes.
        schema: Its tensors.
        steps: Steps that the optimiser did.
        step: Digest of its vectors, see `step_digest`.
        size: Bytes.
        data: The bytes, if they are in the row.
        file: Name below ``checkpoints/`` otherwise.
    """

    number: int
    digest: bytes
    schema: Schema
    steps: int
    step: bytes
    size: int
    data: bytes | None
    file: str | None

    def row(self) -> tuple[Any, ...]:
        """Return the row."""
        code = self.schema.digest
        return (self.number, self.digest, code, self.steps, self.step, self.size, self.data, self.file)


def file_name(number: int) -> str:
    """Name of a version's file below ``checkpoints/``."""
    return f"{number}.safetensors"


def describe(model: Model, step: StepState) -> tuple[Checkpoint, list[bytes | memoryview]]:
    """Return the row of a version, and the bytes that its file must have; none if they are in the row."""
    pieces = parts(model, step)
    size = sum(len(piece) for piece in pieces)
    small = size <= SMALL
    made = Checkpoint(
        number=model.number,
        digest=model.digest,
        schema=model.schema,
        steps=step.t,
        step=step_digest(step),
        size=size,
        data=b"".join(pieces) if small else None,
        file=None if small else file_name(model.number),
    )
    return made, [] if small else pieces


def parts(model: Model, step: StepState) -> list[bytes | memoryview]:
    """Return the bytes in pieces; the arrays' own memory is among them."""
    vectors = {"vector": model.vector, **{f"step.{n}": kept for n, kept in enumerate(step.vectors)}}
    entries: dict[str, object] = {}
    at = 0
    for name, vector in vectors.items():
        entries[name] = _entry(_DTYPES[vector.dtype.name], vector.size, at, at + vector.nbytes)
        at += vector.nbytes
    entries["exact"] = _entry("U8", len(model.exact), at, at + len(model.exact))
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % HEAD)
    body = [little_endian(vector) for vector in vectors.values()]
    return [len(header).to_bytes(HEAD, "little"), header, *body, model.exact]


def _entry(dtype: str, count: int, start: int, stop: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": [count], "data_offsets": [start, stop]}


def read(
    row: Checkpoint, data: bytes | memoryview, where: str, *, trusted: bool = False
) -> tuple[Model, StepState]:
    """Return the version and the optimiser, arrays that look into ``data``.

    Args:
        row: What the ledger says of it.
        data: The bytes.
        where: What to call them in an error.
        trusted: The digests were compared before.

    Raises:
        StateError: They are not what the row says.
    """
    try:
        model, step = _read(row, data)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, UnicodeDecodeError) as error:
        raise StateError(f"{where} is damaged: {error}: {REMEDY}") from None
    if trusted:
        return model, step
    if model_digest(model.schema, model.vector, model.exact) != row.digest:
        raise StateError(f"{where} is damaged: it has another digest than version {row.number}: {REMEDY}")
    if step_digest(step) != row.step:
        raise StateError(
            f"{where} is damaged: it holds another optimiser than version {row.number}: {REMEDY}"
        )
    return model, step


def step_digest(step: StepState) -> bytes:
    """Return 32 bytes that name the optimiser's vectors."""
    return digest("antiphon-step-1", *(little_endian(kept) for kept in step.vectors))


def _read(row: Checkpoint, data: bytes | memoryview) -> tuple[Model, StepState]:
    schema, view = row.schema, memoryview(data)
    if len(view) != row.size:
        raise ValueError(f"it has {len(view)} bytes instead of {row.size}")
    length = int.from_bytes(view[:HEAD], "little")
    if length > min(LONGEST_HEADER, len(view)):
        raise ValueError("its header's length is impossible")
    entries: dict[str, Any] = json.loads(bytes(view[HEAD : HEAD + length]))
    body = view[HEAD + length :]
    wanted = _DTYPES[schema.dtype]

    def array(name: str) -> Vector:
        start, stop = entries[name]["data_offsets"]
        if entries[name]["dtype"] != wanted or entries[name]["shape"] != [schema.size]:
            raise ValueError(f"{name} is not {wanted} of {schema.size} elements")
        little = np.frombuffer(body[start:stop], np.dtype(schema.dtype).newbyteorder("<"))
        if little.size != schema.size:
            raise ValueError(f"{name} has {little.size} elements instead of {schema.size}")
        return little.astype(schema.dtype, copy=False)

    start, stop = entries["exact"]["data_offsets"]
    exact = bytes(body[start:stop])
    if len(exact) != schema.exact_size:
        raise ValueError(f"its exact section has {len(exact)} bytes instead of {schema.exact_size}")
    vectors = tuple(array(name) for name in _step_names(entries))
    return Model(schema, array("vector"), exact, row.number, row.digest), StepState(vectors, row.steps)


def _step_names(entries: dict[str, Any]) -> Iterator[str]:
    n = 0
    while f"step.{n}" in entries:
        yield f"step.{n}"
        n += 1
