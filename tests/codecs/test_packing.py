import tracemalloc
from contextlib import suppress
from typing import Any, cast

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.codecs import packing
from antiphon.codecs.errors import MalformedError
from antiphon.codecs.messages import Page

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=40)
    | st.binary(max_size=400),
    lambda inner: (
        st.lists(inner, max_size=20)
        | st.dictionaries(st.text(max_size=5) | st.binary(max_size=5), inner, max_size=20)
    ),
    max_leaves=40,
)


def depth(value: object) -> int:
    inner: list[object] = []
    if isinstance(value, dict):
        inner = list(cast(dict[object, object], value).values())
    elif isinstance(value, list):
        inner = cast(list[object], value)
    else:
        return 0
    return 1 + max(map(depth, inner), default=0)


@given(plain)
def test_what_is_packed_comes_back(value: Any) -> None:
    if depth(value) <= packing.DEPTH:
        assert packing.unpack(packing.pack(value)) == value


@pytest.mark.parametrize("size", [0, 15, 16, 31, 32, 255, 256, 65535, 65536])
def test_every_width_of_length_is_understood(size: int) -> None:
    for value in ("x" * size, b"x" * size, [1] * size, {str(n): n for n in range(size)}):
        assert packing.unpack(packing.pack(value), items=2 * size) == value


def test_data_may_be_a_view() -> None:
    assert packing.unpack(memoryview(b"..\x93\x01\x02\x03")[2:]) == [1, 2, 3]
    assert packing.unpack(bytearray(b"\x2a")) == 42


def test_more_items_than_allowed_are_refused() -> None:
    assert packing.unpack(packing.pack([1, [2, 3]]), items=4) == [1, [2, 3]]
    for value in ([1, [2, 3]], {"a": [1, 2]}, [1, 2, 3, 4]):
        with pytest.raises(MalformedError, match="many"):
            packing.unpack(packing.pack(value), items=3)


def test_too_deep_nesting_is_refused() -> None:
    for data in (
        b"\x91" * (packing.DEPTH + 1) + b"\xc0",
        b"\x91" * 100_000 + b"\xc0",
        b"\x81\xa0" * 50_000 + b"\xc0",
    ):
        with pytest.raises(MalformedError):
            packing.unpack(data, items=10**6)


def test_nested_heads_that_state_much_allocate_nothing() -> None:
    attack = b"\xdd\x00\x08\x00\x00" * 400 + b"\xc0"
    tracemalloc.start()
    try:
        with pytest.raises(MalformedError):
            packing.unpack(attack)
        assert tracemalloc.get_traced_memory()[1] < 50_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\xc0\xc0",
        b"\x92\x01",
        b"\xa5abc",
        b"\xc4\x05abc",
        b"\xc6\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xcf\x00",
        b"\xcb\x00",
        b"\xd9",
        b"\xa1\xff",
        b"\x81\x01\x02",
        b"\x81\x91\x01\x02",
        b"\xd4\x00\x00",
        b"\xc7\x01\x00\x00",
        b"\xd6\xff\x00\x00\x00\x00",
        b"\xd8" + bytes(17),
    ],
)
def test_bytes_that_are_not_one_plain_value_are_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError):
        packing.unpack(data)


@given(st.binary(max_size=200))
def test_random_bytes_are_a_value_or_malformed(data: bytes) -> None:
    try:
        value = packing.unpack(data)
    except MalformedError:
        return
    assert value == msgpack.unpackb(data) or value != value  # NaN


@given(plain, st.data())
def test_mutated_values_are_a_value_or_malformed(value: Any, data: st.DataObject) -> None:
    packed = bytearray(packing.pack(value))
    packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    try:
        packing.unpack(bytes(packed))
    except MalformedError:
        return


@pytest.mark.parametrize("sizes", [(0, 0), (1, 300), (300, 70_000), (70_000, 1)])
def test_pair_of_byte_strings_is_read_whatever_their_lengths(sizes: tuple[int, int]) -> None:
    pair = [bytes(size) for size in sizes]
    packed = packing.pack(pair)
    assert packing.unpack_pair(packed, "no pair") == tuple(pair)
    assert packing.unpack_pair(memoryview(packed), "no pair") == tuple(pair)
    for bad in (packed[:-1], packed + b"\0", packed[:1], b""):
        with pytest.raises(MalformedError):
            packing.unpack_pair(bad, "no pair")


@pytest.mark.parametrize(
    "other", [[b"a"], [b"a", "b"], [b"a", b"b", b"c"], {b"a": b"b"}, [[b"a"], b"b"], 7, b"ab"]
)
def test_anything_but_a_pair_of_byte_strings_is_refused(other: object) -> None:
    with pytest.raises(MalformedError):
        packing.unpack_pair(packing.pack(other), "no pair")


def test_pair_in_longer_forms_is_still_one() -> None:
    assert packing.unpack_pair(b"\xdc\x00\x02\xc5\x00\x01a\xc6\x00\x00\x00\x01b", "no pair") == (b"a", b"b")


PIECE = b"\xa5piece\xc4\x01p"


@pytest.mark.parametrize(
    "data",
    [
        b"\x82" + PIECE + b"\xa1x\xa1\xff",  # text that is no UTF-8
        b"\x82" + PIECE + b"\xa1x\x81\x01\x02",  # a key that is no string
        b"\x82\xa5piece\xc4\x01q" + PIECE,  # the last repetition counts
    ],
)
def test_what_a_message_does_not_know_is_skipped_unread(data: bytes) -> None:
    assert packing.unpack_as(data, Page) == Page(piece=b"p")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc0",
        b"\x81\xa5piece\xa1p",  # text for bytes
        b"\x82\xa5piece\xff" + PIECE,  # every repetition must be right
        b"\x81" + PIECE + b"\xc0",  # something follows
        b"\x82" + PIECE + b"\xa1x",  # cut off
        b"\x82" + PIECE + b"\xa1x\xd4\x01\x02",  # an extension type
        b"\x82" + PIECE + b"\xa1x" + b"\x91" * packing.DEPTH + b"\xc0",  # too deep
        b"\x82" + PIECE + b"\xa1x\xdd\xff\xff\xff\xff",  # too many
    ],
)
def test_message_that_is_not_as_it_must_be_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError):
        packing.unpack_as(data, Page)


@given(st.binary(max_size=60))
def test_random_bytes_are_a_message_or_malformed(data: bytes) -> None:
    with suppress(MalformedError):
        assert isinstance(packing.unpack_as(data, Page), Page)
