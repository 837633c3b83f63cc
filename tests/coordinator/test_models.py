"""Versions as files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file  # pyright: ignore[reportUnknownVariableType]

from antiphon.codecs.errors import ConfigError, StateError
from antiphon.codecs.schema import infer, model_digest
from antiphon.coordinator import models
from antiphon.coordinator.models import Model

PARAMS: dict[str, Any] = {
    "a.half": np.array([1.5, -2.0], np.float16),
    "b.wide": np.arange(6, dtype=np.float64).reshape(2, 3),
    "c.scalar": np.array(3.25, np.float32),
    "d.flag": np.array([True, False]),
    "e.count": np.array(2**40, np.int64),
    "f.small": np.array([-3, 4], np.int16),
}


def model(params: dict[str, Any]) -> Model:
    schema = infer(params)
    vector, exact = schema.pack(params)
    return Model(schema, vector, exact, 1, model_digest(schema, vector, exact))


@pytest.mark.parametrize("sync", [True, False])
def test_every_dtype_comes_back_bit_by_bit(tmp_path: Path, sync: bool) -> None:
    models.write(tmp_path / "m.safetensors", model(PARAMS), {"version": "1"}, sync=sync)
    found = models.load(tmp_path / "m.safetensors")
    assert sorted(found) == sorted(PARAMS)
    for name, value in PARAMS.items():
        assert found[name].dtype == value.dtype
        assert found[name].shape == value.shape
        assert found[name].tobytes() == value.tobytes()
    assert [path.name for path in tmp_path.iterdir()] == ["m.safetensors"]


def test_tensors_are_the_schemas_own_unpacking() -> None:
    whole = model(PARAMS)
    unpacked = whole.schema.unpack(whole.vector, whole.exact)
    for name, value in models.tensors(whole.schema, whole.vector, whole.exact):
        assert value.tobytes() == unpacked[name].tobytes()


def test_number_too_large_for_float16_becomes_its_largest() -> None:
    whole = model({"h": np.zeros(2, np.float16)})
    vector = np.array([1e9, -1e9], np.float32)
    [(_, value)] = models.tensors(whole.schema, vector, b"")
    assert value.tolist() == whole.schema.unpack(vector, b"")["h"].tolist() == [65504.0, -65504.0]


def test_npz_is_read_and_pickles_are_not(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", w=np.arange(3.0))
    assert models.load(tmp_path / "a.npz")["w"].tolist() == [0, 1, 2]
    np.savez(tmp_path / "b.npz", w=np.array([{"x": 1}], dtype=object))
    with pytest.raises(StateError, match=r"b\.npz"):
        models.load(tmp_path / "b.npz")


def test_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="there is no"):
        models.load(tmp_path / "x.safetensors")
    with pytest.raises(StateError, match="there is no"):
        models.metadata_of(tmp_path / "x.safetensors")
    deep = b"[" * 200_000
    for junk in (
        b"",
        b"\xff" * 100,
        (5).to_bytes(8, "little") + b"[1,2]",
        (20).to_bytes(8, "little") + b'{"__metadata__":[1]}',
        len(deep).to_bytes(8, "little") + deep,
    ):
        (tmp_path / "x.safetensors").write_bytes(junk)
        with pytest.raises(StateError, match="safetensors"):
            models.load(tmp_path / "x.safetensors")
        with pytest.raises(StateError, match="safetensors"):
            models.metadata_of(tmp_path / "x.safetensors")
    for junk in (b"", b"PK\x03\x04 cut off"):
        (tmp_path / "x.npz").write_bytes(junk)
        with pytest.raises(StateError, match=r"x\.npz"):
            models.load(tmp_path / "x.npz")


def test_file_of_another_program_has_no_metadata(tmp_path: Path) -> None:
    save_file({"w": np.zeros(3)}, tmp_path / "x.safetensors")
    assert models.metadata_of(tmp_path / "x.safetensors") == {}


def test_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="cannot write"):
        models.write(tmp_path / "none" / "m.safetensors", model(PARAMS), {}, sync=False)


def test_roles_are_read_where_a_file_names_them(tmp_path: Path) -> None:
    save_file({"w": np.ones(1)}, tmp_path / "own.safetensors", metadata={models.ROLES_KEY: '{"w": "keep"}'})
    save_file({"w": np.ones(1)}, tmp_path / "foreign.safetensors")
    assert models.roles_of(tmp_path / "own.safetensors") == {"w": "keep"}
    assert models.roles_of(tmp_path / "foreign.safetensors") == {}
    assert models.roles_of(tmp_path / "any.npz") == {}


@pytest.mark.parametrize("text", ["{", "[1]", '{"w": 1}', "[" * 100_000])
def test_roles_that_are_no_map_of_names_are_refused(tmp_path: Path, text: str) -> None:
    save_file({"w": np.ones(1)}, tmp_path / "odd.safetensors", metadata={models.ROLES_KEY: text})
    with pytest.raises(ConfigError, match="not a map of names to roles"):
        models.roles_of(tmp_path / "odd.safetensors")
