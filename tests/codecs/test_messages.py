from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.codecs import messages
from antiphon.codecs.errors import LimitError, MalformedError, PeerError
from antiphon.codecs.messages import Announcement, GroupKey, GroupKeys, Note, Offer, Receipt

ID, DIGEST = bytes(range(16)), bytes(range(32))

OFFER = Offer(
    incarnation=ID,
    sequence=1,
    base=DIGEST,
    base_number=4,
    schema=DIGEST,
    digest=DIGEST,
    encoding="int8",
    chunks=1,
    size=5,
    examples=100,
    metrics={"loss": 0.5},
    inline=[b"chunk"],
)
NOTE = Note(
    type="ask", incarnation=ID, counter=3, updates=[messages.Asked(incarnation=ID, sequence=1, digest=DIGEST)]
)
RECEIPT = Receipt(
    type="granted",
    term=5,
    counter=1,
    newest_term=5,
    newest_number=7,
    missing=[[0, 3], [9, 1]],
    upto=12,
    window=65536,
)
ANNOUNCEMENT = Announcement(
    wire=1,
    federation="banks",
    run=ID,
    started=1.5,
    term=5,
    number=7,
    digest=DIGEST,
    schema=DIGEST,
    issued=2.5,
    state="running",
    hints={"proximal_mu": 0.1},
)
KEYS = GroupKeys(term=1, counter=2, keys=[GroupKey(id=bytes(8), key=DIGEST)])
EVERY: list[msgspec.Struct] = [
    OFFER,
    NOTE,
    RECEIPT,
    ANNOUNCEMENT,
    KEYS,
    messages.ModelContent(schema=b"s", chunks=[b"a", b"b"]),
    messages.Manifest(schema=b"s", digests=bytes(64)),
    messages.Page(piece=b"p", others=bytes(32)),
]


def names(message: object) -> str:
    return type(message).__name__


@pytest.mark.parametrize("message", EVERY, ids=names)
def test_message_comes_back(message: msgspec.Struct) -> None:
    data = messages.encode(message)
    assert messages.decode(data, type(message), len(data)) == message


@pytest.mark.parametrize("message", EVERY, ids=names)
def test_message_beyond_the_limit_is_not_read(message: msgspec.Struct) -> None:
    data = messages.encode(message)
    with pytest.raises(LimitError):
        messages.decode(data, type(message), len(data) - 1)


def test_fields_with_their_default_are_left_out() -> None:
    plain = messages.unpack(messages.encode(Note(type="hello", incarnation=ID, counter=1)))
    assert plain == {"type": "hello", "incarnation": ID, "counter": 1}


def test_unknown_keys_are_ignored() -> None:
    plain = messages.unpack(messages.encode(NOTE))
    data = messages.pack({**plain, "later": [1, 2]})
    assert messages.decode(data, Note, 1000) == NOTE


@pytest.mark.parametrize("key", ["type", "incarnation", "counter"])
def test_missing_field_is_malformed(key: str) -> None:
    plain = messages.unpack(messages.encode(NOTE))
    del plain[key]
    with pytest.raises(MalformedError, match=key):
        messages.decode(messages.pack(plain), Note, 1000)


@pytest.mark.parametrize(
    ("message", "field", "value"),
    [
        (NOTE, "type", "shout"),
        (NOTE, "incarnation", bytes(15)),
        (NOTE, "incarnation", "AAAAAAAAAAAAAAAAAAAAAA=="),
        (NOTE, "counter", -1),
        (NOTE, "counter", 1.5),
        (NOTE, "counter", True),
        (NOTE, "counter", 2**54),
        (NOTE, "chunks", [-1]),
        (NOTE, "chunks", [b"x"]),
        (NOTE, "updates", [{"incarnation": ID}]),
        (NOTE, "transfer", b"short"),
        (OFFER, "base", bytes(31)),
        (OFFER, "examples", -5),
        (OFFER, "seconds", float("nan")),
        (OFFER, "seconds", -1.0),
        (OFFER, "encoding", "x" * 41),
        (OFFER, "metrics", {"loss": "low"}),
        (OFFER, "metrics", {b"loss": 0.5}),
        (OFFER, "metrics", {str(n): 1.0 for n in range(257)}),
        (OFFER, "metrics", {"x" * 201: 1.0}),
        (OFFER, "inline", ["text"]),
        (RECEIPT, "missing", [[1]]),
        (RECEIPT, "missing", [[1, 2, 3]]),
        (RECEIPT, "missing", [[-1, 2]]),
        (RECEIPT, "after", float("inf")),
        (RECEIPT, "newest_number", -2),
        (RECEIPT, "detail", "x" * 1001),
        (ANNOUNCEMENT, "number", -2),
        (ANNOUNCEMENT, "started", float("nan")),
        (ANNOUNCEMENT, "state", "paused"),
        (ANNOUNCEMENT, "epoch", bytes(31)),
        (ANNOUNCEMENT, "federation", ""),
        (KEYS, "keys", [{"id": bytes(8), "key": bytes(31)}]),
        (KEYS, "keys", [{"id": bytes(9), "key": bytes(32)}]),
    ],
)
def test_field_of_another_type_or_out_of_its_range_is_malformed(
    message: msgspec.Struct, field: str, value: object
) -> None:
    plain = messages.unpack(messages.encode(message))
    data = messages.pack({**plain, field: value})
    with pytest.raises(MalformedError):
        messages.decode(data, type(message), 100_000)


@pytest.mark.parametrize("plain", [None, 1, [], "text", b"bytes", [1, 2]])
def test_what_is_no_map_is_malformed(plain: Any) -> None:
    with pytest.raises(MalformedError):
        messages.decode(messages.pack(plain), Note, 1000)


@given(st.sampled_from(EVERY), st.data())
def test_mutated_messages_raise_nothing_but_peer_errors(message: msgspec.Struct, data: st.DataObject) -> None:
    packed = bytearray(messages.encode(message))
    for _ in range(data.draw(st.integers(1, 3))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    try:
        messages.decode(bytes(packed), type(message), 10_000)
    except PeerError:
        return


def test_every_reason_is_listed_once() -> None:
    assert len(set(messages.REASONS)) == len(messages.REASONS)
