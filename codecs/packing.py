"""The only place that speaks msgpack.

Guarantees: what `unpack` reads never grows beyond a stated number of values, and raises nothing but
`MalformedError`. Not done here: giving the values a type (`antiphon.codecs.messages` does).
"""

from typing import Any, cast

import msgpack

from antiphon.codecs.digests import Buffer
from antiphon.codecs.errors import MalformedError

ITEMS = 1 << 16
"""Most values in one message, unless the caller says otherwise."""

DEPTH = 8
"""Most levels of arrays and maps in a message; ours use four."""


def pack(plain: object) -> bytes:
    """Return plain values as msgpack, in the shortest forms."""
    return msgpack.packb(plain)


def unpack(data: Buffer, items: int = ITEMS) -> Any:
    """Read one msgpack value that holds at most ``items`` others (keys count too).

    Raises:
        MalformedError: not exactly one msgpack value, nested too deeply, too many items, or extension types.
    """
    _measure(data, items)
    size = len(data)
    try:
        return msgpack.unpackb(
            data,
            max_bin_len=size,
            max_str_len=size,
            max_array_len=items,
            max_map_len=items,
            max_ext_len=0,
        )
    except ValueError as error:
        raise MalformedError(f"not msgpack: {str(error)[:80]}") from None


def _pair(plain: object, otherwise: str) -> tuple[bytes, bytes]:
    """Return the two byte strings of an array.

    Raises:
        MalformedError: it is something else; with the sentence ``otherwise``.
    """
    if isinstance(plain, list):
        parts = cast(list[object], plain)
        if len(parts) == 2 and type(parts[0]) is bytes and type(parts[1]) is bytes:
            return parts[0], parts[1]
    raise MalformedError(otherwise)


def unpack_pair(data: Buffer, otherwise: str) -> tuple[bytes, bytes]:
    """Read an array of two byte strings, which is what frames and announcements are.

    Raises:
        MalformedError: it is something else; with the sentence ``otherwise``, or as `unpack`.
    """
    if len(data) > 1 and data[0] == _TWO:
        first = _bytes_at(data, 1)
        second = _bytes_at(data, first[1])
        if 0 < second[1] == len(data):
            return bytes(data[first[0] : first[1]]), bytes(data[second[0] : second[1]])
    return _pair(unpack(data, items=2), otherwise)


_TWO = 0x92
_WIDTHS = {0xC4: 1, 0xC5: 2, 0xC6: 4}
"""Of the length field of a byte string, by its first byte."""


def _bytes_at(data: Buffer, position: int) -> tuple[int, int]:
    """Return where the byte string at ``position`` begins and ends; (0, 0) if there is none."""
    if not 0 < position < len(data) or (width := _WIDTHS.get(data[position])) is None:
        return 0, 0
    start = position + 1 + width
    return start, start + int.from_bytes(data[position + 1 : start], "big")


def _heads() -> list[tuple[int, int, int]]:
    """For each first byte: width of the length field, fixed length, values an entry (0: bytes follow)."""
    heads = [(0, 0, 0)] * 256
    for small in range(16):
        heads[0x80 + small] = (0, small, 2)
        heads[0x90 + small] = (0, small, 1)
    for short in range(32):
        heads[0xA0 + short] = (0, short, 0)
    for power in range(4):
        heads[0xCC + power] = heads[0xD0 + power] = (0, 1 << power, 0)
    for power in range(3):
        heads[0xC4 + power] = heads[0xD9 + power] = (1 << power, 0, 0)
    for power in range(2):
        heads[0xDC + power], heads[0xDE + power] = (2 << power, 0, 1), (2 << power, 0, 2)
    heads[0xCA], heads[0xCB] = (0, 4, 0), (0, 8, 0)
    for refused in (0xC1, 0xC7, 0xC8, 0xC9, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8):
        heads[refused] = (-1, 0, 0)
    return heads


_HEADS = _heads()


def _measure(data: Buffer, items: int) -> None:
    """Refuse what would decode to more than ``items`` values, before anything is built.

    msgpack allocates an array as soon as it reads its stated length: 2 kB of nested heads, each of them
    within the limits that msgpack offers, made 32 MB.
    """
    heads, size = _HEADS, len(data)
    position = 0
    left, outer = 1, list[int]()  # values to come in the innermost array or map, and in those around it
    while left or outer:
        if not left:
            left = outer.pop()
            continue
        if position >= size:
            raise MalformedError("not msgpack: cut off")
        width, length, values = heads[data[position]]
        position += 1
        left -= 1
        if width:
            if width < 0:
                raise MalformedError("not msgpack as used here: extension type")
            length = int.from_bytes(data[position : position + width], "big")
            position += width
        if values:
            length *= values
            items -= length
            if items < 0 or len(outer) >= DEPTH:
                raise MalformedError("too many items in a message, or nested too deeply")
            outer.append(left)
            left = length
        else:
            position += length
    if position != size:
        raise MalformedError("not msgpack: cut off, or something follows")
