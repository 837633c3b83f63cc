"""From Δ to an update on disk, with and without error feedback."""

import errno
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from outboxes import blank, fresh, mark

from antiphon.agents import update
from antiphon.agents.entries import Entry
from antiphon.agents.outbox import Outbox
from antiphon.agents.settings import Encoding
from antiphon.codecs import encodings, schema
from antiphon.codecs.chunks import UpdateDigest
from antiphon.codecs.errors import StateError
from antiphon.codecs.schema import Schema
from antiphon.simulation.disk import MemoryDisk

RUN = b"r" * 16


@pytest.fixture(autouse=True)
def small_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update, "SLAB", 2048)


def own(size: int = 5000) -> Schema:
    params = {"w": np.zeros(size, np.float32), "n": np.array(3, np.int64)}
    return schema.infer({**params, "x.running_mean": np.zeros(100, np.float32)})


def noise(size: int, seed: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=size).astype(np.float32)


def store(outbox: Outbox, delta: NDArray[np.float32], encoding: str = "float16", **more: object) -> Entry:
    named = own(len(delta) - 100)
    head = blank(encoding, **more)
    return update.store(outbox, head, named, delta, bytes(8), np.random.default_rng(2), feedback=True)


def sent(entry: Entry) -> NDArray[np.float32]:
    vector, _ = entry.content()
    return encodings.decode(vector, entry.head.encoding, entry.head.raw_bytes // 4, "float32")


def kept(outbox: Outbox, size: int = 5000) -> NDArray[np.float32] | None:
    view = outbox.residual(update.residual_spec(RUN, own(size)))
    return None if view is None else np.frombuffer(view, np.float32)


@pytest.mark.parametrize("feedback", [False, True])
@pytest.mark.parametrize("encoding", ["float32", "int8"])
def test_what_is_on_disk_is_what_the_digest_names(tmp_path: Path, encoding: str, feedback: bool) -> None:
    delta, exact = noise(5100), bytes(8)
    outbox = fresh(tmp_path)
    chance = np.random.default_rng(2)
    entry = update.store(
        outbox, blank(encoding), own(), delta, exact, chance, mark=mark(5), feedback=feedback
    )
    vector, section = entry.content()
    assert (entry.head.vector_bytes, entry.head.exact_bytes) == (len(vector), len(section))
    assert len(vector) + len(section) == update.size(own(), encoding)
    assert entry.head.raw_bytes == 20_400
    assert entry.head.fed == (feedback and encoding == "int8")
    digest = UpdateDigest(own().digest, b"b" * 32, encoding)
    digest.update(vector)
    digest.update(section)
    assert entry.head.digest == digest.digest()
    found = encodings.decode(vector, encoding, 5100, "float32")
    np.testing.assert_allclose(found, delta, atol=0.05 if encoding == "int8" else 0)
    outbox.close()
    assert fresh(tmp_path).mark == mark(5)


@pytest.mark.parametrize("size", [5000, 50_000], ids=["row", "file"])
def test_what_is_left_out_goes_with_the_next_update_also_after_a_restart(tmp_path: Path, size: int) -> None:
    outbox = fresh(tmp_path)
    first, second = noise(size + 100, 1), noise(size + 100, 2)
    one = sent(store(outbox, first, sequence=1))
    rest = kept(outbox, size)
    assert rest is not None
    np.testing.assert_array_equal(rest[:size], (first - one)[:size])
    np.testing.assert_array_equal(rest[size:], 0)  # a running mean
    outbox.close()
    outbox = fresh(tmp_path)
    two = sent(store(outbox, second, sequence=2))
    np.testing.assert_array_equal(two, (second + rest).astype(np.float16).astype(np.float32))
    after = kept(outbox, size)
    assert after is not None
    np.testing.assert_array_equal(after[:size], (second + rest - two)[:size])
    assert len(list((tmp_path / "outbox").iterdir())) == (0 if size == 5000 else 3)


@pytest.mark.parametrize("size", [5000, 50_000], ids=["row", "file"])
def test_an_update_that_did_not_count_is_in_the_residual_whole(tmp_path: Path, size: int) -> None:
    outbox = fresh(tmp_path)
    first, second = noise(size + 100, 1), noise(size + 100, 2)
    one = store(outbox, first, sequence=1)
    content = sent(one)
    two = store(outbox, second, sequence=2)
    before = kept(outbox, size)
    assert before is not None
    outbox.received(one)
    update.take_back(outbox, one)
    outbox.close()
    outbox = fresh(tmp_path)
    after = kept(outbox, size)
    assert after is not None
    np.testing.assert_array_equal(after[:size], (before + content)[:size])
    np.testing.assert_array_equal(after[size:], 0)
    assert [entry.id for entry in outbox.entries] == [two.id]


def test_the_residual_belongs_to_its_run_and_schema(tmp_path: Path) -> None:
    outbox = fresh(tmp_path)
    entry = store(outbox, noise(5100), sequence=1)
    other = store(outbox, noise(5100, 2), sequence=2, run=b"s" * 16)
    np.testing.assert_array_equal(sent(other), noise(5100, 2).astype(np.float16).astype(np.float32))
    assert kept(outbox) is None
    left = outbox.residual(update.residual_spec(b"s" * 16, own()))
    assert left is not None
    before = bytes(left)
    update.take_back(outbox, entry)  # of a run that is over: nobody wants it back
    assert kept(outbox) is None
    assert outbox.residual(update.residual_spec(b"s" * 16, own())) == before
    assert outbox.entries == (other,)
    smaller = store(outbox, noise(3100, 3), sequence=3)
    np.testing.assert_array_equal(sent(smaller), noise(3100, 3).astype(np.float16).astype(np.float32))


def test_without_loss_or_feedback_there_is_no_residual(tmp_path: Path) -> None:
    outbox, chance = fresh(tmp_path), np.random.default_rng(2)
    store(outbox, noise(5100), sequence=1)
    store(outbox, noise(5100), "float32", sequence=2)
    assert kept(outbox) is None
    store(outbox, noise(5100), sequence=3)
    entry = update.store(outbox, blank("int8", sequence=4), own(), noise(5100), bytes(8), chance)
    assert kept(outbox) is None
    update.take_back(outbox, entry)
    assert kept(outbox) is None
    assert entry not in outbox.entries


def test_what_cannot_be_taken_back_any_more_is_just_forgotten(tmp_path: Path) -> None:
    outbox = fresh(tmp_path)
    entry = store(outbox, noise(50_100), sequence=1)
    outbox.received(entry)
    outbox.shed(entry)
    before = kept(outbox, 50_000)
    update.take_back(outbox, entry)
    np.testing.assert_array_equal(kept(outbox, 50_000), before)
    assert outbox.entries == ()


@pytest.mark.parametrize("size", [5000, 50_000], ids=["row", "file"])
def test_an_update_that_two_want_back_at_once_comes_back_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """It is dropped for want of room while its rejection comes: both have read it, one of them is late."""
    outbox = fresh(tmp_path)
    entry = store(outbox, noise(size + 100), sequence=1)
    read = Entry.content

    def while_another_does(self: Entry) -> tuple[memoryview, bytes]:
        found = read(self)
        monkeypatch.setattr(Entry, "content", read)
        update.take_back(outbox, entry)
        return found

    monkeypatch.setattr(Entry, "content", while_another_does)
    update.take_back(outbox, entry)
    outbox.close()
    outbox = fresh(tmp_path)
    np.testing.assert_array_equal(kept(outbox, size)[:size], noise(size + 100)[:size])  # pyright: ignore
    assert outbox.entries == ()
    assert len(list((tmp_path / "outbox").iterdir())) == (size > 5000)


def test_a_disk_that_does_not_answer_keeps_what_was_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = MemoryDisk()
    outbox = fresh(tmp_path, disk)
    first = store(outbox, noise(50_100), sequence=1)
    before = kept(outbox, 50_000)
    assert before is not None
    with monkeypatch.context() as broken:
        broken.setattr(disk, "map", failing)
        with pytest.raises(StateError, match="Input/output"):
            store(outbox, noise(50_100, 2), sequence=2)
        with pytest.raises(OSError, match="Input/output"):
            update.take_back(outbox, first)
    np.testing.assert_array_equal(kept(outbox, 50_000), before)
    assert outbox.entries == (first,)


def failing(path: Path) -> memoryview:
    raise OSError(errno.EIO, "Input/output error", str(path))


def test_a_full_disk_takes_nothing_back_and_loses_nothing(tmp_path: Path) -> None:
    disk = MemoryDisk()
    outbox = fresh(tmp_path, disk)
    entry = store(outbox, noise(50_100), sequence=1)
    disk.full = True
    with pytest.raises(OSError, match="space"):
        update.take_back(outbox, entry)
    disk.full = False
    update.take_back(outbox, entry)
    np.testing.assert_array_equal(kept(outbox, 50_000)[:50_000], noise(50_100)[:50_000])  # pyright: ignore


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
    named = schema.infer({"w": np.zeros(3, dtype)})
    assert update.wire_encoding(wanted, named, initial=initial) == found
