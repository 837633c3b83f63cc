"""The rows of ``state.db``: how marks, updates, transfers and the residual are written and read.

Guarantees: what is written comes back the same. Plain functions over a cursor or over rows: transactions are
the caller's (`antiphon.agents.outbox`).
"""

from dataclasses import dataclass
from sqlite3 import Cursor as Cursor
from typing import Literal

from antiphon.agents.entries import HEAD_LIMIT, Entry, Head, Record
from antiphon.agents.store import Mark, Store
from antiphon.codecs import messages
from antiphon.codecs.sealing import SecretKey

State = Literal["pending", "received"]


@dataclass(frozen=True, slots=True)
class Residual:
    """What lossy encodings have left out in a run: floats in ``file``, or in the row if there is none."""

    run: bytes
    schema: bytes  # digest
    file: str


def put_mark(cursor: Cursor, mark: Mark) -> None:
    """Remember the version trained on last."""
    values = (mark.run, mark.started, mark.term, mark.number, mark.digest)
    cursor.execute("INSERT OR REPLACE INTO trained VALUES (1, ?, ?, ?, ?, ?)", values)


def read_mark(store: Store) -> Mark | None:
    """Return the version trained on last."""
    rows = store.rows("SELECT run, started, term, number, digest FROM trained")
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


def read_updates(store: Store) -> list[tuple[int, str, bytes, str, int | None]]:
    """Return (ordinal, state, head, file, bytes in the row or None) of every update, in order."""
    return store.rows("SELECT ordinal, state, head, file, length(content) FROM updates ORDER BY ordinal")


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


def read_transfers(store: Store) -> dict[int, Record]:
    """Return the transfers by their update's ordinal."""
    rows = store.rows("SELECT ordinal, transfer, secret, epoch, frame_limit, reserved FROM transfers")
    return {row[0]: Record(row[1], SecretKey.load(row[2]), *row[3:]) for row in rows}


def put_residual(cursor: Cursor, residual: Residual | None, content: bytes | None) -> None:
    """Replace the residual; ``content`` is None where a file has it."""
    cursor.execute("DELETE FROM residual")
    if residual is not None:
        values = (residual.run, residual.schema, residual.file, content)
        cursor.execute("INSERT INTO residual VALUES (1, ?, ?, ?, ?)", values)


def read_residual(store: Store) -> Residual | None:
    """Return what the residual belongs to."""
    rows = store.rows("SELECT run, schema, file FROM residual")
    return Residual(*rows[0]) if rows else None
