"""From Δ to an update on disk."""

from pathlib import Path

import numpy as np
import pytest

from antiphon.agents import update
from antiphon.agents.outbox import Head, Outbox
from antiphon.agents.settings import Encoding
from antiphon.codecs import encodings, schema
from antiphon.codecs.chunks import UpdateDigest


def head(encoding: str) -> Head:
    return Head(
        run=bytes(16),
        incarnation=b"i" * 16,
        sequence=1,
        base=b"b" * 32,
        base_term=1,
        base_number=4,
        schema=b"",
        digest=bytes(32),
        encoding=encoding,
        vector_bytes=0,
        exact_bytes=0,
        raw_bytes=0,
        examples=10,
    )


@pytest.mark.parametrize("encoding", ["float32", "int8"])
def test_what_is_on_disk_is_what_the_digest_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    monkeypatch.setattr(update, "SLAB", 2048)
    params = {"w": np.zeros(5000, np.float32), "n": np.array(3, np.int64)}
    own = schema.infer(params)
    delta, exact = np.random.default_rng(1).normal(size=5000).astype(np.float32), bytes(8)
    outbox = Outbox(tmp_path, 1 << 20, 0)
    outbox.load()
    entry = update.store(outbox, head(encoding), own, delta, exact, np.random.default_rng(2))
    vector, section = entry.content()
    assert (entry.head.vector_bytes, entry.head.exact_bytes) == (len(vector), len(section))
    assert len(vector) + len(section) == update.size(own, encoding)
    assert entry.head.raw_bytes == 20_000
    digest = UpdateDigest(own.digest, b"b" * 32, encoding)
    digest.update(vector)
    digest.update(section)
    assert entry.head.digest == digest.digest()
    found = encodings.decode(vector, encoding, 5000, "float32")
    np.testing.assert_allclose(found, delta, atol=0.05 if encoding == "int8" else 0)


@pytest.mark.parametrize(
    ("wanted", "dtype", "initial", "found"),
    [
        ("lossless", np.float32, False, "float32"),
        ("lossless", np.float64, False, "float64"),
        ("float64", np.float32, False, "float32"),
        ("float32", np.float64, False, "float32"),
        ("int8", np.float64, False, "int8"),
        ("int8", np.float64, True, "float64"),
        ("bfloat16", np.float32, True, "float32"),
    ],
)
def test_encoding_on_the_wire(wanted: Encoding, dtype: type[np.floating], initial: bool, found: str) -> None:
    own = schema.infer({"w": np.zeros(3, dtype)})
    assert update.wire_encoding(wanted, own, initial=initial) == found
