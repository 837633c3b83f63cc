"""What an earlier process left behind: rows and files, compared.

Guarantees: after `recover` every row has its whole file and every payload file has its row. Rows whose file
is missing or short are given up, with a sentence; files that no row names were never sent and are removed;
what is not ours is left alone.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from antiphon.agents import database
from antiphon.agents.database import Mark, Residual, StateDatabase
from antiphon.agents.entries import Entry
from antiphon.broker_config.disk import Disk
from antiphon.codecs.errors import MalformedError

PAYLOAD, RESIDUAL = ".payload", ".residual"
OURS = re.compile(r"\.?(\d{12,})\.(payload|residual)(\.new)?")
EARLIER = (".update", ".record")
"""Files of releases that had no database."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is there, see `antiphon.agents.outbox`. ``next``: no name has this number or a larger one."""

    entries: list[Entry]
    residual: Residual | None
    mark: Mark | None
    next: int
    complaints: list[str]


def recover(store: StateDatabase, disk: Disk, folder: Path) -> Found:
    """Read everything, and put right what a crash or a person has left in disorder. Blocks.

    Raises:
        OSError: The folder cannot be used.
        StateError: The database is damaged.
    """
    disk.make(folder)
    complaints: list[str] = []
    entries = _entries(store, disk, folder, complaints)
    residual = _residual(store, disk, folder, complaints)
    named = {entry.file for entry in entries} | {residual.file if residual else ""}
    highest = max((entry.ordinal for entry in entries), default=-1)
    for name in disk.names(folder):
        if ours := OURS.fullmatch(name):
            highest = max(highest, int(ours[1]))
            if name not in named:
                with suppress(OSError):
                    disk.remove(folder / name)
        elif name.endswith(EARLIER):
            complaints.append(f"{folder / name} is of an earlier release and is not delivered: remove it")
    if disk.size(folder.parent / "trained.json") is not None:
        complaints.append(f"{folder.parent / 'trained.json'} is of an earlier release and unused: remove it")
    return Found(entries, residual, database.read_mark(store), highest + 1, complaints)


def _entries(store: StateDatabase, disk: Disk, folder: Path, complaints: list[str]) -> list[Entry]:
    transfers = database.read_transfers(store)
    entries: list[Entry] = []
    lost: list[int] = []
    for ordinal, state, body, file, inside in database.read_updates(store):
        try:
            head = database.read_head(body)
        except MalformedError as error:
            complaints.append(f"update {ordinal} in {store.path} cannot be read and is given up: {error}")
            lost.append(ordinal)
            continue
        here = inside if not file else disk.size(folder / file)
        whole, received = here == head.size, state == "received"
        if not whole and not received:  # of what was received the record counts
            left = "is missing" if here is None else f"has {here} bytes of {head.size}"
            complaints.append(
                f"update {head.sequence} on version {head.base_number} is given up: "
                f"{folder / file if file else store.path} {left}"
            )
            lost.append(ordinal)
            continue
        record = transfers.get(ordinal)
        entry = Entry(head, ordinal, file if whole else "", record=record, whole=whole, shown=True)
        entry.state = "received" if received else "pending"
        entries.append(entry)
    for ordinal in lost:
        _change(store, partial(database.drop_update, ordinal=ordinal))
    return entries


def _residual(store: StateDatabase, disk: Disk, folder: Path, complaints: list[str]) -> Residual | None:
    residual = database.read_residual(store)
    if residual is None or not residual.file or disk.size(folder / residual.file) is not None:
        return residual
    complaints.append(f"{folder / residual.file} is missing: error feedback begins anew")
    _change(store, partial(database.put_residual, residual=None, content=None))
    return None


def _change(store: StateDatabase, write: Callable[[database.Cursor], object]) -> None:
    """Tidy up if the disk lets us: what stays is found again at the next start."""
    with suppress(OSError), store.transaction() as cursor:
        write(cursor)
