"""The outbox's database and files as one, and bytes on their way into a row or a file."""

import errno
from pathlib import Path

import pytest
from outboxes import head

from antiphon.agents import database
from antiphon.agents.entries import Entry
from antiphon.agents.storage import SMALL, Blob, Storage, sync, words
from antiphon.broker_config.disk import RealDisk
from antiphon.codecs.errors import StateError
from antiphon.simulation.disk import MemoryDisk

FOLDER = Path("/agent")


def opened(disk: MemoryDisk) -> Storage:
    storage = Storage(FOLDER, disk, "banks", "a1")
    assert storage.open().complaints == []
    return storage


def put(storage: Storage, size: int = 10) -> tuple[int, str]:
    """Add an update with a payload of so many bytes."""
    ordinal = storage.number()
    blob = storage.blob(ordinal, ".payload", size)
    blob.write(b"p" * size)
    sync(storage.disk, blob)
    entry = Entry(head(vector=b"p" * (size - 2)), ordinal, blob.file)
    storage.change(lambda cursor: database.put_update(cursor, entry, blob.content))
    return ordinal, blob.file


def test_payloads_are_read_from_rows_and_files() -> None:
    storage = opened(MemoryDisk())
    assert bytes(storage.read(*put(storage, 10))) == b"p" * 10
    assert bytes(storage.read(*put(storage, SMALL))) == b"p" * SMALL
    assert bytes(storage.read(99, "")) == b""
    assert bytes(storage.read_residual("")) == b""
    with pytest.raises(FileNotFoundError):
        storage.read(0, "000000000099.payload")


def test_a_file_goes_only_after_its_row() -> None:
    disk = MemoryDisk()
    storage = opened(disk)
    ordinal, file = put(storage, SMALL)
    disk.full = True
    storage.settle(ordinal, file, soon=True)
    assert disk.names(FOLDER / "outbox") == [file]
    with pytest.raises(OSError, match="space"):
        storage.change(lambda cursor: None)
    disk.full = False
    storage.change(lambda cursor: None)
    assert disk.names(FOLDER / "outbox") == []
    assert opened(disk).number() == 0


def test_what_has_time_goes_with_the_next_change_or_at_the_end() -> None:
    disk = MemoryDisk()
    storage = opened(disk)
    first, second = put(storage)[0], put(storage)[0]
    storage.settle(first, "", soon=False)
    assert len(disk.database(FOLDER / "state.db", sync=True).rows("SELECT 1 FROM updates")) == 2
    third = put(storage)[0]
    storage.settle(second, "", soon=False)
    storage.close()
    rows = disk.database(FOLDER / "state.db", sync=True).rows("SELECT ordinal FROM updates")
    assert rows == [(third,)]


def test_a_disk_that_is_full_at_the_end_keeps_what_was_settled() -> None:
    disk = MemoryDisk()
    storage = opened(disk)
    storage.settle(put(storage)[0], "", soon=False)
    disk.full = True
    storage.close()
    disk.full = False
    assert len(Storage(FOLDER, disk, "banks", "a1").open().entries) == 1


def test_a_change_that_fails_changes_nothing() -> None:
    disk = MemoryDisk()
    storage = opened(disk)
    ordinal, _ = put(storage)

    def fail(cursor: database.Cursor) -> None:
        database.drop_update(cursor, ordinal)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        storage.change(fail)
    assert bytes(storage.read(ordinal, "")) == b"p" * 10
    storage.close()
    with pytest.raises(StateError, match="closed"):
        storage.change(lambda cursor: None)


def test_what_the_system_says_is_told_without_the_file() -> None:
    assert words(OSError(errno.ENOSPC, "x", "/secret/place")) == "No space left on device"
    assert words(OSError("something")) == "something"


def test_few_bytes_go_into_the_row(tmp_path: Path) -> None:
    blob = Blob(RealDisk(), tmp_path, "x", SMALL - 1)
    blob.write(b"ab")
    blob.write(memoryview(b"cd"))
    sync(RealDisk(), blob, None)
    assert (blob.file, blob.content) == ("", b"abcd")
    blob.drop()
    assert list(tmp_path.iterdir()) == []


def test_many_bytes_go_into_a_file(tmp_path: Path) -> None:
    blob = Blob(RealDisk(), tmp_path, "x", SMALL)
    blob.write(b"ab")
    blob.write(memoryview(b"cd"))
    assert (blob.file, blob.content) == ("x", None)
    assert (tmp_path / "x").read_bytes() == b"abcd"
    blob.drop()
    assert list(tmp_path.iterdir()) == []


def test_only_what_is_synced_survives_a_power_cut() -> None:
    outcomes: set[bool] = set()
    for seed in range(20):
        disk, folder = MemoryDisk(seed), Path("/outbox")
        disk.make(folder)
        first, second = Blob(disk, folder, "1", SMALL), Blob(disk, folder, "2", SMALL)
        first.write(b"first")
        second.write(b"second")
        sync(disk, first)
        disk.fence(power=True)
        assert disk.read(folder / "1") == b"first"
        outcomes.add(disk.size(folder / "2") == 6)
    assert outcomes == {True, False}


def test_a_file_that_cannot_be_removed_stays(tmp_path: Path) -> None:
    blob = Blob(RealDisk(), tmp_path, "x", SMALL)
    (tmp_path / "x").mkdir()  # no file can be removed there
    blob.drop()
    assert (tmp_path / "x").exists()
    with pytest.raises(OSError, match="directory"):
        blob.write(b"")
