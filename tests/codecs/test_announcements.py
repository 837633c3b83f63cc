from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.codecs import announcements, messages
from antiphon.codecs.errors import LimitError, MalformedError, PeerError, SealError, VersionError
from antiphon.codecs.messages import Announcement
from antiphon.codecs.sealing import SigningKey

KEY = SigningKey.load(bytes([7]) * 32)
LIMIT = 1024
NEWEST = Announcement(
    wire=1,
    federation="banks",
    run=bytes(16),
    started=1.0,
    term=3,
    number=9,
    digest=bytes(32),
    schema=bytes(32),
    issued=2.0,
    state="running",
    epoch=bytes([9]) * 32,
    key=bytes(8),
    transfer=bytes(16),
    slot=2,
    chunks=40,
    pages=1,
    page=bytes(32),
)
RAW = announcements.sign(NEWEST, KEY)


def signed(payload: bytes) -> bytes:
    return messages.pack([payload, KEY.sign(announcements.CONTEXT + payload)])


def test_signed_announcement_is_verified_and_small() -> None:
    assert announcements.verify(RAW, KEY.public, LIMIT) == NEWEST
    assert len(RAW) <= LIMIT


def test_every_byte_of_an_announcement_matters() -> None:
    for place in range(len(RAW)):
        tampered = bytearray(RAW)
        tampered[place] ^= 1
        with pytest.raises((SealError, MalformedError)):
            announcements.verify(bytes(tampered), KEY.public, LIMIT)


def test_announcement_of_somebody_with_the_group_key_alone_is_refused() -> None:
    forged = announcements.sign(NEWEST, SigningKey.generate())
    with pytest.raises(SealError):
        announcements.verify(forged, KEY.public, LIMIT)


def test_signature_without_its_context_is_refused() -> None:
    payload = messages.encode(NEWEST)
    with pytest.raises(SealError):
        announcements.verify(messages.pack([payload, KEY.sign(payload)]), KEY.public, LIMIT)


def test_announcement_beyond_the_limit_is_not_read() -> None:
    with pytest.raises(LimitError):
        announcements.verify(RAW, KEY.public, len(RAW) - 1)


def test_another_wire_version_is_told_even_if_its_fields_are_new() -> None:
    with pytest.raises(VersionError):
        announcements.verify(signed(messages.pack({"wire": 2, "all": "new"})), KEY.public, LIMIT)


def test_another_wire_version_is_told_even_if_its_fields_are_those_of_ours() -> None:
    with pytest.raises(VersionError):
        announcements.verify(
            announcements.sign(msgspec.structs.replace(NEWEST, wire=2), KEY), KEY.public, LIMIT
        )


def test_wire_version_is_believed_only_under_the_signature() -> None:
    other = messages.encode(msgspec.structs.replace(NEWEST, wire=2))
    with pytest.raises(SealError):
        announcements.verify(messages.pack([other, bytes(64)]), KEY.public, LIMIT)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        messages.pack([b""]),
        messages.pack([b"", b"", b""]),
        messages.pack(["", b""]),
        messages.pack({}),
        signed(b""),
        signed(messages.pack([1])),
        signed(messages.pack({})),
        signed(messages.pack({"wire": True})),
    ],
)
def test_bytes_of_another_shape_are_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedError):
        announcements.verify(raw, KEY.public, LIMIT)


@pytest.mark.parametrize("length", [0, 63, 65])
def test_signature_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(SealError):
        announcements.verify(messages.pack([messages.encode(NEWEST), bytes(length)]), KEY.public, LIMIT)


@given(st.binary(max_size=300))
def test_random_bytes_raise_nothing_but_peer_errors(data: bytes) -> None:
    for raw in (data, messages.pack([data, bytes(64)]), signed(data)):
        with suppress(PeerError):
            announcements.verify(raw, KEY.public, LIMIT)
