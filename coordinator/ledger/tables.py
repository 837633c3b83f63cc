"""The ledger's tables, and whether a file holds them.

What must never happen is impossible here, so that a defect raises instead of counting an update twice: an
update has one admission, one outcome and one place in one version; marks and versions only grow. Times are
wall time, seconds; digests and keys are bytes; ``key``, ``secret`` and ``frame`` are as secret as the folder.
"""

import sqlite3
from pathlib import Path

from antiphon.broker_config.database import Database, damaged
from antiphon.codecs.errors import StateError

APPLICATION_ID = 0x414E5431
"""Says in the file's head that it is ours: "ANT1"."""

FORMAT = 1
"""The file's ``user_version``; it grows when a table changes."""

REMEDY = "restore the state folder from a backup, or begin a new run with --new-run"

SCHEMA = (
    """CREATE TABLE run (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        federation TEXT NOT NULL,
        static BLOB NOT NULL CHECK (length(static) = 32),
        signing BLOB NOT NULL CHECK (length(signing) = 32),
        run BLOB NOT NULL CHECK (length(run) = 16),
        started REAL NOT NULL,
        term INTEGER NOT NULL CHECK (term > 0),
        over INTEGER NOT NULL DEFAULT 0 CHECK (over IN (0, 1)),
        received INTEGER NOT NULL DEFAULT 0 CHECK (received >= 0),
        applied INTEGER NOT NULL DEFAULT 0 CHECK (applied >= 0),
        rejected INTEGER NOT NULL DEFAULT 0 CHECK (rejected >= 0),
        first_at REAL,
        CHECK (applied <= received)
    ) STRICT""",
    # What the rule and the coordinator remembered when the newest version was committed.
    """CREATE TABLE memory (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        rule_state BLOB NOT NULL,
        memory BLOB NOT NULL
    ) STRICT""",
    "CREATE TABLE schemas (digest BLOB PRIMARY KEY CHECK (length(digest) = 32), body BLOB NOT NULL) STRICT",
    # The first 16 bytes of every version's digest, for ever: what an update may name as its base.
    """CREATE TABLE bases (
        number INTEGER PRIMARY KEY CHECK (number >= 0),
        digest BLOB NOT NULL CHECK (length(digest) = 16)
    ) STRICT""",
    """CREATE TABLE checkpoints (
        number INTEGER PRIMARY KEY REFERENCES bases,
        digest BLOB NOT NULL CHECK (length(digest) = 32),
        schema BLOB NOT NULL REFERENCES schemas,
        steps INTEGER NOT NULL CHECK (steps >= 0),
        step BLOB NOT NULL CHECK (length(step) = 32),
        size INTEGER NOT NULL CHECK (size > 0),
        data BLOB,
        file TEXT UNIQUE,
        CHECK ((data IS NULL) <> (file IS NULL))
    ) STRICT""",
    """CREATE TABLE versions (
        number INTEGER PRIMARY KEY REFERENCES bases,
        digest BLOB NOT NULL CHECK (length(digest) = 32),
        term INTEGER NOT NULL CHECK (term > 0),
        committed_at REAL NOT NULL,
        updates INTEGER NOT NULL CHECK (updates >= 0),
        started_step INTEGER NOT NULL CHECK (started_step IN (0, 1)),
        rule BLOB NOT NULL,
        plan BLOB,
        CHECK ((plan IS NULL) = (number = 0))
    ) STRICT""",
    """CREATE TABLE updates (
        admission INTEGER PRIMARY KEY CHECK (admission > 0),
        agent TEXT NOT NULL,
        incarnation BLOB NOT NULL CHECK (length(incarnation) = 16),
        sequence INTEGER NOT NULL CHECK (sequence > 0),
        admitted_at REAL NOT NULL,
        version INTEGER REFERENCES bases,
        place INTEGER CHECK (place >= 0),
        UNIQUE (agent, incarnation, sequence),
        UNIQUE (version, place),
        CHECK ((version IS NULL) = (place IS NULL))
    ) STRICT""",
    # Apart from the row above, which is written again when the update is applied.
    """CREATE TABLE contents (
        admission INTEGER PRIMARY KEY REFERENCES updates,
        file TEXT UNIQUE,
        size INTEGER NOT NULL CHECK (size > 0),
        schema BLOB NOT NULL REFERENCES schemas,
        transfer BLOB NOT NULL,
        offer BLOB NOT NULL,
        content BLOB NOT NULL,
        key BLOB NOT NULL CHECK (length(key) = 32),
        frame BLOB,
        CHECK ((file IS NULL) <> (frame IS NULL))
    ) STRICT""",
    # Admissions that the newest version's rule state has not seen, whatever became of them.
    """CREATE TABLE admissions (
        number INTEGER PRIMARY KEY CHECK (number > 0),
        agent TEXT NOT NULL,
        at REAL NOT NULL
    ) STRICT""",
    """CREATE TABLE outcomes (
        agent TEXT NOT NULL,
        n INTEGER NOT NULL CHECK (n > 0),
        incarnation BLOB NOT NULL CHECK (length(incarnation) = 16),
        sequence INTEGER NOT NULL,
        type TEXT NOT NULL CHECK (type IN ('applied', 'rejected', 'refused')),
        digest BLOB NOT NULL,
        version INTEGER REFERENCES bases,
        reason TEXT NOT NULL,
        detail TEXT NOT NULL,
        PRIMARY KEY (agent, n),
        UNIQUE (agent, incarnation, sequence),
        CHECK ((type = 'applied') = (version IS NOT NULL))
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE marks (
        agent TEXT NOT NULL,
        incarnation BLOB NOT NULL CHECK (length(incarnation) = 16),
        mark INTEGER NOT NULL CHECK (mark >= 0),
        PRIMARY KEY (agent, incarnation)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE uploads (
        file TEXT PRIMARY KEY,
        agent TEXT NOT NULL,
        transfer BLOB NOT NULL,
        schema BLOB NOT NULL REFERENCES schemas,
        offer BLOB NOT NULL,
        key BLOB NOT NULL CHECK (length(key) = 32),
        frame_limit INTEGER NOT NULL CHECK (frame_limit > 0),
        opened_at REAL NOT NULL
    ) STRICT""",
    """CREATE TABLE slots (
        slot INTEGER PRIMARY KEY CHECK (slot >= -1),
        publication BLOB,
        number INTEGER NOT NULL CHECK (number >= -1),
        retained_chunks INTEGER NOT NULL CHECK (retained_chunks >= 0),
        retained_pages INTEGER NOT NULL CHECK (retained_pages >= 0)
    ) STRICT""",
    """CREATE TABLE pins (
        agent TEXT NOT NULL,
        publication BLOB NOT NULL,
        since REAL NOT NULL,
        PRIMARY KEY (agent, publication)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE epochs (
        id BLOB PRIMARY KEY,
        secret BLOB NOT NULL CHECK (length(secret) = 32),
        made_at REAL NOT NULL,
        superseded_at REAL
    ) STRICT""",
    """CREATE TABLE group_keys (
        n INTEGER PRIMARY KEY,
        id BLOB NOT NULL UNIQUE,
        key BLOB NOT NULL CHECK (length(key) = 32)
    ) STRICT""",
    """CREATE TRIGGER versions_grow_by_one BEFORE INSERT ON bases
        WHEN NEW.number <> (SELECT coalesce(max(number), -1) + 1 FROM bases)
        BEGIN SELECT raise(ABORT, 'a version is not the next one'); END""",
    """CREATE TRIGGER marks_grow BEFORE UPDATE ON marks WHEN NEW.mark < OLD.mark
        BEGIN SELECT raise(ABORT, 'a mark went back'); END""",
    """CREATE TRIGGER applied_once BEFORE UPDATE OF version ON updates WHEN OLD.version IS NOT NULL
        BEGIN SELECT raise(ABORT, 'an update belongs to a version already'); END""",
    """CREATE TRIGGER received_once BEFORE INSERT ON updates WHEN EXISTS (
            SELECT 1 FROM outcomes
            WHERE agent = NEW.agent AND incarnation = NEW.incarnation AND sequence = NEW.sequence)
        BEGIN SELECT raise(ABORT, 'a settled update is received again'); END""",
    """CREATE TRIGGER terms_grow BEFORE UPDATE OF term ON run WHEN NEW.term <= OLD.term
        BEGIN SELECT raise(ABORT, 'a term is not larger than the one before'); END""",
)
"""``UNIQUE (version, place)`` also finds what waits: its version is NULL."""


def create(cursor: sqlite3.Cursor) -> None:
    """Make the tables in an empty database, within the caller's transaction."""
    for statement in SCHEMA:
        cursor.execute(statement)
    cursor.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    cursor.execute(f"PRAGMA user_version = {FORMAT}")


def is_empty(database: Database) -> bool:
    """Whether nothing was ever created in it."""
    return database.rows("SELECT count(*) FROM sqlite_master") == [(0,)]


def check(database: Database, path: Path, *, thorough: bool) -> None:
    """Refuse a file that is not a sound ledger of this format; ``thorough``: read all of it.

    Raises:
        StateError: Says what is wrong and what to do.
    """
    if database.rows("PRAGMA application_id") != [(APPLICATION_ID,)]:
        raise StateError(f"{path} is no ledger of Antiphon's: move it away, or name another folder")
    ((found,),) = database.rows("PRAGMA user_version")
    if found > FORMAT:
        raise StateError(
            f"{path} was written by a newer version of Antiphon (format {found}, this one reads {FORMAT}): "
            "install that version"
        )
    if found < FORMAT:
        raise StateError(f"{path} has format {found}, this version of Antiphon reads {FORMAT}: {REMEDY}")
    if thorough:
        try:
            answer = str(database.rows("PRAGMA quick_check(1)")[0][0])
        except sqlite3.Error as error:  # a CHECK of a damaged schema calls what does not exist
            raise damaged(path, str(error)) from error
        if answer != "ok":
            raise damaged(path, answer)
