"""A version of the model in memory, and as a safetensors file.

Guaranteed: a file is there whole or not at all; writing needs one tensor of extra memory at most.
The format is safetensors' own (https://huggingface.co/docs/safetensors): 8 bytes of header length, a JSON
header, the tensors one after the other, little-endian.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from zipfile import BadZipFile

import msgspec
import numpy as np
import numpy.typing as npt

from antiphon.broker_config.disk import Disk, RealDisk
from antiphon.codecs.digests import little_endian
from antiphon.codecs.errors import ConfigError, StateError
from antiphon.codecs.schema import ROLES, Schema

Vector = npt.NDArray[Any]

REAL_DISK = RealDisk()

ROLES_KEY = "antiphon.roles"
"""Where a file's metadata has the tensors' roles, as JSON."""

SAFETENSORS_NAMES = {
    "bool": "BOOL",
    "int8": "I8",
    "uint8": "U8",
    "int16": "I16",
    "uint16": "U16",
    "int32": "I32",
    "uint32": "U32",
    "int64": "I64",
    "uint64": "U64",
    "float16": "F16",
    "float32": "F32",
    "float64": "F64",
}


@dataclass(frozen=True, slots=True)
class Model:
    """One version.

    Attributes:
        schema: Its tensors.
        vector: Weights and statistics, shape (schema.size,), schema.dtype; never written to.
        exact: The exact section.
        number: The version's number.
        digest: Its model digest, 32 bytes.
    """

    schema: Schema
    vector: Vector
    exact: bytes
    number: int
    digest: bytes


def tensors(schema: Schema, vector: Vector, exact: bytes) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Yield name and value of each tensor in its own dtype and shape, one at a time, views where possible."""
    at_vector = at_exact = 0
    for tensor in schema.tensors:
        dtype = np.dtype(tensor.dtype)
        count = int(np.prod(tensor.shape, dtype=np.int64))
        if tensor.role == "exact":
            little = np.frombuffer(exact, dtype.newbyteorder("<"), count, at_exact)
            at_exact += count * dtype.itemsize
            yield tensor.name, little.astype(dtype, copy=False).reshape(tensor.shape)
        else:
            values = vector[at_vector : at_vector + count]
            at_vector += count
            yield tensor.name, _narrow(values, dtype).reshape(tensor.shape)


def roles_as_json(schema: Schema) -> str:
    """Return the tensors' roles as JSON, so that the file can be a first version again."""
    names = {value: name for name, value in ROLES.items()}
    return json.dumps({tensor.name: names[(tensor.role, tensor.extra)] for tensor in schema.tensors})


def _narrow(values: Vector, dtype: np.dtype[Any]) -> Vector:
    """As the schema's own unpacking: what is too large for float16 becomes its largest finite number."""
    if dtype.itemsize < values.dtype.itemsize:
        most = float(np.finfo(dtype).max)
        values = np.clip(values, -most, most)
    return values.astype(dtype, copy=False)


def write(
    path: Path, model: Model, metadata: Mapping[str, str], *, sync: bool, disk: Disk = REAL_DISK
) -> None:
    """Write a version as safetensors: aside, synced if wanted, then renamed.

    Raises:
        StateError: The disk is full or the folder cannot be written.
    """
    try:
        disk.write(path, parts(model, metadata), sync=sync)
    except OSError as error:
        raise StateError(f"cannot write {path}: {os.strerror(error.errno or 0)}") from None


def parts(model: Model, metadata: Mapping[str, str]) -> Iterator[bytes | memoryview]:
    """Yield what a file consists of: at most one tensor in another dtype is in memory besides the model."""
    entries: dict[str, object] = {"__metadata__": dict(metadata)}
    at = 0
    for tensor in model.schema.tensors:
        size = int(np.prod(tensor.shape, dtype=np.int64)) * np.dtype(tensor.dtype).itemsize
        entries[tensor.name] = {
            "dtype": SAFETENSORS_NAMES.get(tensor.dtype, tensor.dtype.upper()),
            "shape": list(tensor.shape),
            "data_offsets": [at, at + size],
        }
        at += size
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    yield len(header).to_bytes(8, "little")
    yield header
    for _, value in tensors(model.schema, model.vector, model.exact):
        yield little_endian(value.reshape(-1))


def metadata_of(path: Path) -> dict[str, str]:
    """Return what a safetensors file says about itself.

    Raises:
        StateError: There is no such file, or it is not safetensors.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > 100 << 20:
                raise ValueError("the header's length is impossible")
            header: Any = json.loads(file.read(length))
        plain = cast("dict[Any, Any]", header.get("__metadata__", {}))
        return {str(key): str(value) for key, value in plain.items()}
    except FileNotFoundError:
        raise StateError(f"there is no {path}: the coordinator writes it with its first version") from None
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise StateError(f"{path} is not a safetensors file: {error}") from None


def roles_of(path: Path) -> dict[str, str]:
    """Return the tensors' roles that a safetensors file names; none in a file of another kind or program.

    Raises:
        StateError: There is no such file, or it is not what its name says.
        ConfigError: What it says under ``antiphon.roles`` is no map.
    """
    if path.suffix != ".safetensors":
        return {}
    if not path.exists():
        raise StateError(f"there is no {path}")
    try:
        return msgspec.json.decode(metadata_of(path).get(ROLES_KEY, "{}"), type=dict[str, str])
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors too
        raise ConfigError(f"{path}: its metadata {ROLES_KEY} is not a map of names to roles") from None


def load(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read parameters from ``.safetensors`` or ``.npz`` (no pickled objects).

    Raises:
        StateError: There is no such file, or it is neither.
    """
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        from safetensors import SafetensorError
        from safetensors.numpy import load_file  # pyright: ignore[reportUnknownVariableType]

        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(str(error)) from None
    except FileNotFoundError:
        raise StateError(f"there is no {path}") from None
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise StateError(f"{path} is neither safetensors nor npz: {error}") from None
