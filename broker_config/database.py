"""SQLite for the services' books: committed is durable, readers never wait, failures have names.

Guaranteed: one transaction at a time, whole or not at all; whoever reads sees committed data only. What goes
wrong with the disk comes out as ``OSError`` with its number, as for any other file, and a damaged file as
`StateError`. Thread-safe. Not done here: schemas and migrations, see those who own the tables.
"""

import errno
import os
import sqlite3
import threading
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from antiphon.codecs.errors import ConfigError, StateError

PATIENCE = 5.0
"""Seconds to wait for another process that holds the database: a backup, or an export that just closes it."""

LOG_LIMIT = 16 << 20
"""Bytes that the write-ahead log keeps on disk once it was larger."""

OLDEST = (3, 37)
"""SQLite's version that has strict tables, which both services' tables are."""

_DISK_ERRORS = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_IOERR: errno.EIO,
    sqlite3.SQLITE_CANTOPEN: errno.EIO,
    sqlite3.SQLITE_PERM: errno.EACCES,
    sqlite3.SQLITE_BUSY: errno.EBUSY,
    sqlite3.SQLITE_LOCKED: errno.EBUSY,
}
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT)


class Database(Protocol):
    """An open database; close it before its file is moved or removed."""

    def transaction(self) -> AbstractContextManager[sqlite3.Cursor]:
        """Enter a transaction that may write: committed at the end of the block, rolled back if that raises.

        One at a time: others wait at the door. They do not nest.

        Raises:
            OSError: The disk is full (ENOSPC), read-only or broken; nothing of the transaction happened.
            StateError: The file is damaged.
        """
        ...

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return what a query finds in committed data; never waits for a running transaction."""
        ...

    def snapshot(self) -> AbstractContextManager[sqlite3.Cursor]:
        """Enter a reading transaction: all its queries see one state, whatever is committed meanwhile."""
        ...

    def forget(self) -> None:
        """Leave nothing on disk of what was deleted, unless somebody reads right now.

        Raises:
            OSError: The disk is full or broken.
        """
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class Translated:
    """A block that turns SQLite's errors about a file into ours; errors in the SQL stay SQLite's.

    Raises:
        OSError: See `Database.transaction`.
        StateError: The file is damaged, or is no database.
    """

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        """``path``: the file's."""
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, sqlite3.Error):
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in _DISK_ERRORS:
                number = _DISK_ERRORS[code]
                raise OSError(number, f"{os.strerror(number)} ({error})", str(self._path)) from error
            if code in _DAMAGE:
                raise damaged(self._path, str(error)) from error
        elif isinstance(error, UnicodeDecodeError):  # SQLite's message holds bytes of the file
            raise damaged(self._path, "what it says of its tables is no text") from error


class DamagedError(StateError):
    """A file is no sound database."""


def damaged(path: Path, why: str) -> DamagedError:
    """The error for a file that is no sound database."""
    why = why.rpartition("\n")[2]  # SQLite's own check has a heading
    return DamagedError(f"{path} is damaged ({why}): restore its folder from a backup")


class SqliteDatabase:
    """A database in a file; see `Database`."""

    def __init__(self, path: Path, *, sync: bool) -> None:
        """Open the file, or make it, readable by its owner alone.

        Args:
            path: Its folder must be there.
            sync: Whether a commit returns only when it would survive a power cut.

        Raises:
            OSError: It cannot be opened.
            StateError: It is damaged, or is no database.
            ConfigError: This Python brings an SQLite that is too old.
        """
        if sqlite3.sqlite_version_info < OLDEST:
            wanted = ".".join(map(str, OLDEST))
            raise ConfigError(
                f"this Python comes with SQLite {sqlite3.sqlite_version}, {wanted} or later is needed: "
                "use another Python, or a newer system"
            )
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._path = path
        self._write_lock, self._read_lock = threading.RLock(), threading.Lock()
        self._writer, self._reader = self._connect(), self._connect()
        try:
            with Translated(path):
                self._writer.execute("PRAGMA journal_mode = WAL")
                self._writer.execute(f"PRAGMA journal_size_limit = {LOG_LIMIT}")
                self._writer.execute(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}")
                prepare(self._writer)
                self._reader.execute("PRAGMA query_only = ON")
        except BaseException:
            self.close()
            raise

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Cursor]:
        """See `Database.transaction`."""
        with self._write_lock, Translated(self._path), transact(self._writer) as cursor:
            yield cursor

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """See `Database.rows`."""
        with self._read_lock, Translated(self._path):
            return self._reader.execute(sql, parameters).fetchall()

    @contextmanager
    def snapshot(self) -> Generator[sqlite3.Cursor]:
        """See `Database.snapshot`."""
        with Translated(self._path), closing(self._connect()) as connection:
            connection.execute("PRAGMA query_only = ON")
            cursor = connection.cursor()
            cursor.execute("BEGIN")
            cursor.execute("SELECT count(*) FROM sqlite_master").fetchone()  # a snapshot starts with a read
            yield cursor

    def forget(self) -> None:
        """See `Database.forget`: the log, which still has it, is written into the file and emptied."""
        with self._write_lock, Translated(self._path):
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def close(self) -> None:
        """See `Database.close`."""
        with self._write_lock, self._read_lock, Translated(self._path):
            self._reader.close()
            self._writer.close()

    def _connect(self) -> sqlite3.Connection:
        with Translated(self._path):
            # URI without "c": a file that vanished meanwhile is an error, not a new empty database
            name = f"{self._path.absolute().as_uri()}?mode=rw"
            return sqlite3.connect(
                name, uri=True, timeout=PATIENCE, isolation_level=None, check_same_thread=False
            )


def prepare(connection: sqlite3.Connection) -> None:
    """Set what every connection that writes needs: deleted keys are overwritten, references hold."""
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(
        "SELECT count(*) FROM sqlite_master"
    ).fetchone()  # opens the file, which may be no database


@contextmanager
def transact(connection: sqlite3.Connection) -> Generator[sqlite3.Cursor]:
    """Run a block in a transaction of its own.

    Raises:
        RuntimeError: One is running on this connection already.
    """
    if connection.in_transaction:
        raise RuntimeError("transactions do not nest")
    cursor = connection.cursor()
    cursor.execute("BEGIN IMMEDIATE")
    try:
        yield cursor
        cursor.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite has rolled back by itself after some errors
            with suppress(sqlite3.Error):
                cursor.execute("ROLLBACK")
        raise
