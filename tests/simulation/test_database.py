"""SQLite in memory: what it does that a database in a file does not."""

from pathlib import Path

import pytest

from antiphon.broker_config.database import Database
from antiphon.broker_config.disk import RealDisk
from antiphon.simulation.disk import Crashed, MemoryDisk

FOLDER = Path("/state")


def made(seed: int = 0, capacity: int | None = None) -> MemoryDisk:
    disk = MemoryDisk(seed, capacity)
    disk.make(FOLDER)
    return disk


def table(disk: MemoryDisk, sync: bool = True) -> Database:
    database = disk.database(FOLDER / "a.db", sync=sync)
    insert(database, "CREATE TABLE IF NOT EXISTS t (a)")
    return database


def insert(database: Database, sql: str = "INSERT INTO t VALUES (1)") -> None:
    with database.transaction() as cursor:
        cursor.execute(sql)


def test_open_transaction_of_a_dead_process_is_rolled_back() -> None:
    disk = made()
    database = table(disk.mount())
    transaction = database.transaction()
    transaction.__enter__().execute("INSERT INTO t VALUES (1)")
    disk.fence()
    again = table(disk.mount())
    assert again.rows("SELECT * FROM t") == []
    insert(again)
    with pytest.raises(Crashed):
        transaction.__exit__(None, None, None)
    assert again.rows("SELECT * FROM t") == [(1,)]


def test_reading_past_an_open_transaction_is_a_mistake() -> None:
    database = table(made())
    with database.transaction(), pytest.raises(RuntimeError, match="a transaction is open"):
        database.rows("SELECT 1")
    with database.transaction(), pytest.raises(RuntimeError), database.snapshot():
        pass


def test_database_with_a_log_can_be_brought_here(tmp_path: Path) -> None:
    real = RealDisk().database(tmp_path / "a.db", sync=True)
    insert(real, "CREATE TABLE t (a)")
    insert(real)
    real.close()
    disk = made()
    disk.write(FOLDER / "a.db", [(tmp_path / "a.db").read_bytes()], sync=True)
    assert disk.database(FOLDER / "a.db", sync=True).rows("SELECT * FROM t") == [(1,)]
