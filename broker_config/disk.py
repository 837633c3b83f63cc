"""The disk as the services see it: few operations, each of which says when it is durable.

Guaranteed by every `Disk`: what was synced survives a power cut; what was written whole is there whole or not
at all; listings are sorted; files are for nobody else's eyes. Everything here blocks and belongs into
`antiphon.broker_config.environment.Environment.run`. `antiphon.simulation.disk` has the twin in memory that
loses what was not synced.
"""

import errno
import mmap
import os
import shutil
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from antiphon.broker_config.database import Database, SqliteDatabase


class Closing(Protocol):
    """What is held until it is closed."""

    def close(self) -> None:
        """Let go of it."""
        ...


class Disk(Protocol):
    """Files and databases. Every method raises ``OSError`` as the operating system would.

    A folder must be made before anything is put into it.
    """

    def make(self, folder: Path) -> None:
        """Make a folder (0700), with its parents, durably; one that is there is fine."""
        ...

    def names(self, folder: Path) -> list[str]:
        """Return the names in a folder, sorted; none if there is no such folder."""
        ...

    def size(self, path: Path) -> int | None:
        """Return a file's size in bytes; None if there is no such file."""
        ...

    def read(self, path: Path) -> bytes:
        """Return a file's content."""
        ...

    def open(self, path: Path) -> BinaryIO:
        """Open a file for reading; it can seek."""
        ...

    def map(self, path: Path) -> memoryview:
        """Return a file's bytes, read-only, without reading them yet."""
        ...

    def write(self, path: Path, parts: Iterable[bytes | memoryview], *, sync: bool) -> None:
        """Write a file (0600) whole or not at all: aside (``.NAME.new``), then renamed.

        A crash may leave the file aside; nobody but the next `write` minds it.
        ``sync``: Return only when it would survive a power cut.
        """
        ...

    def append(self, path: Path, at: int, data: bytes | memoryview) -> None:
        """Write at byte ``at`` of a file (0600), which is made if it is not there. Not durable before `sync`.

        An error may leave a part of ``data`` written.
        """
        ...

    def sync(self, paths: Iterable[Path]) -> None:
        """Return when these files, and their names in their folders, would survive a power cut."""
        ...

    def cut(self, path: Path, size: int) -> None:
        """Shorten a file to so many bytes. Not durable before `sync`."""
        ...

    def move(self, source: Path, target: Path) -> None:
        """Rename a file or folder, durably; a file that is at ``target`` is replaced."""
        ...

    def remove(self, path: Path) -> None:
        """Delete a file; one that is not there is fine. Durable with the next `sync` in its folder."""
        ...

    def free(self, folder: Path) -> int:
        """Return how many bytes there is room for."""
        ...

    def lock(self, path: Path) -> Closing:
        """Hold a lock file until it is closed, or the process ends.

        Raises:
            BlockingIOError: Somebody else holds it.
        """
        ...

    def database(self, path: Path, *, sync: bool) -> Database:
        """Open an SQLite database (0600), which is made if it is not there.

        ``sync``: Whether what is committed would survive a power cut (a crash it always does).
        While it is open, files of SQLite's own lie beside it (``NAME-wal``, ``NAME-shm``).

        Raises:
            StateError: The file is damaged, or is no database.
        """
        ...


@dataclass(frozen=True, slots=True)
class RealDisk:
    """This machine's file system; see `Disk`."""

    def make(self, folder: Path) -> None:
        """See `Disk.make`."""
        missing = [each for each in (folder, *folder.parents) if not each.exists()]
        for each in reversed(missing):
            each.mkdir(0o700, exist_ok=True)
            _sync_folder(each.parent)
        if not folder.is_dir():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder))

    def names(self, folder: Path) -> list[str]:
        """See `Disk.names`."""
        try:
            return sorted(os.listdir(folder))
        except FileNotFoundError:
            return []

    def size(self, path: Path) -> int | None:
        """See `Disk.size`."""
        try:
            about = path.stat()
        except FileNotFoundError:
            return None
        return about.st_size if stat.S_ISREG(about.st_mode) else None

    def read(self, path: Path) -> bytes:
        """See `Disk.read`."""
        return path.read_bytes()

    def open(self, path: Path) -> BinaryIO:
        """See `Disk.open`."""
        return path.open("rb")

    def map(self, path: Path) -> memoryview:
        """See `Disk.map`."""
        with path.open("rb") as file:
            if not os.fstat(file.fileno()).st_size:
                return memoryview(b"")  # mmap refuses empty files
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def write(self, path: Path, parts: Iterable[bytes | memoryview], *, sync: bool) -> None:
        """See `Disk.write`."""
        aside = path.with_name(f".{path.name}.new")
        try:
            with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.writelines(parts)
                file.flush()
                if sync:
                    os.fsync(file.fileno())
            os.replace(aside, path)
        except BaseException:
            with suppress(OSError):
                aside.unlink(missing_ok=True)
            raise
        if sync:
            _sync_folder(path.parent)

    def append(self, path: Path, at: int, data: bytes | memoryview) -> None:
        """See `Disk.append`."""
        left = memoryview(data).cast("B")
        handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.lseek(handle, at, os.SEEK_SET)
            while left:
                left = left[os.write(handle, left) :]
        finally:
            os.close(handle)

    def sync(self, paths: Iterable[Path]) -> None:
        """See `Disk.sync`."""
        folders: dict[Path, None] = {}
        for path in paths:
            with path.open("r+b") as file:
                os.fsync(file.fileno())
            folders[path.parent] = None
        for folder in folders:
            _sync_folder(folder)

    def cut(self, path: Path, size: int) -> None:
        """See `Disk.cut`."""
        os.truncate(path, size)

    def move(self, source: Path, target: Path) -> None:
        """See `Disk.move`."""
        os.replace(source, target)
        for folder in dict.fromkeys((target.parent, source.parent)):
            _sync_folder(folder)

    def remove(self, path: Path) -> None:
        """See `Disk.remove`."""
        path.unlink(missing_ok=True)

    def free(self, folder: Path) -> int:
        """See `Disk.free`."""
        return shutil.disk_usage(folder).free

    def lock(self, path: Path) -> Closing:
        """See `Disk.lock`."""
        file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb")
        if os.name == "posix":  # elsewhere whoever opens it has it
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.close()
                raise BlockingIOError(errno.EAGAIN, "somebody else holds it", str(path)) from error
        return file

    def database(self, path: Path, *, sync: bool) -> Database:
        """See `Disk.database`."""
        new = not path.exists()
        database = SqliteDatabase(path, sync=sync)
        if sync and new:
            _sync_folder(path.parent)
        return database


def _sync_folder(folder: Path) -> None:
    """Make names in a folder last through a power cut."""
    if os.name != "posix":  # other systems cannot open folders
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
