"""How a coordinator gets hold of its ledger: lock, look, refuse or recover, commit the new term.

Guaranteed: nothing that is not wholly sound is used, and nothing of it is changed before that is known;
files that no row names are removed only then.
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from antiphon.broker_config.database import DamagedError, Database
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
class _Former:
    """What a new run must know of the ones before it."""

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
    """Say what is wrong with the disk in a sentence, and what to do.

    Raises:
        StateError: In place of an OSError, and for a damaged database.
    """
    try:
        yield
    except DamagedError as error:
        raise StateError(f"{error}, or begin a new run with --new-run") from None
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
    return _open(layout, disk, sync, owner, now, token)


def begin_anew(layout: Layout, disk: Disk, sync: bool, owner: Owner, now: float, token: Token) -> Started:
    """Move what is there away, and begin a new run."""
    finish(layout, disk)
    name = _name(layout, disk, sync, now)
    if name is not None:
        move_run(layout, disk, name)
    disk.make(layout.spool)
    disk.make(layout.checkpoints)
    return _open(layout, disk, sync, owner, now, token)


def _check_bare(layout: Layout, disk: Disk) -> None:
    """Refuse files without the ledger that names them: to begin a run would delete them."""
    if files := _orphans(layout, disk):
        raise StateError(f"{layout.database} is missing, although {files[0]} is there: {tables.REMEDY}")


def _name(layout: Layout, disk: Disk, sync: bool, now: float) -> str | None:
    """Return what to call the run that is there; None if there is none."""
    damaged = f"damaged-{int(now)}"
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
        ((run,),) = database.rows("SELECT run FROM run")
        return run.hex()
    except (StateError, ValueError):  # ValueError: not one row
        return damaged
    finally:
        database.close()


def _former(layout: Layout, disk: Disk, sync: bool) -> _Former:
    """Return what the last of the runs that were put aside knows; a damaged ledger tells nothing.

    They are asked when the new run begins, and not when the old one is moved: a crash may lie between.
    """
    last = _Former()
    for name in disk.names(layout.runs):
        moved = Layout(layout.runs / name)
        if not disk.size(moved.database):
            continue
        with suppress(StateError, ValueError):  # ValueError: not one row
            found = _read_former(moved, disk, sync)
            last = max(last, found, key=lambda former: former.term)
    return last


def _read_former(moved: Layout, disk: Disk, sync: bool) -> _Former:
    database = disk.database(moved.database, sync=sync)
    try:
        tables.check(database, moved.database, thorough=False)
        ((term,),) = database.rows("SELECT term FROM run")
        return _Former(term, Recovery(moved, disk, database).slots())
    finally:
        database.close()


def _orphans(layout: Layout, disk: Disk) -> list[Path]:
    """Files of a run, if there are any."""
    folders = (layout.checkpoints, layout.spool)
    found = [folder / name for folder in folders for name in disk.names(folder)]
    return found if disk.size(layout.model) is None else [*found, layout.model]


def _open(layout: Layout, disk: Disk, sync: bool, owner: Owner, now: float, token: Token) -> Started:
    database = disk.database(layout.database, sync=sync)
    try:
        fresh = tables.is_empty(database)
        if fresh:
            _check_bare(layout, disk)
            former = _former(layout, disk, sync)
            _create(database, owner, now, token(16), max(former.term + 1, int(now), 1), former.slots)
        else:
            tables.check(database, layout.database, thorough=True)
        recovery = Recovery(layout, disk, database)
        recovery.check_owner(owner)
        found = recovery.recover()
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
