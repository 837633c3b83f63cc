"""The outbox's database and files as one."""

import errno
from pathlib import Path

import pytest
from outboxes import head

from antiphon.agents import tables
from antiphon.agents.books import Books, words
from antiphon.agents.entries import Entry
from antiphon.agents.sheets import SMALL, sync
from antiphon.codecs.errors import StateError
from antiphon.simulation.disk import MemoryDisk

FOLDER = Path("/agent")


def opened(disk: MemoryDisk) -> Books:
    books = Books(FOLDER, disk, "banks", "a1")
    assert books.open().complaints == []
    return books


def put(books: Books, size: int = 10) -> tuple[int, str]:
    """Add an update with a payload of so many bytes."""
    ordinal = books.number()
    sheet = books.sheet(ordinal, ".payload", size)
    sheet.write(b"p" * size)
    sync(books.disk, sheet)
    entry = Entry(head(vector=b"p" * (size - 2)), ordinal, sheet.file)
    books.change(lambda cursor: tables.put_update(cursor, entry, sheet.content))
    return ordinal, sheet.file


def test_payloads_are_read_from_rows_and_files() -> None:
    books = opened(MemoryDisk())
    assert bytes(books.read(*put(books, 10))) == b"p" * 10
    assert bytes(books.read(*put(books, SMALL))) == b"p" * SMALL
    assert bytes(books.read(99, "")) == b""
    assert bytes(books.read_residual("")) == b""
    with pytest.raises(FileNotFoundError):
        books.read(0, "000000000099.payload")


def test_a_file_goes_only_after_its_row() -> None:
    disk = MemoryDisk()
    books = opened(disk)
    ordinal, file = put(books, SMALL)
    disk.full = True
    books.settle(ordinal, file, soon=True)
    assert disk.names(FOLDER / "outbox") == [file]
    with pytest.raises(OSError, match="space"):
        books.change(lambda cursor: None)
    disk.full = False
    books.change(lambda cursor: None)
    assert disk.names(FOLDER / "outbox") == []
    assert opened(disk).number() == 0


def test_what_has_time_goes_with_the_next_change_or_at_the_end() -> None:
    disk = MemoryDisk()
    books = opened(disk)
    first, second = put(books)[0], put(books)[0]
    books.settle(first, "", soon=False)
    assert len(disk.database(FOLDER / "state.db", sync=True).rows("SELECT 1 FROM updates")) == 2
    third = put(books)[0]
    books.settle(second, "", soon=False)
    books.close()
    rows = disk.database(FOLDER / "state.db", sync=True).rows("SELECT ordinal FROM updates")
    assert rows == [(third,)]


def test_a_disk_that_is_full_at_the_end_keeps_what_was_settled() -> None:
    disk = MemoryDisk()
    books = opened(disk)
    books.settle(put(books)[0], "", soon=False)
    disk.full = True
    books.close()
    disk.full = False
    assert len(Books(FOLDER, disk, "banks", "a1").open().entries) == 1


def test_a_change_that_fails_changes_nothing() -> None:
    disk = MemoryDisk()
    books = opened(disk)
    ordinal, _ = put(books)

    def fail(cursor: tables.Cursor) -> None:
        tables.drop_update(cursor, ordinal)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        books.change(fail)
    assert bytes(books.read(ordinal, "")) == b"p" * 10
    books.close()
    with pytest.raises(StateError, match="closed"):
        books.change(lambda cursor: None)


def test_what_the_system_says_is_told_without_the_file() -> None:
    assert words(OSError(errno.ENOSPC, "x", "/secret/place")) == "No space left on device"
    assert words(OSError("something")) == "something"
