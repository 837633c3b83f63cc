"""The outbox's database and files as one: changes are transactions, and files follow the rows.

Guarantees: a row never names less than was written and synced, and a file is removed only after the
transaction that took its name out of the rows: a crash leaves at most a file without a row, which the next
start removes. What was settled without haste goes with the next transaction, whatever that is for.
Thread-safe. Everything here blocks.
"""

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from antiphon.agents import database
from antiphon.agents.database import PASSING, StateDatabase
from antiphon.agents.recovery import Found, recover
from antiphon.broker_config.disk import Disk
from antiphon.codecs.errors import StateError

SMALL = 64 << 10
"""Bytes from which on something is a file of its own."""


class Blob:
    """Bytes being written that belong to a row: in it if they are few, else in a file beside the database.

    Args:
        disk: Where.
        folder: Where on it.
        name: The file's, if it becomes one.
        size: How many bytes will come.
    """

    def __init__(self, disk: Disk, folder: Path, name: str, size: int) -> None:
        """Nothing is written yet."""
        self._disk, self._folder, self._name = disk, folder, name
        self._parts: list[bytes] | None = [] if size < SMALL else None
        self._at = 0

    @property
    def path(self) -> Path:
        """The file, if it is one."""
        return self._folder / self._name

    @property
    def file(self) -> str:
        """The file's name, or "" if the row has it."""
        return self._name if self._parts is None else ""

    @property
    def content(self) -> bytes | None:
        """What goes into the row, or None if a file has it."""
        return None if self._parts is None else b"".join(self._parts)

    def write(self, part: bytes | memoryview) -> None:
        """Add bytes at the end.

        Raises:
            OSError: The disk is full, say.
        """
        if self._parts is not None:
            self._parts.append(bytes(part))
        else:
            self._disk.append(self.path, self._at, part)
        self._at += len(part)

    def drop(self) -> None:
        """Remove the file if the disk lets us: what is left over goes at the next start."""
        if self._parts is None:
            with suppress(OSError):
                self._disk.remove(self.path)


def sync(disk: Disk, *blobs: Blob | None) -> None:
    """Return when the files among ``blobs`` would survive a power cut.

    Raises:
        OSError: They might not.
    """
    paths = [blob.path for blob in blobs if blob is not None and blob.file]
    if paths:
        disk.sync(paths)


class Storage:
    """See the module.

    Args:
        folder: The agent's; ``state.db`` and ``outbox/`` are made in it.
        disk: Where that is.
        federation: With ``agent``, whose it is.
        agent: The agent's id.
    """

    def __init__(self, folder: Path, disk: Disk, federation: str, agent: str) -> None:
        """Nothing is open yet."""
        self.folder, self.disk = folder / "outbox", disk
        self._path, self._owner = folder / "state.db", (federation, agent)
        self._store: StateDatabase | None = None
        self._settled: dict[int, str] = {}  # ordinal -> file of updates whose rows are still there
        self._next = 0
        self._lock = threading.Lock()

    def open(self) -> Found:
        """Open the database and return what earlier processes left.

        Raises:
            StateError: It is damaged or foreign, or the folder cannot be used.
            OSError: The disk is full, or does not answer: later it may.
        """
        self.close()
        self._store = StateDatabase(self._path, self.disk, *self._owner)
        try:
            found = recover(self._store, self.disk, self.folder)
        except OSError as error:
            if error.errno in PASSING:
                raise
            raise StateError(f"cannot use the outbox {self.folder}: {words(error)}") from None
        self._next = found.next
        return found

    def close(self) -> None:
        """Write down what has waited for the next transaction, and close the database."""
        if self._store is None:
            return
        if self._settled:
            with suppress(OSError, StateError):  # what stays behind is asked about once more
                self.change(lambda cursor: None)
        self._store.close()
        self._store = None

    def change(self, write: Callable[[database.Cursor], object]) -> None:
        """Make one transaction of ``write`` and of everything that was settled before; durable then.

        Raises:
            OSError: The disk is full, say; nothing has changed.
        """
        with self._lock:
            settled = dict(self._settled)
        with self._open().transaction() as cursor:
            for ordinal in settled:
                database.drop_update(cursor, ordinal)
            write(cursor)
        for ordinal, file in settled.items():
            self.remove(file)
            with self._lock:
                self._settled.pop(ordinal, None)

    def settle(self, ordinal: int, file: str, *, soon: bool) -> None:
        """Remove an update's row and file; ``soon``: now, if the disk lets us, not with the next change."""
        with self._lock:
            self._settled[ordinal] = file
        if soon:
            with suppress(OSError):
                self.change(lambda cursor: None)

    def number(self) -> int:
        """Return a number that nothing here has had."""
        with self._lock:
            number, self._next = self._next, self._next + 1
        return number

    def blob(self, ordinal: int, kind: str, size: int) -> Blob:
        """Return a blob to be written."""
        return Blob(self.disk, self.folder, f"{ordinal:012d}{kind}", size)

    def read(self, ordinal: int, file: str) -> memoryview:
        """Return the payload of an update; nothing if it has none.

        Raises:
            OSError: The file is gone, say.
        """
        if file:
            return self.disk.map(self.folder / file)
        return _blob(self._open().rows("SELECT content FROM updates WHERE ordinal = ?", (ordinal,)))

    def read_residual(self, file: str) -> memoryview:
        """Return the bytes of the residual.

        Raises:
            OSError: The file is gone, say.
        """
        if file:
            return self.disk.map(self.folder / file)
        return _blob(self._open().rows("SELECT content FROM residual"))

    def remove(self, file: str) -> None:
        """Delete a file that no row names any more; what stays goes at the next start."""
        if file:
            with suppress(OSError):
                self.disk.remove(self.folder / file)

    def _open(self) -> StateDatabase:
        if self._store is None:
            raise StateError(f"the outbox {self.folder} is closed")
        return self._store


def words(error: OSError) -> str:
    """Return what the operating system says, without the file."""
    return os.strerror(error.errno) if error.errno else str(error)


def _blob(rows: list[tuple[bytes | None]]) -> memoryview:
    return memoryview((rows[0][0] if rows else None) or b"")
