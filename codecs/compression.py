"""Byte shuffle and zstd, bounded.

Guarantees: nothing is decompressed before the frame's stated size equals the size that the caller expects,
and nothing but exactly one zstd frame is taken. Every thread has its own (de)compressor: threads may call in
parallel, and zstd runs without the interpreter's lock. RFC 8878.
"""

import threading
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from antiphon.codecs.digests import Buffer
from antiphon.codecs.errors import LimitError, MalformedError

LEVEL = 1
"""Higher levels gain about nothing on shuffled floats and cost a multiple."""

_MAGIC = b"\x28\xb5\x2f\xfd"
_WIDTHS = (1, 2, 4, 8)
_WINDOW = 1 << 27  # bytes; zstd's own bound
_SMALL = 8192  # bytes up to which one transposing copy is faster than several passes


class _Tools(threading.local):
    """A thread's own: making one costs ten times what it does to a small update."""

    def __init__(self) -> None:
        self.packer = zstandard.ZstdCompressor(level=LEVEL, write_content_size=True, write_checksum=False)
        self.opener = zstandard.ZstdDecompressor()


_tools = _Tools()


def compress(data: Buffer, itemsize: int) -> bytes:
    """Return one zstd frame, which states its content size.

    Args:
        data: whole items, at least one.
        itemsize: 1, 2, 4 or 8 bytes; with more than 1 the bytes of the items are shuffled first.

    Raises:
        ValueError: no data, broken items, or another item size.
    """
    if itemsize not in _WIDTHS or not len(data) or len(data) % itemsize:
        raise ValueError(f"{len(data)} bytes are not items of {itemsize} bytes")
    return _tools.packer.compress(data if itemsize == 1 else _shuffle(data, itemsize))


def decompress(data: Buffer, itemsize: int, size: int) -> bytes:
    """Open one zstd frame of a known content size and undo the shuffle.

    Args:
        data: the zstd frame, and nothing after it.
        itemsize: as given to `compress`.
        size: bytes that must come out; at least 1.

    Raises:
        LimitError: the frame states a larger size.
        MalformedError: it states a smaller one or none, is damaged, needs a dictionary, or is not alone.
    """
    if itemsize not in _WIDTHS or size < 1 or size % itemsize:
        raise MalformedError(f"{size} bytes are not items of {itemsize} bytes")
    _check_head(data, size)
    try:
        plain = _tools.opener.decompress(data, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise MalformedError(f"not one zstd frame: {str(error)[:80]}") from None
    if len(plain) != size:
        raise MalformedError("a zstd frame holds less than it states")
    return plain if itemsize == 1 else _unshuffle(plain, itemsize)


def _check_head(data: Buffer, size: int) -> None:
    # `max_output_size` is ignored when a frame states its size: check what it states before anything opens.
    try:
        head = zstandard.get_frame_parameters(data)
    except zstandard.ZstdError as error:
        raise MalformedError(f"not a zstd frame: {str(error)[:80]}") from None
    if bytes(data[:4]) != _MAGIC or head.dict_id:
        raise MalformedError("not a plain zstd frame")
    if head.window_size > _WINDOW:
        raise LimitError("the window of a zstd frame in bytes", head.window_size, _WINDOW)
    if head.content_size == zstandard.CONTENTSIZE_UNKNOWN:
        raise MalformedError("a zstd frame must state its content size")
    if head.content_size > size:
        raise LimitError("the stated size of a zstd frame in bytes", head.content_size, size)
    if head.content_size != size:
        raise MalformedError(f"a zstd frame states {head.content_size} bytes, {size} are expected")


def _shuffle(data: Buffer, itemsize: int) -> Buffer:
    if len(data) <= _SMALL:
        return np.frombuffer(data, np.uint8).reshape(-1, itemsize).T.tobytes()
    items = np.frombuffer(data, f"<u{itemsize}")
    planes = np.empty((itemsize, items.size), np.uint8)
    # Shift and truncate runs at memory speed; a transposing copy of bytes is three times slower.
    for index, plane in enumerate(planes):
        np.right_shift(items, 8 * index, out=plane, casting="unsafe")
    return planes.reshape(-1).data


def _unshuffle(data: bytes, itemsize: int) -> bytes:
    if len(data) <= _SMALL:
        return np.frombuffer(data, np.uint8).reshape(itemsize, -1).T.tobytes()
    parts: list[NDArray[Any]] = list(np.frombuffer(data, np.uint8).reshape(itemsize, -1))
    width = 1
    while len(parts) > 1:
        joined: list[NDArray[Any]] = []
        for low, high in zip(parts[::2], parts[1::2], strict=True):
            wide = high.astype(f"<u{2 * width}")
            wide <<= 8 * width
            wide |= low
            joined.append(wide)
        parts, width = joined, 2 * width
    return parts[0].tobytes()
