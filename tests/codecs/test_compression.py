from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from antiphon.codecs import compression
from antiphon.codecs.errors import LimitError, MalformedError, PeerError


@given(st.binary(min_size=1, max_size=300), st.sampled_from([1, 2, 4, 8]))
def test_whatever_is_compressed_comes_back(data: bytes, itemsize: int) -> None:
    data = data * itemsize
    assert compression.decompress(compression.compress(data, itemsize), itemsize, len(data)) == data


@pytest.mark.parametrize("itemsize", [2, 4, 8])
def test_shuffle_puts_first_bytes_of_all_items_first(itemsize: int) -> None:
    items = np.arange(3 * itemsize, dtype=np.uint8).reshape(3, itemsize)
    frame = compression.compress(items.tobytes(), itemsize)
    assert zstandard.ZstdDecompressor().decompress(frame) == items.T.tobytes()


def test_memoryview_is_taken_without_a_copy_of_ours() -> None:
    data = memoryview(bytes(range(64)))
    assert compression.decompress(compression.compress(data[8:40], 4), 4, 32) == bytes(data[8:40])


@pytest.mark.parametrize(("data", "itemsize"), [(b"", 1), (b"abc", 2), (b"abc", 3), (b"", 4)])
def test_nothing_or_broken_items_are_a_programming_error(data: bytes, itemsize: int) -> None:
    with pytest.raises(ValueError, match="items"):
        compression.compress(data, itemsize)


def test_frame_that_states_more_than_expected_is_refused_before_it_opens() -> None:
    bomb = zstandard.ZstdCompressor().compress(bytes(10_000_000))
    with pytest.raises(LimitError):
        compression.decompress(bomb, 1, 1000)


def test_frame_that_states_less_is_refused() -> None:
    with pytest.raises(MalformedError, match="states 3"):
        compression.decompress(compression.compress(b"abc", 1), 1, 4)


def test_frame_without_a_stated_size_is_refused() -> None:
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(b"abc")
    with pytest.raises(MalformedError, match="must state"):
        compression.decompress(frame, 1, 3)


def test_bytes_after_the_frame_are_refused() -> None:
    frame = compression.compress(b"abc", 1)
    for more in (b"\x00", frame):
        with pytest.raises(MalformedError):
            compression.decompress(frame + more, 1, 3)


def test_skippable_frames_are_refused() -> None:
    skippable = b"\x50\x2a\x4d\x18" + (3).to_bytes(4, "little") + b"abc"
    for data in (skippable, skippable + compression.compress(b"abc", 1)):
        with pytest.raises(MalformedError):
            compression.decompress(data, 1, 3)


def test_frame_that_needs_a_dictionary_is_refused() -> None:
    words = zstandard.ZstdCompressionDict(b"abcdefgh" * 20)
    trained = zstandard.train_dictionary(1024, [b"sample %d of many" % n for n in range(2000)])
    for dictionary in (words, trained):
        frame = zstandard.ZstdCompressor(dict_data=dictionary).compress(b"abcdefgh" * 5)
        if zstandard.get_frame_parameters(frame).dict_id:
            with pytest.raises(MalformedError):
                compression.decompress(frame, 1, 40)


def test_every_truncation_is_refused() -> None:
    frame = compression.compress(bytes(range(200)), 4)
    for length in range(len(frame)):
        with pytest.raises(MalformedError):
            compression.decompress(frame[:length], 4, 200)


def test_frame_that_lies_about_a_smaller_content_is_refused() -> None:
    frame = bytearray(compression.compress(b"a" * 100, 1))
    frame[5] = 200  # single segment, one byte of content size after magic and descriptor
    with pytest.raises(MalformedError):
        compression.decompress(bytes(frame), 1, 200)


@pytest.mark.parametrize(("exponent", "fits"), [(17, True), (18, False), (31, False)])
def test_frame_that_asks_for_a_large_window_is_refused(exponent: int, fits: bool) -> None:
    block = (3 << 3 | 1).to_bytes(3, "little") + b"abc"
    frame = b"\x28\xb5\x2f\xfd" + bytes([0x80, exponent << 3]) + (3).to_bytes(4, "little") + block
    if fits:
        assert compression.decompress(frame, 1, 3) == b"abc"
    else:
        with pytest.raises(PeerError):
            compression.decompress(frame, 1, 3)


@pytest.mark.parametrize(("itemsize", "size"), [(1, 0), (2, 3), (3, 3), (1, -1)])
def test_size_that_no_chunk_can_have_is_malformed(itemsize: int, size: int) -> None:
    with pytest.raises(MalformedError):
        compression.decompress(compression.compress(b"abc", 1), itemsize, size)


@given(st.binary(max_size=200), st.integers(1, 64))
def test_random_bytes_raise_nothing_but_peer_errors(data: bytes, size: int) -> None:
    for candidate in (data, b"\x28\xb5\x2f\xfd" + data):
        with suppress(PeerError):
            assert len(compression.decompress(candidate, 1, size)) == size


def test_threads_share_nothing() -> None:
    pieces = [np.random.default_rng(n).bytes(200_000) for n in range(16)]
    with ThreadPoolExecutor(4) as pool:
        frames = list(pool.map(compression.compress, pieces, [4] * 16))
        back = list(pool.map(compression.decompress, frames, [4] * 16, [200_000] * 16))
    assert back == pieces


def test_what_does_not_compress_grows_by_no_more_than_its_heads() -> None:
    data = np.random.default_rng(0).bytes(4 << 20)
    assert len(compression.compress(data, 4)) <= len(data) + 18 + 3 * 32
