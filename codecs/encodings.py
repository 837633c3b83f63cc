"""Vectors as bytes: lossless, rounded or quantised, block by block.

Guarantees: a block's encoded size depends on its number of elements alone; encoding starts at a block
boundary and may stop anywhere; float64 into ``float64`` and float32 into ``float32`` keep every bit, NaN
payloads included. A finite number never becomes infinite: it saturates at the encoding's largest. NaN and
infinity stay what they are, except in ``int8``, which has no place for them. Not done here: refusing
numbers that are not finite (admission does) and error feedback.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.codecs.digests import Buffer
from antiphon.codecs.errors import MalformedError
from antiphon.codecs.schema import BLOCK
from antiphon.codecs.tensors import dtype_name

ENCODINGS: tuple[str, ...] = ("float64", "float32", "float16", "bfloat16", "int8")
"""Every encoding of a vector, the widest first."""

_ITEM = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}
_SCALE = 4  # bytes of an int8 block's float32 scale
_SLAB = 64 * BLOCK  # elements worked on at a time, so that the temporaries stay in the cache
_LEVELS = np.float32(127)
_LARGEST_SCALE = np.nextafter(np.finfo(np.float32).max / _LEVELS, np.float32(0), dtype=np.float32)
_SMALLEST_SCALE = np.finfo(np.float32).tiny


def itemsize(encoding: str) -> int:
    """Return the width (bytes) of one encoded element, which is also the stride of the byte shuffle.

    Raises:
        MalformedError: no such encoding.
    """
    try:
        return _ITEM[encoding]
    except KeyError:
        raise MalformedError(f"unknown encoding {encoding[:20]!r}") from None


def encoded_size(encoding: str, elements: int) -> int:
    """Return the encoded bytes of so many elements from a block boundary on.

    Raises:
        MalformedError: no such encoding.
    """
    scales = _SCALE * -(-elements // BLOCK) if encoding == "int8" else 0
    return elements * itemsize(encoding) + scales


def encode(values: NDArray[Any], encoding: str, rng: np.random.Generator) -> bytes:
    """Encode elements from a block boundary on.

    Args:
        values: shape ``(n,)``, float32 or float64.
        encoding: one of `ENCODINGS`.
        rng: drawn from by ``int8`` alone, once an element: q = floor(value / scale + u), u uniform in [0, 1),
            so that the expectation is the value (stochastic rounding; QSGD, arXiv:1610.02132).

    Raises:
        ValueError: an unknown encoding, another shape or dtype, or ``int8`` of a NaN or an infinity.
    """
    if encoding not in _ITEM:
        raise ValueError(f"unknown encoding {encoding!r}: say one of {', '.join(ENCODINGS)}")
    if values.ndim != 1 or dtype_name(values.dtype) not in ("float32", "float64"):
        raise ValueError(
            f"values must be one-dimensional float32 or float64, not {values.dtype}{values.shape}"
        )
    if dtype_name(values.dtype) == encoding:
        return values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    out = np.empty(encoded_size(encoding, values.size), np.uint8)
    for part, target in _slabs(values, out, encoding):
        if encoding == "int8":
            _quantise(part, target, rng)
        elif encoding == "bfloat16":
            target.view("<u2")[...] = _to_bfloat16(_narrow(part, np.float32))
        else:
            target.view(np.dtype(encoding).newbyteorder("<"))[...] = _narrow(part, np.dtype(encoding).type)
    return out.tobytes()


def decode(data: Buffer, encoding: str, elements: int, dtype: str) -> NDArray[Any]:
    """Decode what `encode` made.

    Args:
        data: exactly ``encoded_size(encoding, elements)`` bytes.
        encoding: one of `ENCODINGS`.
        elements: how many numbers there are.
        dtype: "float32" or "float64" of the result.

    Returns:
        Shape ``(elements,)``. It may share memory with ``data``: treat it as read-only.

    Raises:
        MalformedError: ``data`` has another length, or there is no such encoding.
    """
    if len(data) != encoded_size(encoding, elements):
        raise MalformedError(f"{len(data)} bytes do not hold {elements} numbers in {encoding}")
    if encoding == "bfloat16":
        upper = np.frombuffer(data, "<u2").astype(np.uint32)
        upper <<= np.uint32(16)
        return upper.view(np.float32).astype(dtype, copy=False)
    if encoding == dtype:
        return np.frombuffer(data, np.dtype(encoding).newbyteorder("<")).astype(dtype, copy=False)
    # What a peer sends may be anything; admission judges the numbers, so nothing here warns about them.
    with np.errstate(over="ignore", invalid="ignore"):
        if encoding == "int8":
            return _dequantise(np.frombuffer(data, np.uint8), elements, dtype)
        return np.frombuffer(data, np.dtype(encoding).newbyteorder("<")).astype(dtype)


def _slabs(
    values: NDArray[Any], out: NDArray[np.uint8], encoding: str
) -> Iterator[tuple[NDArray[Any], NDArray[np.uint8]]]:
    step = encoded_size(encoding, _SLAB)
    for number, start in enumerate(range(0, values.size, _SLAB)):
        yield values[start : start + _SLAB], out[number * step : (number + 1) * step]


def _narrow(values: NDArray[Any], kind: type[np.floating[Any]]) -> NDArray[Any]:
    """Cast to a float type; finite numbers beyond its range saturate."""
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = values.astype(kind, copy=False)
    infinite = np.isinf(narrow)
    if narrow is not values and infinite.any():
        lost = infinite & np.isfinite(values)
        narrow[lost] = np.copysign(np.finfo(kind).max, narrow[lost])
    return narrow


def _to_bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Round to the upper 16 bits, ties to even; NaN stays NaN and finite numbers stay finite."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded = bits >> np.uint32(16)
    odd = rounded & np.uint32(1)
    odd += np.uint32(0x7FFF)
    odd += bits  # wraps around for NaNs alone, which are set below
    np.right_shift(odd, np.uint32(16), out=rounded)
    special = (rounded & np.uint32(0x7F80)) == np.uint32(0x7F80)
    special |= ~np.isfinite(values)
    if special.any():
        upper = bits[special] >> np.uint32(16)
        nan = np.isnan(values[special])
        upper[nan] |= np.uint32(0x0040)
        # Rounded up to infinity: one below it is the largest finite number.
        overflow = np.isfinite(values[special])
        upper[overflow] = (upper[overflow] & np.uint32(0x8000)) | np.uint32(0x7F7F)
        rounded[special] = upper
    return rounded


def _quantise(values: NDArray[Any], out: NDArray[np.uint8], rng: np.random.Generator) -> None:
    """Fill ``out`` with blocks of one float32 scale and then one signed byte an element."""
    full = values.size // BLOCK * BLOCK
    size = _SCALE + BLOCK
    stop = full // BLOCK * size
    if full:
        _quantise_rows(values[:full].reshape(-1, BLOCK), out[:stop].reshape(-1, size), rng)
    if full < values.size:
        _quantise_rows(values[full:].reshape(1, -1), out[stop:].reshape(1, -1), rng)


def _quantise_rows(rows: NDArray[Any], out: NDArray[np.uint8], rng: np.random.Generator) -> None:
    largest = np.maximum(rows.max(axis=1), -rows.min(axis=1))
    if not np.isfinite(largest).all():
        raise ValueError("int8 cannot hold a NaN or an infinity")
    # Below the normal numbers a scale loses its precision or is zero: the block then rounds to 0 or one step.
    scale = np.clip(largest / _LEVELS, _SMALLEST_SCALE, _LARGEST_SCALE).astype(np.float32)
    steps = rows / scale[:, None]
    steps += rng.random(rows.shape, dtype=np.float32)
    np.floor(steps, out=steps)
    np.clip(steps, -_LEVELS, _LEVELS, out=steps)
    out[:, _SCALE:] = steps.astype(np.int8).view(np.uint8)
    scale[largest == 0] = 0
    out[:, :_SCALE] = scale.astype("<f4", copy=False).view(np.uint8).reshape(-1, _SCALE)


def _dequantise(data: NDArray[np.uint8], elements: int, dtype: str) -> NDArray[Any]:
    out = np.empty(elements, dtype)
    full = elements // BLOCK * BLOCK
    stop = full // BLOCK * (_SCALE + BLOCK)
    for values, rows in (
        (out[:full].reshape(-1, BLOCK), data[:stop].reshape(-1, _SCALE + BLOCK)),
        (out[full:].reshape(1, -1), data[stop:].reshape(1, -1)),
    ):
        if values.size:
            scale = np.ascontiguousarray(rows[:, :_SCALE]).view("<f4")
            np.multiply(rows[:, _SCALE:].view(np.int8), scale, out=values, dtype=dtype)
    return out
