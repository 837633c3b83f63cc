"""SQLite in a file: settings, threads and processes, and the errors of the disk below it."""

import errno
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from antiphon.broker_config import database as module
from antiphon.broker_config.database import SqliteDatabase
from antiphon.codecs.errors import ConfigError, StateError


def make_table(path: Path, *, sync: bool = True) -> SqliteDatabase:
    database = SqliteDatabase(path, sync=sync)
    with database.transaction() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS t (a)")
    return database


def insert(database: SqliteDatabase, value: int = 1) -> None:
    with database.transaction() as cursor:
        cursor.execute("INSERT INTO t VALUES (?)", (value,))


def test_settings_of_a_database(tmp_path: Path) -> None:
    for sync, synchronous in ((True, 2), (False, 1)):
        database = make_table(tmp_path / f"{sync}.db", sync=sync)
        with database.transaction() as cursor:
            assert cursor.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            assert cursor.execute("PRAGMA synchronous").fetchone() == (synchronous,)
        database.close()


def test_sqlite_without_strict_tables_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(ConfigError, match=r"3\.37 or later is needed: use another Python"):
        SqliteDatabase(tmp_path / "a.db", sync=True)
    assert list(tmp_path.iterdir()) == []


def test_readers_do_not_wait_for_a_transaction_and_see_what_is_committed(tmp_path: Path) -> None:
    database = make_table(tmp_path / "a.db")
    found: list[list[tuple[int, ...]]] = []
    with database.transaction() as cursor:
        cursor.execute("INSERT INTO t VALUES (1)")
        reader = threading.Thread(target=lambda: found.append(database.rows("SELECT * FROM t")))
        reader.start()
        reader.join(10)
        assert found == [[]]
    assert database.rows("SELECT * FROM t") == [(1,)]


def test_reader_cannot_write(tmp_path: Path) -> None:
    database = make_table(tmp_path / "a.db")
    with pytest.raises(OSError, match="readonly"):
        database.rows("INSERT INTO t VALUES (1)")


def test_transactions_of_many_threads_come_one_after_the_other(tmp_path: Path) -> None:
    database = make_table(tmp_path / "a.db", sync=False)

    def work() -> None:
        for _ in range(20):
            with database.transaction() as cursor:
                (count,) = cursor.execute("SELECT count(*) FROM t").fetchone()
                cursor.execute("INSERT INTO t VALUES (?)", (count,))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert database.rows("SELECT a FROM t ORDER BY a") == [(n,) for n in range(80)]


def test_second_process_reads_the_live_database_beside_a_writer(tmp_path: Path) -> None:
    one, two = make_table(tmp_path / "a.db"), SqliteDatabase(tmp_path / "a.db", sync=True)
    with two.snapshot() as view:
        insert(one)
        assert view.execute("SELECT count(*) FROM t").fetchone() == (0,)
    assert two.rows("SELECT count(*) FROM t") == [(1,)]


def test_database_held_by_another_program_is_busy_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    one, two = make_table(tmp_path / "a.db"), SqliteDatabase(tmp_path / "a.db", sync=True)
    with one.transaction(), pytest.raises(OSError) as error:
        insert(two)
    assert error.value.errno == errno.EBUSY
    insert(two)


def test_database_that_vanished_is_not_made_anew_behind_our_back(tmp_path: Path) -> None:
    database = make_table(tmp_path / "a.db")
    (tmp_path / "a.db").unlink()
    with pytest.raises(OSError) as error, database.snapshot():
        pass
    assert error.value.errno == errno.EIO
    assert not (tmp_path / "a.db").exists()


def test_error_of_the_file_system_below_sqlite_has_its_number(tmp_path: Path) -> None:
    for code, number in (
        (sqlite3.SQLITE_FULL, errno.ENOSPC),
        (sqlite3.SQLITE_IOERR_WRITE, errno.EIO),
        (sqlite3.SQLITE_READONLY_DBMOVED, errno.EROFS),
    ):
        failure = sqlite3.OperationalError("it broke")
        failure.sqlite_errorcode = code
        with pytest.raises(OSError, match="it broke") as error, module.Translated(tmp_path / "a.db"):
            raise failure
        assert (error.value.errno, error.value.filename) == (number, str(tmp_path / "a.db"))
    damage = sqlite3.DatabaseError("database disk image is malformed")
    damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT_INDEX
    with (
        pytest.raises(StateError, match=r"a\.db is damaged \(database"),
        module.Translated(tmp_path / "a.db"),
    ):
        raise damage
    with pytest.raises(StateError, match=r"a\.db is damaged \(what"), module.Translated(tmp_path / "a.db"):
        b"malformed \xb1".decode()


def test_damage_is_told_in_one_line() -> None:
    assert "(Page 27: torn)" in str(module.damaged(Path("a.db"), "*** in database main ***\nPage 27: torn"))


def test_committed_survives_kill_9(tmp_path: Path) -> None:
    program = (
        "import sys, os, signal; from pathlib import Path\n"
        "from antiphon.broker_config.database import SqliteDatabase\n"
        "base = SqliteDatabase(Path(sys.argv[1]), sync=True)\n"
        "with base.transaction() as c: c.execute('CREATE TABLE t (a)')\n"
        "with base.transaction() as c: c.execute('INSERT INTO t VALUES (1)')\n"
        "with base.transaction() as c:\n"
        "    c.execute('INSERT INTO t VALUES (2)'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "a.db")], check=False, timeout=30)
    assert (tmp_path / "a.db-wal").exists()
    assert SqliteDatabase(tmp_path / "a.db", sync=True).rows("SELECT * FROM t") == [(1,)]


def test_what_was_forgotten_is_in_no_file_any_more(tmp_path: Path) -> None:
    base, secret = SqliteDatabase(tmp_path / "a.db", sync=True), bytes(range(7, 39))
    with base.transaction() as cursor:
        cursor.execute("CREATE TABLE t (a)")
        cursor.execute("INSERT INTO t VALUES (?)", (secret,))
    with base.transaction() as cursor:
        cursor.execute("DELETE FROM t")
    assert any(secret in file.read_bytes() for file in tmp_path.iterdir())
    base.forget()
    assert not any(secret in file.read_bytes() for file in tmp_path.iterdir())
    base.close()
