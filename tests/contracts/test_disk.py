"""What every disk must do: the real one, and its twin in memory that the simulations use."""

import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from antiphon.broker_config.database import Database
from antiphon.broker_config.disk import Disk, RealDisk
from antiphon.codecs.errors import StateError
from antiphon.simulation.disk import MemoryDisk

Kind = Callable[[], Disk]


@pytest.fixture(params=[RealDisk, MemoryDisk, lambda: MemoryDisk().mount()], ids=["real", "memory", "mount"])
def disk(request: pytest.FixtureRequest, folder: Path) -> Disk:
    made: Disk = request.param()
    made.make(folder)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "deep"


def write(database: Database, *statements: str) -> None:
    """Run some SQL in one transaction."""
    with database.transaction() as cursor:
        for each in statements:
            cursor.execute(each)


def test_folder_is_made_with_its_parents_and_twice_is_fine(disk: Disk, folder: Path) -> None:
    disk.make(folder / "a" / "b")
    disk.make(folder / "a" / "b")
    assert disk.names(folder) == ["a"]
    assert disk.names(folder / "a") == ["b"]


def test_folder_cannot_be_made_where_a_file_is(disk: Disk, folder: Path) -> None:
    disk.write(folder / "a", [b"x"], sync=False)
    with pytest.raises(FileExistsError):
        disk.make(folder / "a")


def test_names_are_sorted_and_none_where_there_is_no_folder(disk: Disk, folder: Path) -> None:
    for name in ("b", "c", "a"):
        disk.write(folder / name, [], sync=False)
    assert disk.names(folder) == ["a", "b", "c"]
    assert disk.names(folder / "nowhere") == []
    with pytest.raises(NotADirectoryError):
        disk.names(folder / "a")


@pytest.mark.parametrize("sync", [False, True])
def test_file_is_written_from_its_parts_and_replaced_whole(disk: Disk, folder: Path, sync: bool) -> None:
    disk.write(folder / "a", [b"one", memoryview(b"two")], sync=sync)
    assert disk.read(folder / "a") == b"onetwo"
    disk.write(folder / "a", [b"3"], sync=sync)
    assert disk.read(folder / "a") == b"3"
    assert disk.size(folder / "a") == 1
    assert disk.names(folder) == ["a"]


def test_file_whose_parts_break_off_is_as_it_was(disk: Disk, folder: Path) -> None:
    def parts():
        yield b"new"
        raise ZeroDivisionError

    disk.write(folder / "a", [b"old"], sync=True)
    with pytest.raises(ZeroDivisionError):
        disk.write(folder / "a", parts(), sync=True)
    assert disk.read(folder / "a") == b"old"
    assert disk.names(folder) == ["a"]


def test_nothing_can_be_put_where_there_is_no_folder(disk: Disk, folder: Path) -> None:
    place = folder / "nowhere" / "a"
    for attempt in (
        lambda: disk.write(place, [b"x"], sync=False),
        lambda: disk.append(place, 0, b"x"),
        lambda: disk.database(place, sync=False),
        lambda: disk.lock(place),
        lambda: disk.free(place.parent),
    ):
        with pytest.raises(FileNotFoundError):
            attempt()


def test_missing_file_is_missing_to_everybody_but_remove(disk: Disk, folder: Path) -> None:
    place = folder / "a"
    assert disk.size(place) is None
    disk.remove(place)
    for attempt in (
        lambda: disk.read(place),
        lambda: disk.open(place),
        lambda: disk.map(place),
        lambda: disk.cut(place, 0),
        lambda: disk.sync([place]),
        lambda: disk.move(place, folder / "b"),
    ):
        with pytest.raises(FileNotFoundError):
            attempt()


def test_folder_is_no_file(disk: Disk, folder: Path) -> None:
    assert disk.size(folder) is None
    for attempt in (
        lambda: disk.read(folder),
        lambda: disk.write(folder, [b"x"], sync=False),
        lambda: disk.append(folder, 0, b"x"),
    ):
        with pytest.raises(IsADirectoryError):
            attempt()
    with pytest.raises(OSError) as error:
        disk.remove(folder)
    assert error.type in (IsADirectoryError, PermissionError)


def test_appended_pieces_lie_where_they_were_put(disk: Disk, folder: Path) -> None:
    place = folder / "a"
    disk.append(place, 0, b"0123")
    disk.append(place, 6, memoryview(b"89"))
    disk.append(place, 1, b"x")
    assert disk.read(place) == b"0x23\0\x0089"
    disk.sync([place])
    disk.cut(place, 3)
    assert disk.read(place) == b"0x2"
    disk.append(folder / "empty", 0, b"")
    assert disk.size(folder / "empty") == 0


def test_open_file_seeks_and_sees_what_is_appended(disk: Disk, folder: Path) -> None:
    place = folder / "a"
    disk.append(place, 0, b"0123456789")
    with disk.open(place) as file:
        assert file.read(0) == b""
        assert file.seek(4) == 4
        assert file.read(3) == b"456"
        assert file.tell() == 7
        assert file.seek(-2, 2) == 8
        assert file.read() == b"89"
        disk.append(place, 10, b"ab")
        assert file.read(99) == b"ab"
        buffer = bytearray(3)
        assert file.seek(-3, 1) == 9
        assert file.readinto(buffer) == 3  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
        assert buffer == b"9ab"
        with pytest.raises(OSError):
            file.seek(-1)
    with pytest.raises(ValueError, match="closed"):
        file.read()


def test_mapped_file_is_read_only_and_outlives_its_name(disk: Disk, folder: Path) -> None:
    disk.write(folder / "a", [b"content"], sync=False)
    disk.write(folder / "empty", [], sync=False)
    mapped = disk.map(folder / "a")
    assert mapped.readonly
    disk.remove(folder / "a")
    assert bytes(mapped) == b"content"
    assert len(disk.map(folder / "empty")) == 0


def test_file_is_moved_onto_another(disk: Disk, folder: Path) -> None:
    disk.make(folder / "b")
    disk.write(folder / "a", [b"new"], sync=True)
    disk.write(folder / "b" / "c", [b"old"], sync=True)
    disk.move(folder / "a", folder / "b" / "c")
    assert disk.read(folder / "b" / "c") == b"new"
    assert disk.names(folder) == ["b"]


def test_folder_is_moved_with_all_in_it(disk: Disk, folder: Path) -> None:
    disk.make(folder / "a" / "deep")
    disk.write(folder / "a" / "deep" / "file", [b"x"], sync=False)
    disk.make(folder / "a-sibling")
    disk.move(folder / "a", folder / "b")
    assert disk.names(folder) == ["a-sibling", "b"]
    assert disk.read(folder / "b" / "deep" / "file") == b"x"
    with pytest.raises(OSError, match="not empty"):
        disk.move(folder / "a-sibling", folder / "b")
    with pytest.raises(FileNotFoundError):
        disk.move(folder / "b", folder / "nowhere" / "b")
    disk.write(folder / "file", [], sync=False)
    with pytest.raises(NotADirectoryError):
        disk.move(folder / "b", folder / "file")


def test_removed_file_is_gone(disk: Disk, folder: Path) -> None:
    disk.write(folder / "a", [b"x"], sync=True)
    disk.remove(folder / "a")
    assert disk.names(folder) == []


def test_there_is_room(disk: Disk, folder: Path) -> None:
    assert disk.free(folder) > 0


def test_lock_is_held_by_one_until_it_is_closed(disk: Disk, folder: Path) -> None:
    held = disk.lock(folder / "lock")
    with pytest.raises(BlockingIOError):
        disk.lock(folder / "lock")
    held.close()
    disk.lock(folder / "lock").close()
    assert disk.names(folder) == ["lock"]


@pytest.mark.parametrize("sync", [False, True])
def test_committed_rows_are_there_after_closing(disk: Disk, folder: Path, sync: bool) -> None:
    database = disk.database(folder / "a.db", sync=sync)
    with database.transaction() as cursor:
        cursor.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b BLOB)")
        cursor.execute("INSERT INTO t VALUES (1, ?)", (b"x",))
    assert database.rows("SELECT * FROM t WHERE a = ?", (1,)) == [(1, b"x")]
    database.close()
    assert disk.database(folder / "a.db", sync=sync).rows("SELECT a, b FROM t") == [(1, b"x")]


def test_transaction_that_raises_did_not_happen(disk: Disk, folder: Path) -> None:
    database = disk.database(folder / "a.db", sync=False)
    with database.transaction() as cursor:
        cursor.execute("CREATE TABLE t (a NOT NULL)")
    with pytest.raises(sqlite3.IntegrityError):
        write(database, "INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (NULL)")
    assert database.rows("SELECT * FROM t") == []
    with database.transaction() as cursor:
        cursor.execute("INSERT INTO t VALUES (2)")
    assert database.rows("SELECT * FROM t") == [(2,)]


def test_transactions_do_not_nest(disk: Disk, folder: Path) -> None:
    database = disk.database(folder / "a.db", sync=False)
    with database.transaction(), pytest.raises(RuntimeError, match="nest"), database.transaction():
        pass
    with database.transaction() as cursor:
        cursor.execute("CREATE TABLE t (a)")


def test_snapshot_does_not_see_later_commits(disk: Disk, folder: Path) -> None:
    database = disk.database(folder / "a.db", sync=False)
    with database.transaction() as cursor:
        cursor.execute("CREATE TABLE t (a)")
    with database.snapshot() as view:
        with database.transaction() as cursor:
            cursor.execute("INSERT INTO t VALUES (1)")
        assert view.execute("SELECT * FROM t").fetchall() == []
        assert database.rows("SELECT * FROM t") == [(1,)]


def test_wrong_sql_is_a_programming_error(disk: Disk, folder: Path) -> None:
    database = disk.database(folder / "a.db", sync=False)
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        database.rows("SELECT * FROM nowhere")
    with pytest.raises(sqlite3.IntegrityError):
        write(database, "CREATE TABLE t (a UNIQUE)", "INSERT INTO t VALUES (1), (1)")
    assert database.rows("SELECT * FROM sqlite_master") == []


def test_references_hold_and_deleted_rows_are_overwritten(disk: Disk, folder: Path) -> None:
    database = disk.database(folder / "a.db", sync=False)
    with database.transaction() as cursor:
        assert cursor.execute("PRAGMA foreign_keys").fetchone() == (1,)
        assert cursor.execute("PRAGMA secure_delete").fetchone() == (1,)


def test_closed_database_answers_nobody(disk: Disk, folder: Path) -> None:
    database = disk.database(folder / "a.db", sync=False)
    database.close()
    with pytest.raises(sqlite3.ProgrammingError):
        database.rows("SELECT 1")
    with pytest.raises(sqlite3.ProgrammingError), database.transaction():
        pass


def test_file_that_is_no_database_is_refused_by_name(disk: Disk, folder: Path) -> None:
    disk.write(folder / "a.db", [b"something else entirely" * 100], sync=False)
    with pytest.raises(StateError, match=r"a\.db is damaged"):
        disk.database(folder / "a.db", sync=True)


def test_damaged_page_is_noticed_when_it_is_read(disk: Disk, folder: Path) -> None:
    database = disk.database(folder / "a.db", sync=False)
    with database.transaction() as cursor:
        cursor.execute("CREATE TABLE t (a)")
        cursor.executemany("INSERT INTO t VALUES (?)", [(bytes(500),) for _ in range(100)])
    database.close()
    disk.append(folder / "a.db", 4096, b"\xff" * 8192)
    database = disk.database(folder / "a.db", sync=False)
    with pytest.raises(StateError, match=r"a\.db is damaged"):
        database.rows("SELECT sum(length(a)) FROM t")
    with pytest.raises(StateError, match=r"a\.db is damaged"), database.transaction() as cursor:
        cursor.execute("UPDATE t SET a = 1")


def test_database_is_a_file_that_can_be_copied_and_moved(disk: Disk, folder: Path) -> None:
    database = disk.database(folder / "a.db", sync=True)
    with database.transaction() as cursor:
        cursor.execute("CREATE TABLE t (a)")
        cursor.execute("PRAGMA user_version = 7")
    database.close()
    assert disk.size(folder / "a.db") == len(disk.read(folder / "a.db"))
    disk.write(folder / "copy.db", [disk.read(folder / "a.db")], sync=True)
    disk.make(folder / "old")
    disk.move(folder / "a.db", folder / "old" / "a.db")
    for place in (folder / "copy.db", folder / "old" / "a.db"):
        copy = disk.database(place, sync=True)
        assert copy.rows("PRAGMA user_version") == [(7,)]
        with copy.transaction() as cursor:
            cursor.execute("INSERT INTO t VALUES (1)")
        copy.close()


def test_database_whose_place_is_too_small_raises_and_did_not_change(disk: Disk, folder: Path) -> None:
    database = disk.database(folder / "a.db", sync=False)
    with database.transaction() as cursor:
        cursor.execute("CREATE TABLE t (a)")
    with pytest.raises(OSError, match="No space left") as error:
        write(database, "PRAGMA max_page_count = 3", "INSERT INTO t VALUES (zeroblob(50000))")
    assert error.value.filename == str(folder / "a.db")
    assert database.rows("SELECT * FROM t") == []


def test_real_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    disk, folder = RealDisk(), tmp_path / "state" / "deep"
    disk.make(folder)
    disk.write(folder / "a", [b"x"], sync=True)
    disk.append(folder / "b", 0, b"x")
    disk.lock(folder / "lock").close()
    database = disk.database(folder / "c.db", sync=True)
    with database.transaction() as cursor:
        cursor.execute("CREATE TABLE t (a)")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == dict.fromkeys(["a", "b", "lock", "c.db", "c.db-wal", "c.db-shm"], 0o600)
    assert [stat.S_IMODE(each.stat().st_mode) for each in (folder, folder.parent)] == [0o700, 0o700]
