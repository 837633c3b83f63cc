"""Where things lie, and moving a run away."""

import pytest

from antiphon.codecs.errors import StateError
from antiphon.coordinator.ledger.layout import MOVED, Layout, finish, move_run, sweep
from antiphon.simulation.disk import MemoryDisk
from tests.coordinator.ledger.stage import FOLDER

LAYOUT = Layout(FOLDER)


def test_everything_of_a_run_is_moved_and_nothing_else() -> None:
    disk = MemoryDisk()
    for folder in (LAYOUT.spool, LAYOUT.checkpoints):
        disk.make(folder)
        disk.write(folder / "x", [b"1"], sync=True)
    for path in (LAYOUT.database, LAYOUT.model, LAYOUT.lock, FOLDER / "events.jsonl"):
        disk.write(path, [b"1"], sync=True)
    move_run(LAYOUT, disk, "abc")
    assert disk.names(FOLDER) == ["events.jsonl", "lock", "runs"]
    assert disk.names(LAYOUT.runs / "abc") == sorted({*MOVED} & {*disk.names(LAYOUT.runs / "abc")})
    assert len(disk.names(LAYOUT.runs / "abc")) == 4
    assert disk.names(LAYOUT.runs / "abc" / "spool") == ["x"]
    finish(LAYOUT, disk)


@pytest.mark.parametrize("note", [b"", b"..", b"a/b", b"\xff\xff"])
def test_note_about_a_move_that_names_no_folder_of_ours_is_refused(note: bytes) -> None:
    disk = MemoryDisk()
    disk.make(FOLDER)
    disk.write(LAYOUT.moving, [note], sync=True)
    with pytest.raises(StateError, match="moving is damaged"):
        finish(LAYOUT, disk)


def test_sweep_removes_what_nobody_names_and_minds_no_disk_that_refuses() -> None:
    disk = MemoryDisk()
    disk.make(LAYOUT.spool)
    for name in ("a", "b", "c"):
        disk.write(LAYOUT.spool / name, [b"1"], sync=True)
    disk.make(LAYOUT.spool / "folder")
    sweep(LAYOUT.spool, disk, {"b"})
    assert disk.names(LAYOUT.spool) == ["b", "folder"]
