"""Updates on disk: whole or not at all, bounded, found again after a crash."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from antiphon.agents.outbox import Entry, Head, Outbox
from antiphon.codecs.errors import StateError


def head(sequence: int = 1, vector: int = 8, exact: int = 2) -> Head:
    return Head(
        run=bytes(16),
        incarnation=b"i" * 16,
        sequence=sequence,
        base=b"b" * 32,
        base_term=1,
        base_number=4,
        schema=b"schema",
        digest=b"d" * 32,
        encoding="float32",
        vector_bytes=vector,
        exact_bytes=exact,
        raw_bytes=vector,
        examples=10,
        metrics={"loss": 0.5},
    )


def fresh(folder: Path, limit: int = 1000) -> Outbox:
    outbox = Outbox(folder, limit, 0)
    assert outbox.load() == []
    return outbox


def put(outbox: Outbox, sequence: int = 1) -> Entry:
    return outbox.add([b"vect", b"or!!"], b"ex", lambda: head(sequence))


def test_an_update_comes_back_after_a_restart(tmp_path: Path) -> None:
    outbox = fresh(tmp_path / "outbox")
    put(outbox, 1)
    put(outbox, 2)
    again = fresh(tmp_path / "outbox")
    assert [entry.head for entry in again.pending] == [head(1), head(2)]
    vector, exact = again.pending[0].content()
    assert (bytes(vector), exact) == (b"vector!!", b"ex")
    assert put(again, 3).ordinal == 2


def test_a_received_update_leaves_a_small_record(tmp_path: Path) -> None:
    outbox = fresh(tmp_path)
    entry = put(outbox)
    entry.content()
    outbox.received(entry)
    outbox.received(entry)
    assert (outbox.pending, outbox.entries) == ((), (entry,))
    assert [path.suffix for path in tmp_path.iterdir()] == [".record"]
    again = fresh(tmp_path)
    assert [e.state for e in again.entries] == ["received"]
    again.settle(again.entries[0])
    assert list(tmp_path.iterdir()) == []
    assert fresh(tmp_path).entries == ()


def test_settling_twice_is_harmless(tmp_path: Path) -> None:
    outbox = fresh(tmp_path)
    entry = put(outbox)
    outbox.settle(entry)
    outbox.settle(entry)
    assert entry.state == "gone"


def test_a_crash_between_record_and_removal_offers_the_whole_update_again(tmp_path: Path) -> None:
    outbox = fresh(tmp_path)
    entry = put(outbox)
    whole = entry.path.read_bytes()
    outbox.received(entry)
    (tmp_path / "000000000000.update").write_bytes(whole)
    assert [e.state for e in fresh(tmp_path).entries] == ["pending"]


def test_a_write_cut_short_by_a_crash_is_removed(tmp_path: Path) -> None:
    (tmp_path / "000000000007.new").write_bytes(b"half")
    fresh(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", [b"", b"xy", b"\0" * 20, b"abc" + (2**40).to_bytes(8, "big")])
def test_a_damaged_file_is_named_and_left_alone(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "000000000000.update").write_bytes(damage)
    (tmp_path / "notes.txt").write_text("hello")
    (complaint,) = Outbox(tmp_path, 100, 0).load()
    assert "000000000000.update" in complaint
    assert (tmp_path / "000000000000.update").exists()


def test_a_truncated_vector_is_not_offered(tmp_path: Path) -> None:
    entry = put(fresh(tmp_path))
    entry.path.write_bytes(entry.path.read_bytes()[3:])
    assert len(Outbox(tmp_path, 100, 0).load()) == 1


def test_a_file_damaged_while_running_is_a_clear_error(tmp_path: Path) -> None:
    outbox = fresh(tmp_path)
    first, second = put(outbox), put(outbox)
    first.path.write_bytes(b"short")
    second.path.unlink()
    for entry in (first, second):
        with pytest.raises(StateError, match=r"\.update"):
            entry.content()


def test_the_bound_in_bytes_counts_what_is_pending(tmp_path: Path) -> None:
    outbox = fresh(tmp_path, limit=15)
    assert outbox.room(10) == ""
    entry = put(outbox)
    assert "limits.outbox" in outbox.room(10)
    outbox.received(entry)
    assert outbox.room(10) == ""


def test_a_disk_without_room_is_told_apart(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, 10**30, 10**25)
    assert "bytes free" in outbox.room(10)


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    outbox = fresh(tmp_path)

    def full() -> Iterator[bytes]:
        yield b"vect"
        raise OSError(28, "No space left on device")

    with pytest.raises(StateError, match="space"):
        outbox.add(full(), b"", head)
    with pytest.raises(ZeroDivisionError):
        outbox.add([b""], b"", lambda: head(1 // 0))
    assert list(tmp_path.iterdir()) == []
    assert outbox.entries == ()


def test_a_folder_that_cannot_be_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="cannot use the outbox"):
        Outbox(tmp_path / "file" / "outbox", 1, 0).load()


def test_an_update_can_take_another_id(tmp_path: Path) -> None:
    outbox = fresh(tmp_path)
    old = put(outbox)
    outbox.rename(old, b"j" * 16, 9)
    (entry,) = fresh(tmp_path).entries
    assert (entry.id.incarnation, entry.id.sequence) == (b"j" * 16, 9)
    assert bytes(entry.content()[0]) == b"vector!!"
    assert not entry.head.initial
    outbox.received(outbox.entries[0])
    with pytest.raises(StateError, match="no payload"):
        outbox.rename(outbox.entries[0], b"k" * 16, 1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_record_that_cannot_be_written_keeps_the_update(tmp_path: Path) -> None:
    outbox = fresh(tmp_path)
    entry = put(outbox)
    tmp_path.chmod(0o500)
    outbox.received(entry)
    tmp_path.chmod(0o700)
    assert entry.state == "received"
    assert entry.path.suffix == ".update"


def test_two_updates_written_at_the_same_time_get_files_of_their_own(tmp_path: Path) -> None:
    outbox = fresh(tmp_path)

    def parts() -> Iterator[bytes]:
        yield b"v" * 4
        put(outbox, 2)  # as a thread that renames another update does
        yield b"v" * 4

    outbox.add(parts(), b"ex", lambda: head(1))
    again = fresh(tmp_path)
    assert sorted(entry.head.sequence for entry in again.entries) == [1, 2]


def test_an_update_whose_file_cannot_be_removed_is_settled_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    outbox = fresh(tmp_path)
    entry = put(outbox)
    monkeypatch.setattr(Path, "unlink", refuse)
    outbox.received(entry)
    outbox.settle(entry)
    assert outbox.entries == ()


def test_an_update_that_was_settled_can_be_given_up(tmp_path: Path) -> None:
    outbox = fresh(tmp_path)
    entry = put(outbox)
    outbox.settle(entry)
    outbox.give_up(entry)
    assert (entry.state, outbox.entries) == ("gone", ())
