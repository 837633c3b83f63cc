"""The real disk: errors of the operating system, and what is synced when."""

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from antiphon.broker_config.disk import RealDisk

DISK = RealDisk()


def test_full_disk_says_so(tmp_path: Path) -> None:
    (tmp_path / "full").symlink_to("/dev/full")
    with pytest.raises(OSError) as error:
        DISK.append(tmp_path / "full", 0, b"x")
    assert error.value.errno == errno.ENOSPC


def test_piece_larger_than_one_write_is_written_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write

    def short(handle: int, data: memoryview) -> int:
        return real(handle, data[:3])

    monkeypatch.setattr(os, "write", short)
    DISK.append(tmp_path / "a", 0, b"0123456789")
    assert DISK.read(tmp_path / "a") == b"0123456789"


def test_written_whole_and_synced_before_its_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    replace, fsync = os.replace, os.fsync

    def synced(handle: int) -> None:
        done.append(f"sync {os.readlink(f'/proc/self/fd/{handle}').removeprefix(str(tmp_path))}")
        fsync(handle)

    def renamed(source: Path, target: Path) -> None:
        done.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    DISK.write(tmp_path / "a", [b"x"], sync=True)
    assert done == ["sync /.a.new", "rename", "sync "]
    done.clear()
    DISK.write(tmp_path / "a", [b"x"], sync=False)
    assert done == ["rename"]
    done.clear()
    DISK.append(tmp_path / "b", 0, b"x")
    assert done == []
    DISK.sync([tmp_path / "a", tmp_path / "b"])
    assert done == ["sync /a", "sync /b", "sync "]
    done.clear()
    DISK.make(tmp_path / "c" / "d")
    assert done == ["sync ", "sync /c"]
    done.clear()
    DISK.move(tmp_path / "a", tmp_path / "c" / "a")
    assert done == ["rename", "sync /c", "sync "]


def test_lock_ends_with_its_process(tmp_path: Path) -> None:
    program = (
        "import sys, os, signal; from pathlib import Path; from antiphon.broker_config.disk import RealDisk\n"
        "held = RealDisk().lock(Path(sys.argv[1])); print(flush=True); signal.pause()"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(BlockingIOError):
            DISK.lock(tmp_path / "lock")
        holder.kill()
        holder.wait(10)
    DISK.lock(tmp_path / "lock").close()


def test_lock_file_of_another_open_descriptor_is_held(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError, match="lock"):
            DISK.lock(tmp_path / "lock")
