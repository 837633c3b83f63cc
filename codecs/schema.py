"""A model's tensors as one flat vector and one exact section, and back.

Guarantees: the same tensors give the same schema bytes everywhere (canonical msgpack, names sorted by code
point); packing and unpacking keep every bit of tensors that have the vector's dtype or are exact. A decoded
schema is consistent in itself. Not done here: comparing its size (`Schema.size`, `Schema.exact_size`) with
the memory of this host; callers do that before they allocate.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from antiphon.codecs import messages
from antiphon.codecs.digests import digest, little_endian
from antiphon.codecs.errors import ConfigError, LimitError, MalformedError, SchemaError
from antiphon.codecs.tensors import (
    MAX_ELEMENTS,
    ROLES,
    Role,
    Tensor,
    check,
    default_role,
    dtype_name,
    read_tensor,
)

BLOCK = 1024
"""Elements of a block, the unit in which vectors are cut."""


@dataclass(frozen=True, slots=True)
class Span:
    """Elements [start, stop) that share a role; ``floor`` marks variances."""

    start: int
    stop: int
    role: Role
    floor: bool


@dataclass(frozen=True, slots=True)
class Schema:
    """The names, shapes, dtypes and roles of a model's tensors, and where they lie in the vector."""

    tensors: tuple[Tensor, ...]
    dtype: str
    size: int
    exact_size: int
    digest: bytes
    runs: tuple[Span, ...] = field(repr=False, compare=False)

    @property
    def blocks(self) -> int:
        """Number of blocks of the vector; the last one may be shorter than `BLOCK`."""
        return -(-self.size // BLOCK)

    def encode(self) -> bytes:
        """Return the canonical schema bytes."""
        return _encode(self.tensors, self.dtype)

    def pack(self, params: Mapping[str, Any]) -> tuple[NDArray[Any], bytes]:
        """Flatten a model.

        Args:
            params: arrays by name, with the shapes and dtypes of this schema.

        Returns:
            The vector, shape ``(size,)`` and dtype ``dtype``, and the exact section (``exact_size`` bytes).

        Raises:
            SchemaError: names the first tensor that is missing, unknown or of another shape or dtype.
        """
        arrays = {name: np.asarray(value) for name, value in params.items()}
        self._compare(arrays)
        vector = np.empty(self.size, self.dtype)
        exact: list[bytes] = []
        position = 0
        for tensor in self.tensors:
            array = arrays[tensor.name]
            if tensor.exact:
                exact.append(np.asarray(array, _little(tensor.dtype)).tobytes())
            else:
                stop = position + tensor.size
                vector[position:stop].reshape(tensor.shape)[...] = array
                position = stop
        return vector, b"".join(exact)

    def unpack(self, vector: NDArray[Any], exact: bytes) -> dict[str, NDArray[Any]]:
        """Return the model's arrays by name, own copies in their native dtypes and shapes.

        A finite number that is too large for a float16 tensor becomes the largest finite float16.

        Raises:
            MalformedError: the vector or the exact section has another length.
        """
        if vector.shape != (self.size,) or len(exact) != self.exact_size:
            raise MalformedError("the vector or the exact section has not the length that the schema says")
        params: dict[str, NDArray[Any]] = {}
        position = offset = 0
        for tensor in self.tensors:
            if tensor.exact:
                params[tensor.name] = _from_exact(tensor, exact, offset)
                offset += tensor.size * np.dtype(tensor.dtype).itemsize
            else:
                part = vector[position : position + tensor.size].reshape(tensor.shape)
                params[tensor.name] = _cast(part, tensor.dtype)
                position += tensor.size
        return params

    def spans(self, first_block: int, count: int) -> tuple[Span, ...]:
        """Return the runs of equal role in ``count`` blocks from ``first_block``, relative to its start."""
        start = first_block * BLOCK
        stop = min((first_block + count) * BLOCK, self.size)
        found: list[Span] = []
        index = bisect_right(self.runs, start, key=lambda run: run.stop)
        for run in self.runs[index:]:
            if run.start >= stop:
                break
            found.append(
                Span(max(run.start, start) - start, min(run.stop, stop) - start, run.role, run.floor)
            )
        return tuple(found)

    def merge_exact(self, mine: bytes, theirs: Sequence[bytes]) -> bytes:
        """Combine exact sections: "keep" tensors stay as in ``mine``, "max" ones take the largest elements.

        Raises:
            MalformedError: a section has another length.
        """
        if any(len(section) != self.exact_size for section in (mine, *theirs)):
            raise MalformedError("an exact section has not the length that the schema says")
        parts: list[bytes] = []
        offset = 0
        for tensor in self.tensors:
            if not tensor.exact:
                continue
            stop = offset + tensor.size * np.dtype(tensor.dtype).itemsize
            if tensor.extra == "max":
                arrays = [_from_exact(tensor, section, offset) for section in (mine, *theirs)]
                parts.append(np.maximum.reduce(arrays).astype(_little(tensor.dtype)).tobytes())
            else:
                parts.append(mine[offset:stop])
            offset = stop
        return b"".join(parts)

    def _compare(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        expected = {tensor.name: tensor for tensor in self.tensors}
        for name in sorted(expected.keys() | arrays.keys()):
            if name not in arrays:
                raise SchemaError(f"tensor {name!r} is missing")
            if name not in expected:
                raise SchemaError(f"tensor {name!r} is not in the federation's model")
            array, ours = arrays[name], expected[name]
            if (dtype_name(array.dtype), array.shape) != (ours.dtype, ours.shape):
                raise SchemaError(
                    f"tensor {name!r} is {array.dtype.name}{list(array.shape)}, "
                    f"the federation's is {ours.dtype}{list(ours.shape)}"
                )


def infer(params: Mapping[str, Any], roles: Mapping[str, str] | None = None) -> Schema:
    """Derive the schema of a model.

    Args:
        params: arrays by name: float16, float32, float64, integers or bool.
        roles: name -> "weight", "statistic", "variance", "keep" or "max". Without one, floats are weights,
            names that end in ``running_mean`` or ``moving_mean`` are statistics, in ``running_var`` or
            ``moving_variance`` variances, and integers and booleans are kept.

    Raises:
        ConfigError: an unknown role, a role for an unknown tensor, or a dtype that cannot take its role.
    """
    named = roles or {}
    for name in sorted(named):
        if name not in params:
            raise ConfigError(f"a role is given for tensor {name!r}, which the model does not have")
    tensors: list[Tensor] = []
    for name in sorted(params):
        array = np.asarray(params[name])
        known = named.get(name) or default_role(name, array.dtype.name)
        if known not in ROLES:
            raise ConfigError(
                f"tensor {name!r} has the unknown role {known!r}: say one of {', '.join(ROLES)}"
            )
        tensors.append(Tensor(str(name), array.shape, array.dtype.name, *ROLES[known]))
    try:
        return _build(tensors)
    except MalformedError as error:
        raise ConfigError(str(error)) from None


def decode(data: bytes, limit: int) -> Schema:
    """Read schema bytes from outside.

    Args:
        data: msgpack, in canonical form.
        limit: most bytes taken.

    Raises:
        LimitError: ``data`` is longer.
        MalformedError: not canonical, names unsorted or double, unknown dtypes or roles, sizes beyond bounds.
    """
    if len(data) > limit:
        raise LimitError("a schema in bytes", len(data), limit)
    # Every version and every update of a run has the same one.
    return _remembered(data) if type(data) is bytes and len(data) <= _SMALL else _decode(data)


def _decode(data: bytes) -> Schema:
    plain = messages.unpack(data, items=len(data))
    if not isinstance(plain, dict):
        raise MalformedError("a schema must be a map")
    fields = cast(dict[object, object], plain)
    rows = fields.get("tensors")
    if fields.get("version") != 1 or not isinstance(rows, list):
        raise MalformedError("a schema must have version 1 and a list of tensors")
    schema = _build([read_tensor(row) for row in cast(list[object], rows)])
    # Canonical or refused: otherwise one model could have two digests.
    if schema.encode() != data:
        raise MalformedError("the schema bytes are not in canonical form")
    return schema


_SMALL = 1 << 16
"""Bytes of a schema up to which it is remembered."""

_remembered = lru_cache(maxsize=32)(_decode)


def model_digest(schema: Schema, vector: NDArray[Any], exact: bytes) -> bytes:
    """Return the digest (32 bytes) that names a version's content.

    Args:
        schema: the model's schema.
        vector: shape ``(schema.size,)``, dtype ``schema.dtype``.
        exact: ``schema.exact_size`` bytes.
    """
    return digest("antiphon-model-1", schema.digest, little_endian(vector), exact)


def _little(dtype: str) -> np.dtype[Any]:
    return np.dtype(dtype).newbyteorder("<")


def _from_exact(tensor: Tensor, exact: bytes, offset: int) -> NDArray[Any]:
    if tensor.dtype == "bool":
        # A peer's byte may be neither 0 nor 1, which numpy must never see as a bool.
        return (np.frombuffer(exact, np.uint8, tensor.size, offset) != 0).reshape(tensor.shape)
    flat = np.frombuffer(exact, _little(tensor.dtype), tensor.size, offset)
    return flat.reshape(tensor.shape).astype(tensor.dtype, copy=True)


def _cast(part: NDArray[Any], dtype: str) -> NDArray[Any]:
    if np.dtype(dtype).itemsize >= part.dtype.itemsize:
        return part.astype(dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        native = part.astype(dtype)
    lost = np.isinf(native) & np.isfinite(part)
    native[lost] = np.copysign(np.finfo(native.dtype).max, part[lost])
    return native


def _encode(tensors: Iterable[Tensor], dtype: str) -> bytes:
    rows = [[t.name, list(t.shape), t.dtype, t.role, t.extra] for t in tensors]
    return messages.pack({"version": 1, "vector": dtype, "tensors": rows})


def _build(tensors: Sequence[Tensor]) -> Schema:
    size = exact_size = 0
    runs: list[Span] = []
    for before, tensor in zip([None, *tensors], tensors, strict=False):
        check(tensor)
        if before is not None and before.name >= tensor.name:
            raise MalformedError("tensors must be sorted by name, each once")
        if tensor.exact:
            exact_size += tensor.size * np.dtype(tensor.dtype).itemsize
            continue
        _extend(runs, Span(size, size + tensor.size, tensor.role, tensor.extra == "floor"))
        size += tensor.size
    if max(size, exact_size) > MAX_ELEMENTS:
        raise MalformedError("the model has too many elements")
    wide = any(t.dtype == "float64" and not t.exact for t in tensors)
    dtype = "float64" if wide else "float32"
    code = digest("antiphon-schema1", _encode(tensors, dtype))
    return Schema(tuple(tensors), dtype, size, exact_size, code, tuple(runs))


def _extend(runs: list[Span], span: Span) -> None:
    if span.start == span.stop:
        return
    if runs and (runs[-1].role, runs[-1].floor) == (span.role, span.floor):
        span = Span(runs.pop().start, span.stop, span.role, span.floor)
    runs.append(span)
