"""A ledger read without changing it, also while its coordinator runs: the newest version, and what made each.

Guaranteed: everything comes from one committed state. Not done here: holding the folder; what retention
removes meanwhile is missed with a sentence.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antiphon.broker_config.database import Database
from antiphon.broker_config.disk import Disk
from antiphon.codecs.errors import StateError
from antiphon.coordinator import models
from antiphon.coordinator.ledger import tables
from antiphon.coordinator.ledger.layout import Layout
from antiphon.coordinator.ledger.recovery import Recovery
from antiphon.coordinator.models import Model


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest committed version of a run, with the term that committed it."""

    model: Model
    run: bytes
    term: int


def folder_of(path: Path, disk: Disk) -> Path:
    """Return the folder of a ledger.

    Args:
        path: A state folder, the federation's around it, one below ``runs/``, or the ledger itself.
        disk: What it lies on.

    Raises:
        StateError: There is none.
    """
    for folder in (path, path / "state", *([path.parent] if path.name == Layout(path).database.name else [])):
        if disk.size(Layout(folder).database):
            return folder
    raise StateError(f"there is no ledger in {path}: the coordinator makes one when it starts")


@contextmanager
def reading(folder: Path, disk: Disk) -> Generator[Recovery]:
    """Open a ledger for reading: everything within the block is one committed state.

    Raises:
        StateError: There is none, or it is damaged.
        OSError: It cannot be read.
    """
    layout = Layout(folder)
    if not disk.size(layout.database):
        raise StateError(f"there is no ledger in {folder}: the coordinator makes one when it starts")
    database = disk.database(layout.database, sync=False)
    try:
        tables.check(database, layout.database, thorough=False)
        with database.snapshot() as cursor:
            yield Recovery(layout, disk, _Snapshot(database, cursor))
    finally:
        database.close()


class _Snapshot:
    """A database of which only one committed state is seen."""

    def __init__(self, database: Database, cursor: Any) -> None:
        self.transaction, self.snapshot = database.transaction, database.snapshot
        self.forget, self.close = database.forget, database.close
        self._cursor = cursor

    def rows(self, sql: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
        return self._cursor.execute(sql, parameters).fetchall()


def newest(folder: Path, disk: Disk) -> Newest:
    """Load the newest committed version, its digest compared.

    Raises:
        StateError: There is none yet, or it is damaged.
        OSError: It cannot be read.
    """
    with reading(folder, disk) as recovery:
        ((run,),) = recovery.rows("SELECT run FROM run")
        found = recovery.newest()
    if found is None:
        raise StateError(f"there is no first version in {folder} yet")
    return Newest(found.model, run, found.term)


def metadata(version: Newest) -> dict[str, str]:
    """Return what a model's file says of itself, so that it can be the first version of another run."""
    return {
        "version": str(version.model.number),
        "digest": version.model.digest.hex(),
        "run": version.run.hex(),
        "term": str(version.term),
        models.ROLES_KEY: models.roles_as_json(version.model.schema),
    }
