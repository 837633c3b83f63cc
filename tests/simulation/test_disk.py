"""The disk in memory: what it does that a real one cannot be made to do."""

import errno
from collections.abc import Callable
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


def after_power_cut(change: Callable[[MemoryDisk], object], seeds: int = 60) -> set[bytes | None]:
    """What may be in the file, by seed."""
    found: set[bytes | None] = set()
    for seed in range(seeds):
        disk = made(seed)
        disk.write(PLACE, [b"old"], sync=True)
        change(disk)
        disk.fence(power=True)
        found.add(disk.read(PLACE) if disk.size(PLACE) is not None else None)
    return found


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


def test_appended_but_not_synced_is_kept_dropped_or_torn_by_a_power_cut() -> None:
    found = after_power_cut(lambda disk: disk.append(PLACE, 3, b"new"))
    assert found == {b"old", b"oldn", b"oldne", b"oldnew"}


def test_later_piece_may_survive_an_earlier_one() -> None:
    def change(disk: MemoryDisk) -> None:
        disk.append(PLACE, 3, b"1")
        disk.append(PLACE, 4, b"2")

    assert b"old\x002" in after_power_cut(change)


def test_synced_survives_every_power_cut() -> None:
    def change(disk: MemoryDisk) -> None:
        disk.append(PLACE, 3, b"new")
        disk.sync([PLACE])

    assert after_power_cut(change) == {b"oldnew"}
    assert after_power_cut(lambda disk: disk.write(PLACE, [b"new"], sync=True)) == {b"new"}


def test_shortened_but_not_synced_may_be_long_again() -> None:
    assert after_power_cut(lambda disk: disk.cut(PLACE, 1)) == {b"old", b"o"}


def test_replaced_without_sync_is_old_or_new_or_torn() -> None:
    found = after_power_cut(lambda disk: disk.write(PLACE, [b"new"], sync=False))
    assert found == {b"old", b"", b"n", b"ne", b"new"}


def test_removed_without_sync_may_be_back() -> None:
    assert after_power_cut(lambda disk: disk.remove(PLACE)) == {b"old", None}


def test_new_file_without_sync_may_have_no_name() -> None:
    def change(disk: MemoryDisk) -> None:
        disk.remove(PLACE)
        disk.write(FOLDER / "b", [], sync=True)
        disk.append(PLACE, 0, b"x")

    assert after_power_cut(change) == {b"", b"x", None}


def test_removed_and_synced_beside_stays_removed() -> None:
    def change(disk: MemoryDisk) -> None:
        disk.remove(PLACE)
        disk.write(FOLDER / "b", [], sync=True)

    assert after_power_cut(change) == {None}


def test_same_seed_loses_the_same() -> None:
    def once() -> list[bytes]:
        disk = made(7)
        for n in range(50):
            disk.append(FOLDER / f"{n:02}", 0, b"0123456789")
        disk.fence(power=True)
        return [disk.read(FOLDER / name) for name in disk.names(FOLDER)]

    assert once() == once()
    assert len(once()) < 50


def test_system_writes_back_by_itself_what_is_long_un_synced() -> None:
    disk = made()
    for n in range(1000):
        disk.append(PLACE, n, b"x")
        disk.write(FOLDER / f"file-{n}", [b"x"], sync=False)
    disk.fence(power=True)
    assert disk.read(PLACE)[:900] == b"x" * 900
    assert all(disk.read(FOLDER / f"file-{n}") == b"x" for n in range(900))


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
