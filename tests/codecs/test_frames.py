from typing import Any

import pytest
from msgspec.structs import replace

from antiphon.codecs import frames, messages
from antiphon.codecs.errors import LimitError, MalformedError, PeerError, SealError, VersionError
from antiphon.codecs.frames import Header, Kind
from antiphon.codecs.sealing import SymmetricKey

KEY = SymmetricKey(bytes(range(32)))
LIMIT = 10_000


def header(kind: Kind = Kind.NOTE) -> Header:
    identified, many = kind in frames.IDENTIFIED, kind in frames.MANY
    return Header(
        wire=1,
        federation="banks",
        run=bytes([1]) * 16,
        sender="bank-1",
        recipient="*" if kind in frames.BROADCAST else "coordinator",
        kind=kind,
        key_id=bytes([2]) * 8 if identified else b"",
        transfer=bytes([3]) * 16 if identified else frames.NO_ID,
        index=2 if many else 0,
        total=5 if many else 1,
        one_time=bytes([4]) * 32 if kind is Kind.OFFER else b"",
    )


def fields(kind: Kind = Kind.NOTE) -> list[Any]:
    return messages.unpack(frames.encode_header(header(kind)))


def frame_of(raw_fields: object, body: object = bytes(40)) -> bytes:
    return messages.pack([messages.pack(raw_fields), body])


@pytest.mark.parametrize("kind", list(Kind))
def test_frame_of_every_kind_opens(kind: Kind) -> None:
    frame = frames.read(frames.seal_frame(header(kind), KEY, b"content"), LIMIT)
    assert frame.header == header(kind)
    assert frame.header.kind is kind
    assert frames.open_frame(frame, KEY) == b"content"


@pytest.mark.parametrize("kind", [Kind.NOTE, Kind.OFFER])
def test_every_byte_of_a_frame_matters(kind: Kind) -> None:
    sealed = frames.seal_frame(header(kind), KEY, b"content")
    for place in range(len(sealed)):
        for flip in (1, 0x80):
            tampered = bytearray(sealed)
            tampered[place] ^= flip
            with pytest.raises(PeerError):
                frames.open_frame(frames.read(bytes(tampered), LIMIT), KEY)


def test_every_truncation_and_every_byte_more_is_refused() -> None:
    sealed = frames.seal_frame(header(), KEY, b"content")
    for length in range(len(sealed)):
        with pytest.raises(PeerError):
            frames.open_frame(frames.read(sealed[:length], LIMIT), KEY)
    with pytest.raises(MalformedError):
        frames.read(sealed + b"\x00", LIMIT)


@pytest.mark.parametrize(
    "change",
    [
        {"federation": "other"},
        {"run": bytes(16)},
        {"sender": "bank-2"},
        {"recipient": "bank-3"},
        {"key_id": bytes(8)},
        {"transfer": bytes(16)},
        {"index": 3},
        {"total": 6},
    ],
)
def test_body_under_another_header_does_not_open(change: dict[str, Any]) -> None:
    frame = frames.read(frames.seal_frame(header(Kind.UPDATE_CHUNK), KEY, b"content"), LIMIT)
    moved = messages.pack([frames.encode_header(replace(header(Kind.UPDATE_CHUNK), **change)), frame.body])
    with pytest.raises(SealError):
        frames.open_frame(frames.read(moved, LIMIT), KEY)


def test_associated_data_are_the_header_bytes_as_received() -> None:
    frame = frames.read(frames.seal_frame(header(), KEY, b"content"), LIMIT)
    # The same values, with the wire version written in two bytes.
    longer = frame.raw_header[:1] + b"\xcc\x01" + frame.raw_header[2:]
    read = frames.read(messages.pack([longer, frame.body]), LIMIT)
    assert read.header == frame.header
    with pytest.raises(SealError):
        frames.open_frame(read, KEY)


def test_sealing_twice_gives_other_bytes() -> None:
    assert frames.seal_frame(header(), KEY, b"x") != frames.seal_frame(header(), KEY, b"x")


def test_trailing_header_fields_are_ignored() -> None:
    read = frames.read(frame_of([*fields(), "later", 7]), LIMIT)
    assert read.header == header()


def test_another_wire_version_is_refused_whatever_else_its_header_holds() -> None:
    for theirs in (0, 2, 2**63):
        with pytest.raises(VersionError):
            frames.read(frame_of([theirs, {"new": "layout"}]), LIMIT)


def test_frame_or_header_beyond_its_limit_is_not_read() -> None:
    sealed = frames.seal_frame(header(), KEY, b"content")
    with pytest.raises(LimitError):
        frames.read(sealed, len(sealed) - 1)
    with pytest.raises(LimitError):
        frames.read(frame_of([*fields(), "x" * 1024]), LIMIT)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, True),
        (0, "1"),
        (1, b"banks"),
        (1, ""),
        (1, "Banks"),
        (1, "b" * 41),
        (2, bytes(15)),
        (3, "bank/1"),
        (3, "*"),
        (3, "bank-1\n"),
        (4, "*"),
        (5, 0),
        (5, 8),
        (5, True),
        (6, bytes(8)),
        (7, bytes(15)),
        (7, bytes([1]) * 16),
        (8, 1),
        (8, False),
        (8, -1),
        (9, 0),
        (9, 2),
        (9, True),
        (10, bytes(32)),
        (10, None),
    ],
)
def test_note_with_a_wrong_header_field_is_malformed(place: int, value: object) -> None:
    changed = fields()
    changed[place] = value
    with pytest.raises(MalformedError):
        frames.read(frame_of(changed), LIMIT)


@pytest.mark.parametrize(
    ("place", "value"), [(4, "bank-1"), (6, b""), (8, 5), (9, 2**32 + 1), (9, 2), (10, bytes(32))]
)
def test_model_chunk_with_a_wrong_header_field_is_malformed(place: int, value: object) -> None:
    changed = fields(Kind.MODEL_CHUNK)
    changed[place] = value
    with pytest.raises(MalformedError):
        frames.read(frame_of(changed), LIMIT)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        messages.pack([]),
        messages.pack([b"", b"", b""]),
        messages.pack(["header", b"body"]),
        messages.pack({b"h": b"b"}),
        frame_of(fields(), "body"),
        frame_of(fields(), bytes(39)),
        frame_of(fields()[:10]),
        frame_of([]),
        frame_of({}),
        frame_of(7),
        messages.pack([b"\xc1", bytes(40)]),
    ],
)
def test_bytes_of_another_shape_are_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError):
        frames.read(data, LIMIT)


@pytest.mark.parametrize("change", [{"wire": 2}, {"index": 1}, {"run": b""}, {"one_time": bytes(32)}])
def test_header_that_nobody_would_take_is_not_sent(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="wrong field"):
        frames.seal_frame(replace(header(), **change), KEY, b"")


def test_frame_digest_covers_the_whole_frame() -> None:
    sealed = frames.seal_frame(header(), KEY, b"content")
    assert frames.frame_digest(sealed) == frames.frame_digest(memoryview(sealed))
    assert frames.frame_digest(sealed) != frames.frame_digest(sealed[:-1])


@pytest.mark.parametrize("size", [0, 215, 216, 65_495, 65_496, 100_000])
def test_size_of_a_sealed_frame_is_known_before_it_is_sealed(size: int) -> None:
    sealed = frames.seal_frame(header(Kind.OFFER), KEY, bytes(size))
    assert frames.sealed_size(header(Kind.OFFER), size) == len(sealed)
