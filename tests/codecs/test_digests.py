import hashlib

import numpy as np
import pytest

from antiphon.codecs import digests


def test_digest_is_blake2b_with_person_and_key() -> None:
    expected = hashlib.blake2b(b"onetwo", digest_size=32, key=b"k", person=b"antiphon-test\0\0\0").digest()
    assert digests.digest("antiphon-test", b"one", memoryview(b"two"), key=b"k") == expected


def test_person_separates() -> None:
    assert digests.digest("a", b"x") != digests.digest("b", b"x")


def test_person_beyond_sixteen_characters_is_a_programming_error() -> None:
    with pytest.raises(ValueError):
        digests.digest("x" * 17)


def test_prefixed_has_its_length_before_it() -> None:
    assert digests.prefixed(b"abc") == b"\x00\x00\x00\x03abc"


@pytest.mark.parametrize(
    "values", [np.arange(5.0), np.arange(10.0)[::2], np.arange(5.0).astype(">f8"), np.zeros(0)]
)
def test_vector_bytes_are_little_endian_whatever_the_array(values: np.ndarray) -> None:  # type: ignore[type-arg]
    assert bytes(digests.little_endian(values)) == values.astype("<f8").tobytes()
