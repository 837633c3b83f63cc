"""How a coordinator gets hold of its ledger: lock, look, refuse or recover, commit the new term.

Guaranteed: nothing that is not wholly sound is used, and nothing of it is changed before that is known;
files that no row names are removed only then.
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from antiphon.broker_config.database import Database
from antiphon.broker_config.disk import Closing, Disk
from antiphon.codecs.errors import StateError
from antiphon.codecs.schema import Schema
from antiphon.coordinator.ledger import tables
from antiphon.coordinator.ledger.index import Index
from antiphon.coordinator.ledger.layout import Layout, finish, move_run, sweep
from antiphon.coordinator.ledger.records import Owner, PutSlot, Recovered
from antiphon.coordinator.ledger.recovery import Recovery
from antiphon.coordinator.ledger.retention import StoredVersions

Token = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Started:
    """An open ledger: ``fill`` puts what it holds into the index and what retention keeps into its own."""

    database: Database
    term: int
    recovered: Recovered
    schemas: Mapping[bytes, Schema]
    fill: Callable[[Index, StoredVersions], None]


@dataclass(frozen=True, slots=True)
class _Past:
    """What a new run must know of the ones before it."""

    name: str
    term: int = 0
    slots: tuple[PutSlot, ...] = ()


def lock(layout: Layout, disk: Disk) -> Closing:
    """Make the folder, and hold it.

    Raises:
        StateError: Another coordinator holds it, or it cannot be written.
    """
    with sentences(layout):
        disk.make(layout.folder)
        try:
            return disk.lock(layout.lock)
        except BlockingIOError:
            raise StateError(
                f"{layout.folder} is in use by another coordinator: "
                "stop that one first, or use another folder"
            ) from None


@contextmanager
def sentences(layout: Layout) -> Generator[None]:
    """Say what is wrong with the disk in a sentence.

    Raises:
        StateError: In place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise StateError(
            f"cannot use {error.filename or layout.folder}: {error.strerror or error}; "
            "make room or repair the disk, then start again"
        ) from None


def open_run(layout: Layout, disk: Disk, sync: bool, owner: Owner, now: float, token: Token) -> Started:
    """Open what is there; an empty folder becomes a new run.

    Raises:
        StateError, OSError: See `antiphon.coordinator.ledger.ledger.Ledger.open`.
    """
    finish(layout, disk)
    disk.make(layout.spool)
    disk.make(layout.checkpoints)
    return _open(layout, disk, sync, owner, now, token, _Past(""))


def begin_anew(layout: Layout, disk: Disk, sync: bool, owner: Owner, now: float, token: Token) -> Started:
    """Move what is there away, and begin a new run."""
    finish(layout, disk)
    past = _past(layout, disk, sync, now)
    if past is not None:
        move_run(layout, disk, past.name)
    disk.make(layout.spool)
    disk.make(layout.checkpoints)
    return _open(layout, disk, sync, owner, now, token, past or _Past(""))


def _check_bare(layout: Layout, disk: Disk) -> None:
    """Refuse files without the ledger that names them: to begin a run would delete them."""
    if files := _orphans(layout, disk):
        raise StateError(f"{layout.database} is missing, although {files[0]} is there: {tables.REMEDY}")


def _past(layout: Layout, disk: Disk, sync: bool, now: float) -> _Past | None:
    """Read what the next run must know; None if there was no run. A damaged ledger tells nothing."""
    damaged = _Past(f"damaged-{int(now)}")
    if disk.size(layout.database) is None:
        return damaged if _orphans(layout, disk) else None
    try:
        database = disk.database(layout.database, sync=sync)
    except StateError:
        return damaged
    try:
        if tables.is_empty(database):
            return damaged if _orphans(layout, disk) else None
        tables.check(database, layout.database, thorough=False)
        ((run, term),) = database.rows("SELECT run, term FROM run")
        return _Past(run.hex(), term, Recovery(layout, disk, database).slots())
    except (StateError, ValueError):  # ValueError: not one row
        return damaged
    finally:
        database.close()


def _orphans(layout: Layout, disk: Disk) -> list[Path]:
    """Files of a run, if there are any."""
    folders = (layout.checkpoints, layout.spool)
    return [folder / name for folder in folders for name in disk.names(folder)]


def _open(
    layout: Layout, disk: Disk, sync: bool, owner: Owner, now: float, token: Token, past: _Past
) -> Started:
    database = disk.database(layout.database, sync=sync)
    try:
        fresh = tables.is_empty(database)
        if fresh:
            _check_bare(layout, disk)
            _create(database, owner, now, token(16), max(past.term + 1, int(now), 1), past.slots)
        else:
            tables.check(database, layout.database, thorough=True)
        recovery = Recovery(layout, disk, database)
        recovery.check_owner(owner)
        found = recovery.recover(fresh=fresh)
        files = recovery.files()
        stored = recovery.stored_versions()
        ((term,),) = database.rows("SELECT term FROM run")
        if not fresh:
            term = max(term + 1, int(now))
            with database.transaction() as cursor:
                cursor.execute("UPDATE run SET term = ?", (term,))
        sweep(layout.spool, disk, files.spool)
        sweep(layout.checkpoints, disk, files.checkpoints)
    except BaseException:
        database.close()
        raise

    def fill(index: Index, kept: StoredVersions) -> None:
        recovery.fill_index(index, found)
        kept.load(*stored)

    return Started(database, term, found, recovery.schemas, fill)


def _create(
    database: Database, owner: Owner, now: float, run: bytes, term: int, slots: tuple[PutSlot, ...]
) -> None:
    with database.transaction() as cursor:
        tables.create(cursor)
        cursor.execute(
            "INSERT INTO run (id, federation, static, signing, run, started, term) "
            "VALUES (1, ?, ?, ?, ?, ?, ?)",
            (owner.federation, owner.static, owner.signing, run, now, term),
        )
        cursor.executemany(
            "INSERT INTO slots VALUES (?, NULL, -1, ?, ?)",
            [(slot.slot, slot.retained_chunks, slot.retained_pages) for slot in slots],
        )
