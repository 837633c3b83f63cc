"""The services' databases, read by whoever judges them: with plain SQL, not with the code under test."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from antiphon.agents.entries import HEAD_LIMIT, Head
from antiphon.broker_config.disk import Disk
from antiphon.codecs import messages
from antiphon.codecs.messages import UpdateId

LEDGER = Path("state") / "ledger.db"
"""In the federation's folder."""


@dataclass(frozen=True, slots=True)
class Settled:
    """An outcome in the ledger."""

    type: str
    version: int
    reason: str


@dataclass(frozen=True, slots=True)
class LedgerView:
    """What the coordinator's ledger says of its run.

    Attributes:
        run: Its id; empty: there is no ledger.
        versions: The first 16 bytes of each version's digest, by number.
        waiting: Updates that were received and have no outcome.
        places: For each applied update that is kept, how many places in versions it has, and in which.
        outcomes: Of each update, by agent and id.
    """

    run: bytes
    versions: Mapping[int, bytes]
    waiting: tuple[tuple[str, UpdateId], ...]
    places: Mapping[tuple[str, UpdateId], tuple[int, ...]]
    outcomes: Mapping[tuple[str, UpdateId], Settled]


def read_ledger(disk: Disk, folder: Path) -> LedgerView:
    """Read what is committed in ``folder``."""
    if disk.size(folder / LEDGER) is None:
        return LedgerView(b"", {}, (), {}, {})
    database = disk.database(folder / LEDGER, sync=False)
    places: dict[tuple[str, UpdateId], tuple[int, ...]] = {}
    waiting: list[tuple[str, UpdateId]] = []
    rows = database.rows("SELECT agent, incarnation, sequence, version FROM updates ORDER BY admission")
    for agent, incarnation, sequence, version in rows:
        name = (agent, UpdateId(incarnation, sequence))
        if version is None:
            waiting.append(name)
        else:
            places[name] = (*places.get(name, ()), version)
    rows = database.rows("SELECT agent, incarnation, sequence, type, version, reason FROM outcomes")
    outcomes = {
        (agent, UpdateId(incarnation, sequence)): Settled(type, -1 if version is None else version, reason)
        for agent, incarnation, sequence, type, version, reason in rows
    }
    runs = database.rows("SELECT run FROM run")
    versions = dict(database.rows("SELECT number, digest FROM bases ORDER BY number"))
    database.close()
    return LedgerView(runs[0][0] if runs else b"", versions, tuple(waiting), places, outcomes)


def read_outbox(disk: Disk, folder: Path) -> dict[UpdateId, tuple[str, Head]]:
    """Return state and head of every update that an agent keeps in ``folder``."""
    path = folder / "state.db"
    if disk.size(path) is None:
        return {}
    database = disk.database(path, sync=False)
    known = database.rows("SELECT 1 FROM sqlite_schema WHERE name = 'updates'")
    rows = database.rows("SELECT state, head FROM updates ORDER BY ordinal") if known else []
    database.close()
    found: dict[UpdateId, tuple[str, Head]] = {}
    for state, body in rows:
        head = messages.decode(body, Head, HEAD_LIMIT)
        found[UpdateId(head.incarnation, head.sequence)] = (state, msgspec.structs.replace(head, schema=b""))
    return found
