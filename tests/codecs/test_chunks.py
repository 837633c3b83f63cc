from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.codecs import chunks, compression, encodings, frames, messages, schema, sealing
from antiphon.codecs.chunks import Assembly, Chunk, Cut
from antiphon.codecs.errors import ConfigError, LimitError, MalformedError

BLOCK = schema.BLOCK


def model(elements: int, counters: int) -> schema.Schema:
    return schema.infer({"w": np.zeros(elements, np.float32), "z": np.zeros(counters, np.uint8)})


def noise(elements: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(1).integers(0, 2**31 - 2**24, elements, np.uint32).view(np.float32)


def cut_all(ours: schema.Schema, encoding: str, encoded: bytes, exact: bytes, limit: int) -> list[bytes]:
    return [chunks.cut(ours, encoding, encoded, exact, cut) for cut in chunks.plan(ours, encoding, limit)]


@given(
    elements=st.integers(0, 9000),
    counters=st.integers(0, 40_000),
    encoding=st.sampled_from(encodings.ENCODINGS),
    limit=st.integers(16384, 40_000),
    order=st.randoms(use_true_random=False),
)
def test_chunks_in_any_order_give_the_model_back(
    elements: int, counters: int, encoding: str, limit: int, order: Any
) -> None:
    ours = model(elements, counters)
    vector = np.random.default_rng(0).standard_normal(elements).astype(np.float32)
    exact = np.random.default_rng(0).bytes(counters)
    encoded = encodings.encode(vector, encoding, np.random.default_rng(0))
    payloads = cut_all(ours, encoding, encoded, exact, limit)
    arrived = list(enumerate(payloads))
    order.shuffle(arrived)
    parsed = {index: chunks.parse(payload, limit) for index, payload in arrived}
    whole = [parsed[index] for index in sorted(parsed)]
    chunks.covers(whole, ours)
    assert b"".join(chunks.raw(chunk, ours) for chunk in whole) == encoded + exact
    got = [chunks.values(chunk, ours) for chunk in whole if chunk.section == 0]
    expected = encodings.decode(encoded, encoding, elements, "float32")
    assert np.concatenate([np.zeros(0, np.float32), *got]).tobytes() == expected.tobytes()


@pytest.mark.parametrize("limit", [16384, 65536, 524288, 16 << 20])
@pytest.mark.parametrize("encoding", encodings.ENCODINGS)
def test_frames_of_what_does_not_compress_stay_within_the_limit(encoding: str, limit: int) -> None:
    elements = min(limit // encodings.encoded_size(encoding, BLOCK) + 2, 18_000) * BLOCK
    ours = model(elements, min(limit + 10, 20_000_000))
    encoded = np.random.default_rng(0).bytes(encodings.encoded_size(encoding, elements))
    exact = np.random.default_rng(1).bytes(ours.exact_size)
    longest = "a" * 40
    key = sealing.SymmetricKey(bytes(32))
    some = bytes([255]) * 16
    header = frames.Header(
        1, longest, some, longest, longest, frames.Kind.UPDATE_CHUNK, some[:8], some, 2**32 - 2, 2**32 - 1
    )
    pieces = chunks.plan(ours, encoding, limit)
    for piece in (pieces[0], pieces[-1], max(pieces, key=lambda cut: cut.count)):
        payload = chunks.cut(ours, encoding, encoded, exact, piece)
        assert len(frames.seal_frame(header, key, messages.pack([2**40, payload]))) <= limit


def test_plan_uses_the_room_that_there_is() -> None:
    assert chunks.plan(model(256 * BLOCK, 0), "float32", 524288) == (
        Cut(0, 0, 127),
        Cut(0, 127, 127),
        Cut(0, 254, 2),
    )


def test_model_without_any_data_needs_no_chunk() -> None:
    assert chunks.plan(model(0, 0), "float32", 65536) == ()
    chunks.covers([], model(0, 0))


def test_frame_limit_below_one_block_is_refused_in_words() -> None:
    with pytest.raises(ConfigError, match="packet limit"):
        chunks.plan(model(10, 0), "float64", 8192)


@pytest.mark.parametrize(
    "plain",
    [
        [0, 0, 1, "float32"],
        [0, 0, 1, "float32", b"", 1],
        {"section": 0},
        [2, 0, 1, "float32", b"x"],
        [-1, 0, 1, "float32", b"x"],
        [0, -1, 1, "float32", b"x"],
        [0, 0, 0, "float32", b"x"],
        [0, 2**48, 1, "float32", b"x"],
        [0, 2**64 - 1, 2**64 - 1, "float32", b"x"],
        [False, 0, 1, "float32", b"x"],
        [0, False, 1, "float32", b"x"],
        [0, 0, True, "float32", b"x"],
        [0, 0.0, 1, "float32", b"x"],
        [0, 0, 1, b"float32", b"x"],
        [0, 0, 1, "exact", b"x"],
        [0, 0, 1, "int4", b"x"],
        [1, 0, 1, "float32", b"x"],
        [0, 0, 1, "float32", "x"],
        [0, 0, 1, "float32", [1]],
    ],
)
def test_payload_of_another_shape_is_malformed(plain: object) -> None:
    with pytest.raises(MalformedError):
        chunks.parse(messages.pack(plain), 1000)


def test_payload_beyond_the_limit_is_not_read() -> None:
    payload = messages.pack([0, 0, 1, "float32", b"x"])
    assert chunks.parse(payload, len(payload)).data == b"x"
    with pytest.raises(LimitError):
        chunks.parse(payload, len(payload) - 1)


@pytest.mark.parametrize(
    "chunk",
    [
        Chunk(0, 2, 1, "float32", b""),
        Chunk(0, 0, 3, "float32", b""),
        Chunk(1, 0, 6, "exact", b""),
        Chunk(7, 0, 1, "exact", b""),
        Chunk(0, 1, 1, "float32", compression.compress(bytes(4096), 4)),
        Chunk(0, 0, 1, "float32", compression.compress(bytes(2048), 4)),
        Chunk(0, 0, 1, "int4", b""),
        Chunk(1, 0, 5, "exact", b"damaged"),
    ],
)
def test_chunk_outside_the_schema_or_of_another_size_is_refused(chunk: Chunk) -> None:
    with pytest.raises((MalformedError, LimitError)):
        chunks.raw(chunk, model(BLOCK + 1, 5))


def test_exact_section_holds_no_values() -> None:
    chunk = Chunk(1, 0, 5, "exact", compression.compress(b"abcde", 1))
    assert chunks.raw(chunk, model(0, 5)) == b"abcde"
    with pytest.raises(MalformedError):
        chunks.values(chunk, model(0, 5))


@pytest.mark.parametrize(
    "piece", [Cut(0, 0, 3), Cut(0, 2, 1), Cut(1, 0, 6), Cut(2, 0, 1), Cut(0, 0, 0), Cut(0, -1, 1)]
)
def test_cutting_outside_the_model_is_a_programming_error(piece: Cut) -> None:
    with pytest.raises(ValueError, match="outside"):
        chunks.cut(model(BLOCK + 1, 5), "float32", bytes(4 * BLOCK + 4), bytes(5), piece)


def test_cutting_from_a_vector_of_another_length_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="length"):
        chunks.cut(model(BLOCK, 0), "float32", bytes(10), b"", Cut(0, 0, 1))


def tiles(*ranges: tuple[int, int, int], encoding: str = "float32") -> list[Chunk]:
    return [Chunk(s, f, c, encoding if s == 0 else "exact", b"") for s, f, c in ranges]


@pytest.mark.parametrize(
    "wrong",
    [
        tiles(),
        tiles((0, 0, 4)),
        tiles((0, 0, 4), (1, 0, 4)),
        tiles((0, 0, 4), (1, 0, 6)),
        tiles((0, 0, 5), (1, 0, 5)),
        tiles((0, 0, 2), (0, 3, 1), (1, 0, 5)),
        tiles((0, 0, 2), (0, 1, 3), (1, 0, 5)),
        tiles((0, 2, 2), (0, 0, 2), (1, 0, 5)),
        tiles((1, 0, 5), (0, 0, 4)),
        tiles((0, 0, 4), (1, 0, 5), (0, 0, 4)),
        tiles((0, 0, 4), (1, 0, 5), (1, 5, 1)),
        tiles((0, 0, 2), encoding="float16") + tiles((0, 2, 2), (1, 0, 5)),
        tiles((0, 0, 0), (0, 0, 4), (1, 0, 5)),
    ],
)
def test_chunks_that_do_not_tile_the_model_are_malformed(wrong: list[Chunk]) -> None:
    with pytest.raises(MalformedError):
        chunks.covers(wrong, model(3 * BLOCK + 1, 5))


def test_chunks_that_tile_the_model_pass() -> None:
    chunks.covers(tiles((0, 0, 1), (0, 1, 3), (1, 0, 2), (1, 2, 3)), model(3 * BLOCK + 1, 5))
    chunks.covers(tiles((1, 0, 5)), model(0, 5))
    chunks.covers(tiles((0, 0, 1)), model(5, 0))


@given(st.integers(0, 300), st.lists(st.integers(0, 299)), st.integers(0, 200))
def test_assembly_tells_what_is_missing(total: int, arrivals: list[int], limit: int) -> None:
    assembly, here = Assembly(total), set[int]()
    for index in arrivals:
        if index < total:
            assert assembly.add(index) == (index not in here)
            here.add(index)
    runs, upto = assembly.missing(limit)
    assert sum(len(messages.pack(run)) for run in runs) <= limit
    listed = {index for first, count in runs for index in range(first, first + count)}
    assert listed == {index for index in range(upto) if index not in here}
    assert assembly.complete == (len(here) == total)
    assert assembly.count == len(here)
    assert all((index in assembly) == (index in here) for index in range(-1, 301))
    if limit == 200 and len(runs) < 10:
        assert upto == total


@pytest.mark.parametrize("index", [-1, 3, 2**40])
def test_chunk_that_the_transfer_does_not_have_is_malformed(index: int) -> None:
    with pytest.raises(MalformedError):
        Assembly(3).add(index)


def test_transfer_of_fewer_than_no_chunks_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="fewer"):
        Assembly(-1)


def test_update_digest_does_not_depend_on_the_pieces() -> None:
    one, two = (chunks.UpdateDigest(bytes(32), bytes(32), "int8") for _ in range(2))
    one.update(b"abcdef")
    two.update(b"abc")
    two.update(memoryview(b"def"))
    assert one.digest() == two.digest()
    other = chunks.UpdateDigest(bytes(32), bytes(32), "float32")
    other.update(b"abcdef")
    assert other.digest() != one.digest()
