"""Error feedback, against numbers computed by hand."""

import numpy as np
import pytest
from numpy.typing import NDArray

from antiphon.agents import residual
from antiphon.codecs import encodings, schema

FLOAT32 = np.float32


def floats(*values: float) -> NDArray[np.float32]:
    return np.array(values, FLOAT32)


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def test_what_float16_leaves_out_stays() -> None:
    # float16 keeps 11 bits: 1 + 2**-12 lies half way between 1 and 1 + 2**-11... below it, and rounds to 1.
    encoded, rest = residual.compress(floats(1 + 2**-12, 2.0), None, "float16", rng())
    np.testing.assert_array_equal(encodings.decode(encoded, "float16", 2, "float32"), [1.0, 2.0])
    np.testing.assert_array_equal(rest, floats(2**-12, 0))


def test_what_was_left_out_goes_with_the_next() -> None:
    # p = 1 + 2**-12 + 2**-12 = 1 + 2**-11, one step of float16 above 1 is 2**-10: a tie, to even: 1.
    # Once more: p = 1 + 2**-12 + 2**-11 = 1 + 3 * 2**-12, nearer to 1 + 2**-10.
    delta, rest = floats(1 + 2**-12), floats(0)
    sent: list[float] = []
    for _ in range(4):
        encoded, rest = residual.compress(delta, rest, "float16", rng())
        sent.append(float(encodings.decode(encoded, "float16", 1, "float32")[0]))
    assert sent == [1.0, 1.0, 1 + 2**-10, 1.0]
    assert rest[0] == 0.0
    assert sum(sent) == 4 * (1 + 2**-12)


def test_a_rejected_update_comes_back_whole() -> None:
    encoded, rest = residual.compress(floats(1 + 2**-12, -3.0), floats(0, 0.5), "float16", rng())
    back = residual.restore(rest, encoded, "float16", 2, "float32")
    np.testing.assert_array_equal(back, floats(1 + 2**-12, -2.5))
    np.testing.assert_array_equal(residual.restore(None, encoded, "float16", 2, "float32"), floats(1, -2.5))


@pytest.mark.parametrize("encoding", ["float16", "bfloat16", "int8"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nothing_is_lost_over_many_updates(encoding: str, dtype: str) -> None:
    chance = np.random.default_rng(3)
    rest, total, sent = np.zeros(3000, dtype), np.zeros(3000), np.zeros(3000)
    for _ in range(30):
        delta = chance.normal(size=3000).astype(dtype)
        encoded, rest = residual.compress(delta, rest, encoding, chance)
        assert rest.dtype == dtype
        total += delta
        sent += encodings.decode(encoded, encoding, 3000, dtype)
    np.testing.assert_allclose(sent + rest, total, atol=1e-4)
    assert np.abs(rest).max() < 0.1  # it does not grow


def test_statistics_are_not_fed_back() -> None:
    own = schema.infer(
        {"a": np.zeros(1500, FLOAT32), "b.running_mean": np.zeros(600, FLOAT32), "c": np.zeros(400, FLOAT32)}
    )
    rest = residual.clear(np.ones(own.size - 1024, FLOAT32), own, 1024)
    np.testing.assert_array_equal(rest, [1.0] * 476 + [0.0] * 600 + [1.0] * 400)
    np.testing.assert_array_equal(residual.clear(np.ones(1024, FLOAT32), own, 0), np.ones(1024))


def test_a_sum_beyond_the_largest_number_is_left_out() -> None:
    largest = float(np.finfo(FLOAT32).max)
    encoded, rest = residual.compress(floats(largest, 1), floats(largest, 1), "float16", rng())
    np.testing.assert_array_equal(encodings.decode(encoded, "float16", 2, "float32"), floats(65504, 2))
    assert np.isfinite(rest).all()
    encoded = encodings.encode(floats(largest), "bfloat16", rng())
    np.testing.assert_array_equal(
        residual.restore(floats(largest), encoded, "bfloat16", 1, "float32"), floats(largest)
    )


def test_lossless_is_told_from_lossy() -> None:
    own = schema.infer({"w": np.zeros(3, np.float64)})
    assert not residual.is_lossy("float64", own)
    assert residual.is_lossy("float32", own)
