"""SQLite in memory that survives the process that used it: the twin of a database in a file.

What is committed is durable; a crash leaves the last committed state. Stricter than the file in one thing: in
virtual time nothing runs beside a transaction, so reading past one that is open is a mistake, and raises.
"""

import sqlite3
import threading
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from antiphon.broker_config.database import Translated, damaged, prepare, transact

if TYPE_CHECKING:
    from antiphon.simulation.medium import Medium

MAGIC = b"SQLite format 3\0"
NO_LOG = b"\x01\x01"
"""Bytes 18 and 19 of a database without a write-ahead log, which memory has no place for."""

PAGE = 4096
"""Bytes of a page, SQLite's own choice."""

MOST_PAGES = 1 << 27


class Crashed(BaseException):
    """The process that this belonged to is dead. Nobody may catch it but whoever stages the crash."""


class Life:
    """One process's time with a disk."""

    __slots__ = ("over",)

    def __init__(self) -> None:
        """Alive."""
        self.over = False

    def check(self) -> None:
        """Refuse what a dead process asks for.

        Raises:
            Crashed: It is dead.
        """
        if self.over:
            raise Crashed("the process is dead: its disk does not listen to it any more")


class Base:
    """A database's content; opened when it is first used."""

    def __init__(self, path: Path, content: bytes) -> None:
        """Take the bytes of a database, or none for a new one.

        Raises:
            StateError: They are no database.
        """
        self.lock = threading.RLock()
        self.limited = False
        self._connection: sqlite3.Connection | None = None
        if content:
            if not content.startswith(MAGIC):
                raise damaged(path, "file is not a database")
            self._connection = _connect()
            with Translated(path):
                self._connection.deserialize(content[:18] + NO_LOG + content[20:])
                prepare(self._connection)

    @property
    def connection(self) -> sqlite3.Connection:
        """The one connection."""
        if self._connection is None:
            self._connection = _connect()
            prepare(self._connection)
        return self._connection

    @property
    def content(self) -> bytes:
        """The bytes of the file that it would be."""
        return b"" if self._connection is None else self._connection.serialize()

    @property
    def size(self) -> int:
        """In bytes."""
        if self._connection is None:
            return 0
        return self.pages * PAGE

    @property
    def pages(self) -> int:
        """How many pages it has."""
        return self.connection.execute("PRAGMA page_count").fetchone()[0]

    def limit(self, pages: int) -> None:
        """Let it have at most so many pages."""
        self.limited = pages < MOST_PAGES
        self.connection.execute(f"PRAGMA max_page_count = {max(1, min(pages, MOST_PAGES))}")

    def recover(self) -> None:
        """Whoever was in a transaction is dead."""
        self.lock = threading.RLock()
        if self._connection is not None and self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


class Handle:
    """A database as one process has it open; see `antiphon.broker_config.database.Database`."""

    def __init__(self, path: Path, base: Base, medium: "Medium", life: Life) -> None:
        """``life``: the process's."""
        self._path, self._base, self._medium, self._life = path, base, medium, life
        self._open = True

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Cursor]:
        """See `Database.transaction`. A full disk shows at the end, where it does most harm."""
        self._check()
        base, medium = self._base, self._medium
        with base.lock, Translated(self._path):
            if (medium.capacity is not None or base.limited) and not base.connection.in_transaction:
                base.limit(base.pages + medium.left() // PAGE)
            with transact(base.connection) as cursor:
                yield cursor
                self._check()
                medium.tick()
                medium.room(0, str(self._path))
        medium.tick()  # committed, but the process may die before it knows

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """See `Database.rows`.

        Raises:
            RuntimeError: A transaction is open: ask its cursor, or wait.
        """
        self._check()
        with self._base.lock, Translated(self._path):
            return self._idle().execute(sql, parameters).fetchall()

    @contextmanager
    def snapshot(self) -> Generator[sqlite3.Cursor]:
        """See `Database.snapshot`."""
        self._check()
        with Translated(self._path), closing(_connect()) as copy:
            with self._base.lock:
                self._idle().backup(copy)
            yield copy.cursor()

    def forget(self) -> None:
        """See `Database.forget`: there is no log here."""
        self._check()

    def close(self) -> None:
        """See `Database.close`."""
        self._open = False

    def _idle(self) -> sqlite3.Connection:
        if self._base.connection.in_transaction:
            raise RuntimeError(
                "a transaction is open: what it has not committed cannot be told from the rest"
            )
        return self._base.connection

    def _check(self) -> None:
        self._life.check()
        if not self._open:
            raise sqlite3.ProgrammingError("Cannot operate on a closed database.")


def _connect() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
