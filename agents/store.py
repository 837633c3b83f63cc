"""``state.db`` in the agent's folder: what must be true together is one transaction of this database.

Guarantees: the database is this agent's, of this layout, and whole (SQLite's ``quick_check``), or opening it
is a `StateError` that says what to do. Not done here: payload files, and what the rows mean
(`antiphon.agents.outbox`). Everything here blocks. A full or failing disk is an `OSError`, and nothing has
changed then.
"""

import errno
import sqlite3
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antiphon.broker_config.database import Database, damaged
from antiphon.broker_config.disk import Disk
from antiphon.codecs.errors import StateError

APPLICATION = 0x616E7061
"""SQLite's ``application_id``: "anpa"."""

LAYOUT = 1
"""SQLite's ``user_version``."""

PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""What may be over without a person: SQLite cannot always say that a disk is full, and says EIO."""

TABLES = (
    "CREATE TABLE owner (federation TEXT NOT NULL, agent TEXT NOT NULL) STRICT",
    # The version that was trained on last. One row, as in `residual`.
    "CREATE TABLE trained (one INTEGER PRIMARY KEY CHECK (one = 1), run BLOB NOT NULL, started REAL NOT NULL,"
    " term INTEGER NOT NULL, number INTEGER NOT NULL, digest BLOB NOT NULL) STRICT",
    # In the order of offering. The encoded blocks are in `content` or in `file`, or dropped.
    "CREATE TABLE updates (ordinal INTEGER PRIMARY KEY, state TEXT NOT NULL, head BLOB NOT NULL,"
    " file TEXT NOT NULL, content BLOB) STRICT",
    # How an update's chunks were sealed and cut: with it a restarted agent goes on with the same transfer.
    "CREATE TABLE transfers (ordinal INTEGER PRIMARY KEY REFERENCES updates ON DELETE CASCADE,"
    " transfer BLOB NOT NULL, secret BLOB NOT NULL, epoch BLOB NOT NULL, frame_limit INTEGER NOT NULL,"
    " reserved INTEGER NOT NULL) STRICT",
    "CREATE TABLE residual (one INTEGER PRIMARY KEY CHECK (one = 1), run BLOB NOT NULL, schema BLOB NOT NULL,"
    " file TEXT NOT NULL, content BLOB) STRICT",
)


@dataclass(frozen=True, slots=True)
class Mark:
    """The version that the agent trained on last: it believes in nothing older."""

    run: bytes
    started: float
    term: int
    number: int
    digest: bytes


class Store:
    """The open database; see the module.

    Args:
        path: Made if it is not there.
        disk: Where.
        federation: With ``agent``, whose it is.
        agent: The agent's id.

    Raises:
        StateError: It is damaged, foreign, of another layout, or the folder cannot be used.
        OSError: The disk is full, or does not answer: later it may.
    """

    def __init__(self, path: Path, disk: Disk, federation: str, agent: str) -> None:
        """Open, check, and make the tables of a new one. Blocks."""
        self.path = path
        self._database: Database | None = None
        try:
            disk.make(path.parent)
            self._database = disk.database(path, sync=True)
            self._check(federation, agent)
        except StateError as error:
            self.close()
            raise StateError(
                f"{error}; or remove {path.name} and outbox/ beside it: what was not delivered is lost then"
            ) from None
        except OSError as error:
            self.close()
            if error.errno in PASSING:
                raise
            raise StateError(f"cannot use {path}: {error.strerror or error}") from None

    def transaction(self) -> AbstractContextManager[sqlite3.Cursor]:
        """Return the block in which everything happens or nothing; durable when it has ended."""
        return self._open().transaction()

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return what is committed."""
        return self._open().rows(sql, parameters)

    def close(self) -> None:
        """Close it; again is harmless."""
        database, self._database = self._database, None
        if database is not None:
            database.close()

    def _open(self) -> Database:
        if self._database is None:
            raise StateError(f"{self.path} is closed")
        return self._database

    def _check(self, federation: str, agent: str) -> None:
        (application,), (layout,) = self.rows("PRAGMA application_id") + self.rows("PRAGMA user_version")
        if (application, layout) == (0, 0) and not self.rows("SELECT 1 FROM sqlite_schema LIMIT 1"):
            with self.transaction() as cursor:
                for statement in TABLES:
                    cursor.execute(statement)
                cursor.execute("INSERT INTO owner VALUES (?, ?)", (federation, agent))
                cursor.execute(f"PRAGMA application_id = {APPLICATION}")
                cursor.execute(f"PRAGMA user_version = {LAYOUT}")
            return
        if application != APPLICATION:
            raise StateError(f"{self.path} is not an agent's database: put back the one that belongs there")
        if layout != LAYOUT:
            raise StateError(
                f"{self.path} has layout {layout}, this release reads {LAYOUT}: use the release that wrote it"
            )
        if (found := self.rows("PRAGMA quick_check(1)")) != [("ok",)]:
            raise damaged(self.path, " ".join(str(line) for (line,) in found).rpartition("\n")[2])
        owners = self.rows("SELECT federation, agent FROM owner")
        if owners != [(federation, agent)]:
            whose = " and ".join(f"agent {name} of {whole}" for whole, name in owners)
            raise StateError(
                f"{self.path} belongs to {whose or 'nobody'}: every agent has a folder of its own"
            )
