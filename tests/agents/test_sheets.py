"""Bytes on their way into a row or a file."""

from pathlib import Path

import pytest

from antiphon.agents.sheets import SMALL, Sheet, sync
from antiphon.broker_config.disk import RealDisk
from antiphon.simulation.disk import MemoryDisk


def test_few_bytes_go_into_the_row(tmp_path: Path) -> None:
    sheet = Sheet(RealDisk(), tmp_path / "x", SMALL - 1)
    sheet.write(b"ab")
    sheet.write(memoryview(b"cd"))
    sync(RealDisk(), sheet, None)
    assert (sheet.file, sheet.content) == ("", b"abcd")
    sheet.drop()
    assert list(tmp_path.iterdir()) == []


def test_many_bytes_go_into_a_file(tmp_path: Path) -> None:
    sheet = Sheet(RealDisk(), tmp_path / "x", SMALL)
    sheet.write(b"ab")
    sheet.write(memoryview(b"cd"))
    assert (sheet.file, sheet.content) == ("x", None)
    assert (tmp_path / "x").read_bytes() == b"abcd"
    sheet.drop()
    assert list(tmp_path.iterdir()) == []


def test_only_what_is_synced_survives_a_power_cut() -> None:
    outcomes: set[bool] = set()
    for seed in range(20):
        disk, folder = MemoryDisk(seed), Path("/outbox")
        disk.make(folder)
        first, second = Sheet(disk, folder / "1", SMALL), Sheet(disk, folder / "2", SMALL)
        first.write(b"first")
        second.write(b"second")
        sync(disk, first)
        disk.fence(power=True)
        assert disk.read(folder / "1") == b"first"
        outcomes.add(disk.size(folder / "2") == 6)
    assert outcomes == {True, False}


def test_a_file_that_cannot_be_removed_stays(tmp_path: Path) -> None:
    sheet = Sheet(RealDisk(), tmp_path / "x", SMALL)
    (tmp_path / "x").mkdir()  # no file can be removed there
    sheet.drop()
    assert (tmp_path / "x").exists()
    with pytest.raises(OSError, match="directory"):
        sheet.write(b"")
