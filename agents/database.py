"""``state.db`` in the agent's folder: what must be true together is one transaction of this database.

Guarantees: the database is this agent's, of this layout, and whole (SQLite's ``quick_check``), or opening it
is a `StateError` that says what to do. Not done here: payload files, and what the rows mean
(`antiphon.agents.outbox`). Everything here blocks. A full or failing disk is an `OSError`, and nothing has
changed then.

The functions below write rows with a transaction's cursor and read what is committed: what is written comes
back the same.
"""

import errno
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Cursor as Cursor
from typing import Any, Literal

from antiphon.agents.entries import HEAD_LIMIT, Entry, Head, Record
from antiphon.broker_config.database import Database, damaged
from antiphon.broker_config.disk import Disk
from antiphon.codecs import messages
from antiphon.codecs.errors import StateError
from antiphon.codecs.sealing import SecretKey

State = Literal["pending", "received"]

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


@dataclass(frozen=True, slots=True)
class Residual:
    """What lossy encodings have left out in a run: floats in ``file``, or in the row if there is none."""

    run: bytes
    schema: bytes  # digest
    file: str


class StateDatabase:
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

    def transaction(self) -> AbstractContextManager[Cursor]:
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


def put_mark(cursor: Cursor, mark: Mark) -> None:
    """Remember the version trained on last."""
    values = (mark.run, mark.started, mark.term, mark.number, mark.digest)
    cursor.execute("INSERT OR REPLACE INTO trained VALUES (1, ?, ?, ?, ?, ?)", values)


def read_mark(database: StateDatabase) -> Mark | None:
    """Return the version trained on last."""
    rows = database.rows("SELECT run, started, term, number, digest FROM trained")
    return Mark(*rows[0]) if rows else None


def put_update(cursor: Cursor, entry: Entry, content: bytes | None) -> None:
    """Add an update; ``content`` is None where a file has it."""
    values = (entry.ordinal, entry.state, messages.encode(entry.head), entry.file, content)
    cursor.execute("INSERT INTO updates VALUES (?, ?, ?, ?, ?)", values)


def put_state(cursor: Cursor, ordinal: int, state: State) -> None:
    """Change how far an update is; its transfer is of no more use."""
    cursor.execute("UPDATE updates SET state = ? WHERE ordinal = ?", (state, ordinal))
    drop_transfer(cursor, ordinal)


def empty_update(cursor: Cursor, ordinal: int) -> None:
    """The coordinator has an update: keep the record alone."""
    cursor.execute(
        "UPDATE updates SET state = 'received', file = '', content = NULL WHERE ordinal = ?", (ordinal,)
    )
    drop_transfer(cursor, ordinal)


def put_name(cursor: Cursor, old: int, ordinal: int, head: Head) -> bool:
    """Give an update another id and another place, and end its transfer; says whether it was there."""
    drop_transfer(cursor, old)
    cursor.execute(
        "UPDATE updates SET ordinal = ?, head = ? WHERE ordinal = ?", (ordinal, messages.encode(head), old)
    )
    return cursor.rowcount == 1


def drop_update(cursor: Cursor, ordinal: int) -> bool:
    """Remove an update, and its transfer with it; says whether it was there."""
    cursor.execute("DELETE FROM updates WHERE ordinal = ?", (ordinal,))
    return cursor.rowcount == 1


def read_updates(database: StateDatabase) -> list[tuple[int, str, bytes, str, int | None]]:
    """Return (ordinal, state, head, file, bytes in the row or None) of every update, in order."""
    return database.rows("SELECT ordinal, state, head, file, length(content) FROM updates ORDER BY ordinal")


def read_head(body: bytes) -> Head:
    """Read the head of an update.

    Raises:
        MalformedError: It is none.
    """
    return messages.decode(body, Head, HEAD_LIMIT)


def put_transfer(cursor: Cursor, ordinal: int, record: Record) -> None:
    """Keep what is needed to go on with an update's transfer, unless its last word has come meanwhile."""
    values = (record.transfer, record.secret.export(), record.epoch, record.frame_limit, record.reserved)
    cursor.execute(
        "INSERT OR REPLACE INTO transfers SELECT ordinal, ?, ?, ?, ?, ? FROM updates"
        " WHERE ordinal = ? AND state = 'pending'",
        (*values, ordinal),
    )


def drop_transfer(cursor: Cursor, ordinal: int) -> None:
    """Forget an update's transfer, and its key."""
    cursor.execute("DELETE FROM transfers WHERE ordinal = ?", (ordinal,))


def read_transfers(database: StateDatabase) -> dict[int, Record]:
    """Return the transfers by their update's ordinal."""
    rows = database.rows("SELECT ordinal, transfer, secret, epoch, frame_limit, reserved FROM transfers")
    return {row[0]: Record(row[1], SecretKey.load(row[2]), *row[3:]) for row in rows}


def put_residual(cursor: Cursor, residual: Residual | None, content: bytes | None) -> None:
    """Replace the residual; ``content`` is None where a file has it."""
    cursor.execute("DELETE FROM residual")
    if residual is not None:
        values = (residual.run, residual.schema, residual.file, content)
        cursor.execute("INSERT INTO residual VALUES (1, ?, ?, ?, ?)", values)


def read_residual(database: StateDatabase) -> Residual | None:
    """Return what the residual belongs to."""
    rows = database.rows("SELECT run, schema, file FROM residual")
    return Residual(*rows[0]) if rows else None
