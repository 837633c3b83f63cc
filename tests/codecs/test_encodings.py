from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from antiphon.codecs import encodings
from antiphon.codecs.encodings import ENCODINGS
from antiphon.codecs.errors import MalformedError


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def roundtrip(values: np.ndarray[Any, Any], encoding: str) -> np.ndarray[Any, Any]:
    data = encodings.encode(values, encoding, rng())
    assert len(data) == encodings.encoded_size(encoding, values.size)
    return encodings.decode(data, encoding, values.size, values.dtype.name)


@given(st.lists(st.integers(0, 2**64 - 1), max_size=50))
def test_float64_comes_back_bit_for_bit_nan_payloads_included(bits: list[int]) -> None:
    values = np.array(bits, np.uint64).view(np.float64)
    assert roundtrip(values, "float64").tobytes() == values.tobytes()


@given(st.lists(st.integers(0, 2**32 - 1), max_size=50))
def test_float32_comes_back_bit_for_bit(bits: list[int]) -> None:
    values = np.array(bits, np.uint32).view(np.float32)
    assert roundtrip(values, "float32").tobytes() == values.tobytes()


@given(hnp.arrays(np.float32, st.integers(0, 40), elements=st.floats(width=32, allow_nan=False)))
def test_bfloat16_is_the_nearest_and_ties_go_to_even(values: np.ndarray[Any, Any]) -> None:
    back = roundtrip(values, "bfloat16")
    for value, got in zip(values.tolist(), back.tolist(), strict=True):
        assert got == nearest_bfloat16(value)


def nearest_bfloat16(value: float) -> float:
    """By comparison with the neighbours on both sides, in float64."""
    if np.isinf(value):
        return value
    bits = int(np.float32(value).view(np.uint32)) & 0xFFFF0000
    low, high = (
        float(np.array(candidate & 0xFFFFFFFF, np.uint32).view(np.float32))
        for candidate in (bits, bits + 0x10000)
    )
    if np.isinf(high):
        return low
    if abs(value - low) != abs(high - value):
        return low if abs(value - low) < abs(high - value) else high
    return low if not bits >> 16 & 1 else high


@pytest.mark.parametrize("bits", [0x7F800001, 0xFF800001, 0x7FC00000, 0xFFFFFFFF, 0x7F80FFFF])
def test_nan_stays_nan_in_bfloat16_with_its_sign(bits: int) -> None:
    value = np.array([bits], np.uint32).view(np.float32)
    back = roundtrip(value, "bfloat16")
    assert np.isnan(back[0])
    assert np.signbit(back[0]) == np.signbit(value[0])


@pytest.mark.parametrize(
    ("encoding", "largest"),
    [("float16", 65504.0), ("bfloat16", 3.3895313892515355e38), ("float32", 3.4028234663852886e38)],
)
def test_finite_number_saturates_and_infinity_stays(encoding: str, largest: float) -> None:
    values = np.array([1e300, -1e300, np.inf, -np.inf, np.nan, 1.0, 65520.0])
    back = roundtrip(values, encoding)
    assert back[:2].tolist() == [largest, -largest]
    assert back[2:4].tolist() == [np.inf, -np.inf]
    assert np.isnan(back[4])
    assert back[5] == 1.0
    assert np.isfinite(back[6])


def test_largest_float32_does_not_round_up_to_infinity_in_bfloat16() -> None:
    values = np.array([np.finfo(np.float32).max, -np.finfo(np.float32).max], np.float32)
    assert roundtrip(values, "bfloat16").tolist() == [3.3895313892515355e38, -3.3895313892515355e38]


def test_float16_rounds_to_nearest_even() -> None:
    assert roundtrip(np.array([2049.0, 2051.0, 1e-8], np.float32), "float16").tolist() == [
        2048.0,
        2052.0,
        0.0,
    ]


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025, 3000, 70_000])
def test_int8_stays_within_one_step_of_every_block(size: int) -> None:
    values = rng().standard_normal(size).astype(np.float32) * np.geomspace(1e-6, 1e6, max(size, 1))[:size]
    values = values.astype(np.float32)
    back = roundtrip(values, "int8")
    for start in range(0, size, 1024):
        block = values[start : start + 1024]
        step = np.abs(block).max() / 127
        assert np.abs(back[start : start + 1024] - block).max() <= step * 1.0001


def test_int8_is_unbiased() -> None:
    values = np.array([1.0, 0.3, -0.3, 0.001, -0.7777] + [0.0] * 1019, np.float32)
    rounds = 4000
    data = encodings.encode(np.tile(values, rounds), "int8", rng())
    mean = encodings.decode(data, "int8", 1024 * rounds, "float64").reshape(rounds, 1024).mean(axis=0)
    # Four standard errors of a rounding whose variance is at most a quarter of the squared step.
    assert np.abs(mean - values).max() <= 4 * 0.5 / 127 / rounds**0.5
    assert (mean[5:] == 0).all()


def test_int8_block_of_zeros_is_all_zero_bytes() -> None:
    assert encodings.encode(np.zeros(1030, np.float32), "int8", rng()) == bytes(4 + 1024 + 4 + 6)
    assert not roundtrip(np.zeros(1030, np.float32), "int8").any()


def test_int8_of_the_smallest_numbers_neither_divides_by_zero_nor_grows() -> None:
    values = np.full(2048, 1e-44, np.float32)
    back = roundtrip(values, "int8")
    assert np.isfinite(back).all()
    assert back.max() <= np.finfo(np.float32).tiny


def test_int8_of_the_largest_numbers_stays_finite() -> None:
    limit = float(np.finfo(np.float32).max)
    assert np.isfinite(roundtrip(np.array([limit, -limit, 1.0], np.float32), "int8")).all()
    saturated = roundtrip(np.array([1e300, -1e300, 1.0]), "int8")
    assert saturated[:2] == pytest.approx([limit, -limit], rel=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 1023, 1024, 1029])
def test_int8_refuses_what_is_not_finite(bad: float, place: int) -> None:
    values = np.ones(1030, np.float32)
    values[place] = bad
    with pytest.raises(ValueError, match="int8"):
        encodings.encode(values, "int8", rng())


def test_int8_layout_is_a_scale_and_then_signed_bytes() -> None:
    data = np.array([2.0], "<f4").tobytes() + np.array([1, -1, 127, -127], np.int8).tobytes()
    assert encodings.decode(data, "int8", 4, "float32").tolist() == [2.0, -2.0, 254.0, -254.0]


def test_hostile_int8_scale_decodes_without_a_warning() -> None:
    data = np.array([np.inf], "<f4").tobytes() + bytes([0, 1])
    back = encodings.decode(data, "int8", 2, "float32")
    assert np.isnan(back[0])
    assert np.isinf(back[1])


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_encoding_serves_both_dtypes_across_slabs(encoding: str, dtype: str) -> None:
    values = rng().standard_normal(150_001).astype(dtype)
    back = roundtrip(values, encoding)
    assert back.dtype == dtype
    assert np.abs(back - values).max() < 0.05


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_encoding_in_ranges_of_whole_blocks_gives_the_same_sizes(encoding: str) -> None:
    whole = encodings.encoded_size(encoding, 5000)
    assert whole == encodings.encoded_size(encoding, 2048) + encodings.encoded_size(encoding, 2952)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_strided_vector_is_encoded_like_a_copy(encoding: str) -> None:
    values = rng().standard_normal(6000).astype(np.float32)
    strided = encodings.encode(values[::2], encoding, rng())
    assert strided == encodings.encode(values[::2].copy(), encoding, rng())


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("wrong", [-1, 1])
def test_wrong_length_is_malformed(encoding: str, wrong: int) -> None:
    with pytest.raises(MalformedError):
        encodings.decode(bytes(encodings.encoded_size(encoding, 10) + wrong), encoding, 10, "float32")


def test_unknown_encoding_is_refused() -> None:
    with pytest.raises(MalformedError):
        encodings.encoded_size("int4", 10)
    with pytest.raises(MalformedError):
        encodings.decode(b"", "int4", 0, "float32")
    with pytest.raises(ValueError, match="int4"):
        encodings.encode(np.zeros(1), "int4", rng())


@pytest.mark.parametrize("values", [np.zeros((2, 2)), np.zeros(2, np.int32), np.zeros(2, np.float16)])
def test_values_of_another_shape_or_dtype_are_a_programming_error(values: Any) -> None:
    with pytest.raises(ValueError, match="one-dimensional"):
        encodings.encode(values, "float32", rng())
