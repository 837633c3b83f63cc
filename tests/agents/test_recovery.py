"""What is left behind by crashes and by people: rows and files that do not fit together."""

import sqlite3
from pathlib import Path

import pytest
from outboxes import LARGE, closed, fresh, put

from antiphon.agents.outbox import ResidualSpec
from antiphon.simulation.disk import MemoryDisk

REST = ResidualSpec(b"r" * 16, b"s" * 32, len(LARGE))


def test_files_that_no_row_names_are_removed_and_others_left_alone(tmp_path: Path) -> None:
    fresh(tmp_path).close()
    for name in ("000000000007.payload", "000000000008.residual", ".000000000009.payload.new", "notes.txt"):
        (tmp_path / "outbox" / name).write_bytes(b"half")
    outbox = fresh(tmp_path)
    assert [path.name for path in (tmp_path / "outbox").iterdir()] == ["notes.txt"]
    assert put(outbox, 1, LARGE).ordinal == 10  # no name is used twice


def test_files_of_an_earlier_release_are_named_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "outbox").mkdir()
    for name in ("outbox/000000000000.update", "outbox/000000000001.record", "trained.json"):
        (tmp_path / name).write_bytes(b"{}")
    outbox = closed(tmp_path)
    complaints = outbox.load()
    assert [complaint.partition(" is of an earlier release")[0] for complaint in complaints] == [
        str(tmp_path / "outbox" / "000000000000.update"),
        str(tmp_path / "outbox" / "000000000001.record"),
        str(tmp_path / "trained.json"),
    ]
    assert (tmp_path / "outbox" / "000000000000.update").exists()
    assert outbox.entries == ()


@pytest.mark.parametrize("left", [None, 0, 1000])
def test_an_update_without_its_whole_file_is_given_up(tmp_path: Path, left: int | None) -> None:
    outbox = fresh(tmp_path)
    damaged, other = put(outbox, 1, LARGE), put(outbox, 2, LARGE)
    outbox.close()
    path = tmp_path / "outbox" / damaged.file
    if left is None:
        path.unlink()
    else:
        path.write_bytes(LARGE[:left])
    outbox = closed(tmp_path)
    (complaint,) = outbox.load()
    assert "update 1 on version 4 is given up" in complaint
    assert ("is missing" if left is None else f"{left} bytes of {len(LARGE) + 2}") in complaint
    assert [entry.file for entry in outbox.entries] == [other.file]
    assert not path.exists()
    outbox.close()
    fresh(tmp_path)  # it complains once


def test_what_was_received_is_asked_about_without_its_file_too(tmp_path: Path) -> None:
    outbox = fresh(tmp_path)
    entry = put(outbox, 1, LARGE, fed=True)
    outbox.received(entry)
    outbox.close()
    (tmp_path / "outbox" / entry.file).unlink()
    (again,) = fresh(tmp_path).entries
    assert (again.state, again.whole) == ("received", False)


def test_a_row_that_nobody_can_read_is_given_up(tmp_path: Path) -> None:
    outbox = fresh(tmp_path)
    put(outbox, 1)
    put(outbox, 2)
    outbox.close()
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.execute("UPDATE updates SET head = x'c1' WHERE ordinal = 0")
    connection.close()
    outbox = closed(tmp_path)
    (complaint,) = outbox.load()
    assert "cannot be read and is given up" in complaint
    assert len(outbox.entries) == 1


def test_error_feedback_begins_anew_when_its_file_is_missing(tmp_path: Path) -> None:
    outbox = fresh(tmp_path)
    outbox.take_back(put(outbox), [memoryview(LARGE)], REST)
    outbox.close()
    (path,) = (tmp_path / "outbox").iterdir()
    path.unlink()
    outbox = closed(tmp_path)
    (complaint,) = outbox.load()
    assert "error feedback begins anew" in complaint
    assert outbox.residual(REST) is None
    outbox.close()
    fresh(tmp_path)


def test_a_full_disk_is_no_reason_not_to_start(tmp_path: Path) -> None:
    disk = MemoryDisk()
    outbox = fresh(tmp_path, disk)
    first, second = put(outbox, 1, LARGE), put(outbox, 2, LARGE)
    outbox.close()
    disk.remove(tmp_path / "outbox" / first.file)
    disk.full = True
    outbox = closed(tmp_path, disk)
    assert len(outbox.load()) == 1
    assert [entry.file for entry in outbox.entries] == [second.file]
