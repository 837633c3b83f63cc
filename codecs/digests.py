"""BLAKE2b-256 with a personalisation for each use, so that no digest can stand for another kind of thing.

Guarantees: every digest and every derived key of the protocol comes through `digest`. RFC 7693.
"""

import hashlib
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

Buffer = bytes | bytearray | memoryview
SIZE = 32
"""Bytes of every digest."""


def hasher(person: str, key: bytes = b"") -> Any:
    """Return a BLAKE2b object for data that comes in pieces: ``update(...)``, then ``digest()``.

    Args:
        person: at most 16 ASCII characters; shorter ones are padded with zero bytes.
        key: at most 64 bytes.
    """
    return hashlib.blake2b(digest_size=SIZE, key=key, person=person.encode("ascii"))


def digest(person: str, *parts: Buffer, key: bytes = b"") -> bytes:
    """Return the 32 bytes ``H(person, key, joined parts)`` of ``docs/protocol.md``."""
    state = hasher(person, key)
    for part in parts:
        state.update(part)
    return state.digest()


def prefixed(data: bytes) -> bytes:
    """Return ``lp(data)``: the length as 4 bytes, big-endian, then the data."""
    return struct.pack(">I", len(data)) + data


def frame_digest(data: Buffer) -> bytes:
    """Return the digest (32 bytes) of a sealed frame as published."""
    return digest("antiphon-frame-1", data)


def little_endian(vector: NDArray[Any]) -> memoryview:
    """Return the bytes of a one-dimensional array, little-endian; a copy only where the host is not."""
    plain = np.ascontiguousarray(vector, dtype=vector.dtype.newbyteorder("<"))
    return plain.view(np.uint8).reshape(-1).data
