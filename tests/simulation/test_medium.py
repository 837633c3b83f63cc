"""What a power cut does to a disk in memory: every promise of a sync holds, and nothing else does."""

from collections.abc import Callable
from pathlib import Path

from antiphon.simulation.disk import MemoryDisk

FOLDER = Path("/state")
PLACE = FOLDER / "a"


def made(seed: int = 0) -> MemoryDisk:
    disk = MemoryDisk(seed)
    disk.make(FOLDER)
    return disk


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
