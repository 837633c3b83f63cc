"""A version and its optimiser as bytes: every one of them counts."""

import numpy as np
import pytest
from safetensors.numpy import load  # pyright: ignore[reportUnknownVariableType]

from antiphon.codecs.errors import StateError
from antiphon.codecs.schema import infer, model_digest
from antiphon.coordinator.aggregation.step import StepState
from antiphon.coordinator.ledger import checkpoints
from antiphon.coordinator.ledger.checkpoints import SMALL
from antiphon.coordinator.models import Model


def version(size: int, vectors: int, dtype: str = "float32") -> tuple[Model, StepState]:
    rng = np.random.default_rng(1)
    params = {"w": rng.normal(size=size).astype(dtype), "n": np.array([1, 2], np.int32)}
    schema = infer(params)
    vector, exact = schema.pack(params)
    step = StepState(tuple(rng.normal(size=size).astype(dtype) for _ in range(vectors)), 7)
    return Model(schema, vector, exact, 4, model_digest(schema, vector, exact)), step


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("vectors", [0, 1, 2, 3])
def test_what_is_read_is_what_was_written(vectors: int, dtype: str) -> None:
    model, step = version(50, vectors, dtype)
    row, pieces = checkpoints.describe(model, step)
    assert pieces == []
    assert row.file is None
    assert row.data is not None
    assert (row.number, row.digest, row.steps, row.size) == (4, model.digest, 7, len(row.data))
    found, kept = checkpoints.read(row, row.data, "here")
    assert (found.vector == model.vector).all()
    assert found.vector.dtype == model.vector.dtype
    assert (found.exact, found.number, found.digest) == (model.exact, 4, model.digest)
    assert kept.t == 7
    assert [(a == b).all() for a, b in zip(kept.vectors, step.vectors, strict=True)] == [True] * vectors
    assert not found.vector.flags.writeable


def test_large_version_is_a_file_that_others_can_read() -> None:
    model, step = version(SMALL // 4, 2)
    row, pieces = checkpoints.describe(model, step)
    assert (row.file, row.data) == ("4.safetensors", None)
    data = b"".join(pieces)
    assert len(data) == row.size
    found = load(data)
    assert sorted(found) == ["exact", "step.0", "step.1", "vector"]
    assert (found["vector"] == model.vector).all()
    assert found["exact"].tobytes() == model.exact
    assert checkpoints.read(row, memoryview(data), "here")[0].digest == model.digest


def test_every_flipped_byte_of_the_numbers_is_found() -> None:
    model, step = version(6, 2)
    row, _ = checkpoints.describe(model, step)
    assert row.data is not None
    start = len(row.data) - 6 * 4 * 3 - 8
    for at in range(start, len(row.data)):
        data = bytearray(row.data)
        data[at] ^= 0x10
        with pytest.raises(StateError, match="here is damaged: it h"):
            checkpoints.read(row, bytes(data), "here")
        checkpoints.read(row, bytes(data), "here", trusted=True)


def test_every_flipped_byte_of_the_header_is_found_or_harmless() -> None:
    model, step = version(6, 1)
    row, _ = checkpoints.describe(model, step)
    assert row.data is not None
    for at in range(len(row.data) - 6 * 4 * 2 - 8):
        for bit in (0x01, 0x02, 0x80):
            data = bytearray(row.data)
            data[at] ^= bit
            try:
                found, kept = checkpoints.read(row, bytes(data), "here")
            except StateError:
                continue
            assert (found.vector == model.vector).all()
            assert (kept.vectors[0] == step.vectors[0]).all()


@pytest.mark.parametrize("size", [0, 5, 8, 100])
def test_shorter_and_longer_files_are_refused(size: int) -> None:
    model, step = version(50, 0)
    row, _ = checkpoints.describe(model, step)
    assert row.data is not None
    with pytest.raises(StateError, match=f"{size} bytes instead of {row.size}"):
        checkpoints.read(row, row.data[:size], "here")
    with pytest.raises(StateError, match="bytes instead of"):
        checkpoints.read(row, row.data + b"x", "here")
