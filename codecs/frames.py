"""Frames: a clear header and a sealed body, the header's bytes being the associated data of the seal.

Guarantees: a frame that is changed, truncated, moved to another place of its transfer or sent under another
name does not open; a header that `read` returns has every field in its range. What is *not* guaranteed by
`read`: that any of it is true; only `open_frame` says so, for the header's bytes as they were received.
"""

import re
from enum import IntEnum
from functools import lru_cache
from typing import cast

import msgspec

from antiphon.codecs import messages, sealing
from antiphon.codecs.digests import frame_digest as frame_digest
from antiphon.codecs.errors import LimitError, MalformedError, VersionError
from antiphon.codecs.messages import WIRE
from antiphon.codecs.sealing import SymmetricKey

MAX_HEADER = 1024
"""Bytes; ours take about 200, the rest is room for fields of later versions."""

MAX_TOTAL = 1 << 32
EVERYONE = "*"
NO_ID = bytes(16)
"""The run or transfer of a frame that has none."""

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_FIELDS = 11
_TYPES: list[type] = [str, bytes, str, str, int, bytes, bytes, int, int, bytes]
_Fields = tuple[str, bytes, str, str, int, bytes, bytes, int, int, bytes]
"""Of a header's fields after the wire version."""


class Kind(IntEnum):
    """What a frame holds."""

    GROUP_KEYS = 1
    MODEL_CHUNK = 2
    MANIFEST_PAGE = 3
    OFFER = 4
    UPDATE_CHUNK = 5
    NOTE = 6
    RECEIPT = 7


MANY = frozenset({Kind.MODEL_CHUNK, Kind.MANIFEST_PAGE, Kind.UPDATE_CHUNK})
"""Kinds of which a transfer has several; the others have index 0 and total 1."""

IDENTIFIED = frozenset({Kind.MODEL_CHUNK, Kind.MANIFEST_PAGE, Kind.OFFER, Kind.UPDATE_CHUNK})
"""Kinds with a key id (8 bytes) and a transfer id; the others have an empty key id and 16 zero bytes."""

_KINDS = {int(kind): kind for kind in Kind}

BROADCAST = frozenset({Kind.MODEL_CHUNK, Kind.MANIFEST_PAGE})
"""Kinds whose recipient is everyone."""


class Header(msgspec.Struct, frozen=True):
    """The clear part of a frame; ``docs/protocol.md`` section 3 has the table."""

    wire: int
    federation: str
    run: bytes
    sender: str
    recipient: str
    kind: Kind
    key_id: bytes
    transfer: bytes
    index: int
    total: int
    one_time: bytes = b""


class Frame(msgspec.Struct, frozen=True):
    """A frame as received; ``body`` is still sealed."""

    header: Header
    raw_header: bytes
    body: bytes


def read(data: bytes, limit: int) -> Frame:
    """Read a frame from outside; nothing is opened.

    Args:
        data: the payload as received.
        limit: most bytes taken.

    Raises:
        LimitError: the frame is longer than ``limit``, or its header than `MAX_HEADER`.
        VersionError: another wire version; nothing else of the header is looked at.
        MalformedError: anything else that is not as section 3 of ``docs/protocol.md`` says.
    """
    if len(data) > limit:
        raise LimitError("a frame in bytes", len(data), limit)
    raw, body = messages.unpack_pair(data, "a frame must be [header, body]")
    if len(raw) > MAX_HEADER:
        raise LimitError("a frame's header in bytes", len(raw), MAX_HEADER)
    header = _read_header(raw)
    if len(body) < sealing.NONCE + sealing.TAG:
        raise MalformedError("a frame's body is too short to be sealed")
    return Frame(header, raw, body)


def seal_frame(header: Header, key: SymmetricKey, plaintext: bytes) -> bytes:
    """Return the sealed frame.

    Raises:
        ValueError: the header has a field that no receiver would take.
    """
    raw = encode_header(header)
    return messages.pack([raw, sealing.seal(key, plaintext, raw)])


def sealed_size(header: Header, size: int) -> int:
    """Return the bytes of a sealed frame whose plaintext has ``size`` bytes.

    Raises:
        ValueError: as `seal_frame`.
    """
    return 1 + _bin_size(len(encode_header(header))) + _bin_size(sealing.NONCE + size + sealing.TAG)


def _bin_size(size: int) -> int:
    """Bytes that a byte string has as msgpack."""
    return size + (2 if size < 1 << 8 else 3 if size < 1 << 16 else 5)


def open_frame(frame: Frame, key: SymmetricKey) -> bytes:
    """Return the plaintext; only now header and content are known to come from a holder of ``key``.

    Raises:
        SealError: tampered, foreign, or under another key.
    """
    return sealing.open_sealed(key, frame.body, frame.raw_header)


def encode_header(header: Header) -> bytes:
    """Return the header's bytes.

    Raises:
        ValueError: a field is out of its range.
    """
    wrong = _wrong_field(header)
    if wrong or header.wire != WIRE:
        raise ValueError(f"a frame's header has a wrong field {wrong or 'wire'}: {header}")
    return messages.pack(
        [
            header.wire,
            header.federation,
            header.run,
            header.sender,
            header.recipient,
            int(header.kind),
            header.key_id,
            header.transfer,
            header.index,
            header.total,
            header.one_time,
        ]
    )


@lru_cache(maxsize=2048)
def _read_header(raw: bytes) -> Header:
    # Remembered: an agent's receipts, and what everybody gets of a version, have the same header every time.
    plain = messages.unpack(raw, items=MAX_HEADER)
    if not isinstance(plain, list) or not plain:
        raise MalformedError("a frame's header must be an array")
    fields = cast(list[object], plain)
    wire = fields[0]
    if type(wire) is not int:
        raise MalformedError("a frame's wire version must be an integer")
    # Before everything else: another version may have another header.
    if wire != WIRE:
        raise VersionError(wire, WIRE)
    known = fields[1:_FIELDS]
    # The types exactly: a boolean would pass for an integer.
    if [*map(type, known)] != _TYPES:
        raise MalformedError("a frame's header has a missing field or one of another type")
    federation, run, sender, recipient, number, key_id, transfer, index, total, one_time = cast(
        _Fields, known
    )
    kind = _KINDS.get(number)
    if kind is None:
        raise MalformedError("a frame's header has an unknown kind")
    header = Header(wire, federation, run, sender, recipient, kind, key_id, transfer, index, total, one_time)
    wrong = _wrong_field(header)
    if wrong:
        raise MalformedError(f"a frame's header has a wrong field: {wrong}")
    return header


def _wrong_field(header: Header) -> str:
    """Return the name of the first field that is out of its range, or ''."""
    kind, transfer = header.kind, header.transfer
    identified = kind in IDENTIFIED
    if _NAME.fullmatch(header.federation) is None:
        return "federation"
    if len(header.run) != 16:
        return "run"
    if _NAME.fullmatch(header.sender) is None:
        return "sender"
    if not _recipient_fits(header):
        return "recipient"
    if len(header.key_id) != (8 if identified else 0):
        return "key_id"
    if len(transfer) != 16 or not (identified or transfer == NO_ID):
        return "transfer"
    if not 1 <= header.total <= (MAX_TOTAL if kind in MANY else 1):
        return "total"
    if not 0 <= header.index < header.total:
        return "index"
    return "" if len(header.one_time) == (32 if kind is Kind.OFFER else 0) else "one_time"


def _recipient_fits(header: Header) -> bool:
    if header.kind in BROADCAST:
        return header.recipient == EVERYONE
    return _NAME.fullmatch(header.recipient) is not None
