"""The only place that speaks msgpack.

Guarantees: what `unpack` and `unpack_as` read never grows beyond a stated number of values, and they raise
nothing but `MalformedError`. Not done here: saying what a message is (`antiphon.codecs.messages` does).
"""

from functools import cache
from typing import Any, TypeVar, cast

import msgpack
import msgspec

from antiphon.codecs.digests import Buffer
from antiphon.codecs.errors import MalformedError

T = TypeVar("T", bound=msgspec.Struct)

ITEMS = 1 << 16
"""Most values in one message, unless the caller says otherwise."""

DEPTH = 8
"""Most levels of arrays and maps in a message; ours use four."""


def pack(plain: object) -> bytes:
    """Return plain values as msgpack, in the shortest forms."""
    return msgspec.msgpack.encode(plain)


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


def unpack_as(data: Buffer, kind: type[T], items: int = ITEMS) -> T:
    """Read one msgpack value as a message. What it does not know is measured and skipped, not read.

    Raises:
        MalformedError: as `unpack`, or a field is missing, of another type or out of its range, in any of its
            repetitions.
    """
    _measure(data, items)
    try:
        return _decoder(kind).decode(data)
    except (msgspec.DecodeError, ValueError) as error:
        raise MalformedError(f"{kind.__name__}: {str(error)[:200]}") from None


@cache
def _decoder(kind: type[T]) -> msgspec.msgpack.Decoder[T]:
    return msgspec.msgpack.Decoder(kind, strict=True)


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


def _sizes() -> list[int]:
    """For each first byte: bytes of the whole value, 0 where that is not all there is to know."""
    sizes = [1] * 256
    for short in range(32):
        sizes[0xA0 + short] = 1 + short
    for power in range(4):
        sizes[0xCC + power] = sizes[0xD0 + power] = 1 + (1 << power)
    sizes[0xCA], sizes[0xCB] = 5, 9
    for other in (*range(0x80, 0xA0), *range(0xC4, 0xCA), *range(0xD4, 0xE0), 0xC1):
        sizes[other] = 0
    return sizes


def _heads() -> list[tuple[int, int, int]]:
    """For the others: width of the length field, fixed length, values an entry (0: bytes follow)."""
    heads = [(-1, 0, 0)] * 256
    for small in range(16):
        heads[0x80 + small] = (0, small, 2)
        heads[0x90 + small] = (0, small, 1)
    for power in range(3):
        heads[0xC4 + power] = heads[0xD9 + power] = (1 << power, 0, 0)
    for power in range(2):
        heads[0xDC + power], heads[0xDE + power] = (2 << power, 0, 1), (2 << power, 0, 2)
    return heads


_SIZES, _HEADS = _sizes(), _heads()


def _measure(data: Buffer, items: int) -> None:
    """Refuse what would decode to more than ``items`` values, before anything is built.

    Raises:
        MalformedError: as `unpack`.
    """
    # msgpack allocates an array as soon as it reads its stated length: 2 kB of nested heads, each of them
    # within the limits that msgpack offers, made 32 MB.
    sizes, size = _SIZES, len(data)
    position = 0
    left, outer = 1, list[int]()  # values to come in the innermost array or map, and in those around it
    while True:
        while left:
            if position >= size:
                raise MalformedError("not msgpack: cut off")
            first = data[position]
            left -= 1
            whole = sizes[first]
            if whole:
                position += whole
                continue
            width, length, values = _HEADS[first]
            position += 1
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
        if not outer:
            break
        left = outer.pop()
    if position != size:
        raise MalformedError("not msgpack: cut off, or something follows")
