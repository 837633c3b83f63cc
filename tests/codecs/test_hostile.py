"""Bytes from outside, damaged in every way that comes to mind: only peer errors, and never much memory."""

import tracemalloc
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.codecs import announcements, chunks, encodings, frames, messages, schema, sealing
from antiphon.codecs.errors import PeerError

KEY = sealing.SymmetricKey(bytes(32))
SIGNING = sealing.SigningKey.load(bytes(32))
LIMIT = 65536
MODEL = schema.infer({"n": np.zeros(9, np.int64), "w": np.zeros(3000, np.float32)})
PAYLOADS = [
    chunks.cut(
        MODEL,
        name,
        encodings.encode(np.zeros(3000, np.float32), name, np.random.default_rng(0)),
        bytes(72),
        cut,
    )
    for name in encodings.ENCODINGS
    for cut in chunks.plan(MODEL, name, 16384)
]
HEADER = frames.Header(
    1, "f", bytes(16), "a", "coordinator", frames.Kind.UPDATE_CHUNK, bytes(8), bytes(16), 0, 1
)


def read_frame(data: bytes) -> None:
    frames.open_frame(frames.read(data, LIMIT), KEY)


def read_chunk(data: bytes) -> None:
    chunk = chunks.parse(data, LIMIT)
    chunks.raw(chunk, MODEL)
    chunks.values(chunk, MODEL)


def read_schema(data: bytes) -> None:
    schema.decode(data, LIMIT)


def read_announcement(data: bytes) -> None:
    announcements.verify(data, SIGNING.public, LIMIT)


def read_offer(data: bytes) -> None:
    messages.decode(data, messages.Offer, LIMIT)


READERS: list[tuple[Callable[[bytes], None], list[bytes]]] = [
    (read_frame, [frames.seal_frame(HEADER, KEY, payload) for payload in PAYLOADS]),
    (read_chunk, PAYLOADS),
    (read_schema, [MODEL.encode()]),
    (read_announcement, [messages.pack([messages.pack({"wire": 1, "federation": "f"}), bytes(64)])]),
    (read_offer, [messages.pack({"incarnation": bytes(16), "inline": [b"x", b"y"], "metrics": {"a": 1.0}})]),
]
each_reader = pytest.mark.parametrize(("reader", "valid"), READERS, ids=lambda x: getattr(x, "__name__", ""))


@each_reader
@given(data=st.binary(max_size=400))
def test_random_bytes(reader: Callable[[bytes], None], valid: list[bytes], data: bytes) -> None:
    with suppress(PeerError):
        reader(data)


@each_reader
@settings(max_examples=200)
@given(draw=st.data())
def test_mutations(reader: Callable[[bytes], None], valid: list[bytes], draw: st.DataObject) -> None:
    data = bytearray(draw.draw(st.sampled_from(valid)))
    for _ in range(draw.draw(st.integers(1, 4))):
        place = draw.draw(st.integers(0, len(data) - 1))
        match draw.draw(st.sampled_from(["set", "cut", "insert", "repeat"])):
            case "set":
                data[place] = draw.draw(st.integers(0, 255))
            case "cut":
                del data[place : place + draw.draw(st.integers(1, 8))]
            case "insert":
                data[place:place] = draw.draw(st.binary(min_size=1, max_size=8))
            case _:
                data[place:place] = data[place : place + 9]
        if not data:
            return
    with suppress(PeerError):
        reader(bytes(data))


@given(
    section=st.integers(0, 1),
    first=st.integers(0, 5),
    count=st.integers(1, 80),
    encoding=st.sampled_from([*encodings.ENCODINGS, "exact"]),
    data=st.binary(max_size=60),
)
def test_well_formed_chunks_with_any_range_and_data(
    section: int, first: int, count: int, encoding: str, data: bytes
) -> None:
    packed = zstandard.ZstdCompressor().compress(data) if len(data) % 2 else data
    with suppress(PeerError):
        read_chunk(messages.pack([section, first, count, encoding, packed]))


def bombs() -> list[tuple[Callable[[bytes], None], bytes]]:
    zeros = zstandard.ZstdCompressor(level=19).compress(bytes(200_000_000))
    heads = b"\xdd\x00\x00\xff\xff" * 13_000
    maps = b"\xdf\x00\x00\x7f\xff" * 13_000
    return [
        (read_chunk, messages.pack([0, 0, 3, "float32", zeros])),
        (read_chunk, messages.pack([1, 0, 72, "exact", zeros])),
        (read_chunk, messages.pack([0, 0, 2**47, "float32", zeros])),
        (read_chunk, heads),
        (read_frame, heads),
        (read_frame, b"\x92" + heads),
        (read_frame, b"\xdd\x00\x01\x00\x00" + b"\x90" * 65_000),
        (read_offer, maps),
        (read_announcement, maps),
        (read_schema, heads),
        (read_schema, messages.pack({"version": 1, "tensors": [["w", [2**39], "float32", "weight", ""]]})),
    ]


@pytest.mark.parametrize("index", range(11))
def test_small_bytes_that_state_much_allocate_little(index: int) -> None:
    reader, data = bombs()[index]
    assert len(data) < LIMIT + 1000
    tracemalloc.start()
    try:
        with pytest.raises(PeerError):
            reader(data[:LIMIT])
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
