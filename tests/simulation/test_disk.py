"""The disk in memory: what it does that a real one cannot be made to do."""

import errno
from pathlib import Path

import pytest

from antiphon.broker_config.database import Database
from antiphon.simulation.disk import Crashed, MemoryDisk

FOLDER = Path("/state")
PLACE = FOLDER / "a"


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


def test_everything_that_a_dead_process_had_raises() -> None:
    disk = made()
    mount = disk.mount()
    database, lock = table(mount), mount.lock(FOLDER / "lock")
    mount.write(PLACE, [b"x"], sync=True)
    file = mount.open(PLACE)
    disk.fence()
    for attempt in (
        lambda: mount.write(PLACE, [b"y"], sync=True),
        lambda: mount.read(PLACE),
        lambda: mount.names(FOLDER),
        lambda: mount.size(PLACE),
        file.read,
        lambda: database.rows("SELECT 1"),
        lambda: insert(database),
    ):
        with pytest.raises(Crashed):
            attempt()
    lock.close()
    assert disk.read(PLACE) == b"x"
    disk.mount().lock(FOLDER / "lock")  # it died with its holder


def test_lock_of_a_dead_process_does_not_open_its_successors() -> None:
    disk = made()
    dead = disk.mount().lock(FOLDER / "lock")
    disk.fence()
    disk.mount().lock(FOLDER / "lock")
    dead.close()
    with pytest.raises(BlockingIOError):
        disk.lock(FOLDER / "lock")


def test_crash_without_power_cut_loses_nothing() -> None:
    disk = made()
    disk.append(PLACE, 0, b"abc")
    disk.fence()
    assert disk.read(PLACE) == b"abc"


def test_full_disk_takes_nothing_and_lets_delete() -> None:
    disk = made()
    database = table(disk)
    disk.write(PLACE, [b"old"], sync=True)
    disk.full = True
    for attempt in (
        lambda: disk.write(PLACE, [b"new"], sync=True),
        lambda: disk.append(PLACE, 3, b"x"),
        lambda: disk.make(FOLDER / "b"),
        lambda: disk.lock(FOLDER / "lock"),
        lambda: disk.move(PLACE, FOLDER / "b"),
        lambda: disk.database(FOLDER / "b.db", sync=True),
        lambda: insert(database),
    ):
        with pytest.raises(OSError) as error:
            attempt()
        assert error.value.errno == errno.ENOSPC
    assert (disk.full, disk.free(FOLDER), disk.names(FOLDER)) == (True, 0, ["a", "a.db"])
    assert disk.read(PLACE) == b"old"
    assert database.rows("SELECT * FROM t") == []
    disk.remove(PLACE)
    disk.full = False
    insert(database)


def test_capacity_bounds_files_and_databases() -> None:
    disk = made(capacity=100_000)
    database = table(disk)
    disk.write(PLACE, [bytes(50_000)], sync=True)
    assert disk.free(FOLDER) == 100_000 - disk.used
    with pytest.raises(OSError, match="No space"):
        disk.write(FOLDER / "b", [bytes(60_000)], sync=True)
    with pytest.raises(OSError, match="No space"):
        insert(database, "INSERT INTO t VALUES (zeroblob(60000))")
    assert database.rows("SELECT * FROM t") == []
    with pytest.raises(OSError, match="No space"):
        disk.append(FOLDER / "b", 0, bytes(60_000))
    assert disk.size(FOLDER / "b") == 100_000 - 50_000 - 8192, "what fitted was written"
    assert disk.capacity == 100_000
    disk.capacity = None
    insert(database, "INSERT INTO t VALUES (zeroblob(60000))")


def test_process_can_die_at_each_operation_of_a_job() -> None:
    def job(disk: MemoryDisk) -> None:
        disk.append(PLACE, 0, b"payload")
        disk.sync([PLACE])
        insert(disk.database(FOLDER / "a.db", sync=True))

    def run(at: int | None) -> tuple[bool, bytes | None, int]:
        disk = made()
        table(disk)
        before = disk.operations
        if at is not None:
            disk.trip(before + at, lambda: disk.fence(power=True))
        died = False
        try:
            job(disk.mount())
        except Crashed:
            died = True
        size = disk.size(PLACE)
        rows = len(table(disk).rows("SELECT * FROM t"))
        assert died or disk.operations > before
        return died, None if size is None else disk.read(PLACE), rows

    assert run(None) == (False, b"payload", 1)
    results = [run(at) for at in range(1, 6)]
    assert [died for died, _, _ in results] == [True] * 5
    assert [rows for _, _, rows in results] == [0, 0, 0, 0, 1]
    assert results[0][1] is None
    assert results[3][1] == results[4][1] == b"payload"


def test_death_between_writing_aside_and_renaming_leaves_the_old_file() -> None:
    disk = made()
    disk.write(PLACE, [b"old"], sync=True)
    disk.trip(disk.operations + 2, disk.fence)
    with pytest.raises(Crashed):
        disk.mount().write(PLACE, [b"new"], sync=True)
    assert (disk.names(FOLDER), disk.read(PLACE)) == ([".a.new", "a"], b"old")
    disk.write(PLACE, [b"new"], sync=True)
    assert (disk.names(FOLDER), disk.read(PLACE)) == (["a"], b"new")
