"""What a start reads from the tables: everything that the coordinator goes on with, or a sentence why not.

Guaranteed: what comes out is whole: every file that a row names is there with its size, the newest version
has its digest. Nothing is written here.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antiphon.broker_config.database import Database
from antiphon.broker_config.disk import Disk
from antiphon.codecs import schema
from antiphon.codecs.errors import PeerError, StateError
from antiphon.codecs.messages import GroupKey, UpdateId
from antiphon.codecs.schema import Schema
from antiphon.codecs.sealing import SecretKey
from antiphon.coordinator.aggregation.history import RuleState
from antiphon.coordinator.aggregation.step import StepState
from antiphon.coordinator.ledger import checkpoints, updates, versions
from antiphon.coordinator.ledger.checkpoints import Checkpoint
from antiphon.coordinator.ledger.index import PREFIX, Index, Open
from antiphon.coordinator.ledger.layout import Layout
from antiphon.coordinator.ledger.records import (
    Admission,
    Memory,
    OpenUpload,
    Owner,
    PutEpoch,
    PutPin,
    PutSlot,
    Received,
    Recovered,
    RecoveredVersion,
)
from antiphon.coordinator.ledger.retention import Kept
from antiphon.coordinator.ledger.tables import REMEDY
from antiphon.coordinator.models import Model
from antiphon.coordinator.publication import Publication

BATCH = "SELECT agent, incarnation, sequence FROM updates WHERE version = ? ORDER BY place"
CHECKPOINT = "SELECT number, digest, schema, steps, step, size, data, file FROM checkpoints"


@dataclass(frozen=True, slots=True)
class Files:
    """Names that rows have: below ``spool/``, and below ``checkpoints/``."""

    spool: set[str]
    checkpoints: set[str]


class Recovery:
    """Reads one ledger that `antiphon.coordinator.ledger.tables.check` found sound."""

    def __init__(self, layout: Layout, disk: Disk, database: Database) -> None:
        """Read the schemas. ``rows`` asks the tables.

        Raises:
            StateError: They are damaged.
        """
        self._layout, self._disk, self._database = layout, disk, database
        self.rows = database.rows
        self.schemas: dict[bytes, Schema] = {}
        with self._reading("a schema"):
            for digest, body in self.rows("SELECT digest, body FROM schemas"):
                self.schemas[digest] = schema.decode(body, len(body))

    def check_owner(self, owner: Owner) -> None:
        """Refuse another federation's ledger.

        Raises:
            StateError: It is one.
        """
        ((federation, static, signing),) = self._one("SELECT federation, static, signing FROM run")
        if federation != owner.federation:
            raise StateError(
                f"{self._layout.database} belongs to federation {federation!r}, not to {owner.federation!r}: "
                "put the right state folder there, or begin a new run with --new-run"
            )
        if (static, signing) != (owner.static, owner.signing):
            raise StateError(
                f"{self._layout.database} was written under other keys than coordinator.key holds: "
                "restore that file, or begin a new run with --new-run"
            )

    def recover(self) -> Recovered:
        """Read all that the coordinator goes on with.

        Raises:
            StateError: Something is damaged or missing.
        """
        ((run, started, over, received, applied, rejected, first_at),) = self._one(
            "SELECT run, started, over, received, applied, rejected, first_at FROM run"
        )
        admissions = self.rows("SELECT agent, at FROM admissions ORDER BY number")
        return Recovered(
            run=run,
            started=started,
            over=bool(over),
            version=self.newest(),
            first_at=first_at,
            admissions=tuple(Admission(agent, at) for agent, at in admissions),
            waiting=self._waiting(),
            uploads=self._uploads(),
            slots=self.slots(),
            pins=tuple(
                PutPin(*row)
                for row in self.rows("SELECT agent, publication, since FROM pins ORDER BY agent, publication")
            ),
            epochs=self._epochs(),
            group_keys=tuple(
                GroupKey(id=id, key=key)
                for id, key in self.rows("SELECT id, key FROM group_keys ORDER BY n DESC")
            ),
            received=received,
            applied=applied,
            rejected=rejected,
        )

    def newest(self) -> RecoveredVersion | None:
        """Load the newest version and compare its digest."""
        ((last,),) = self._one("SELECT max(number) FROM bases")
        if last is None:
            return None
        rows = self.rows("SELECT digest, term, committed_at, rule FROM versions WHERE number = ?", (last,))
        kept = self.checkpoint(last)
        memory = self.rows("SELECT rule_state, memory FROM memory")
        if not rows or not memory or kept is None or rows[0][0] != kept.digest:
            raise StateError(f"{self._layout.database} does not hold its newest version, {last}: {REMEDY}")
        model, step = load(kept, self._layout, self._disk)
        batch = self.rows(
            "SELECT agent, incarnation, sequence FROM updates WHERE version = ? ORDER BY place", (last,)
        )
        with self._reading(f"version {last}"):
            return RecoveredVersion(
                model=model,
                step=step,
                rule=versions.decode_rule(rows[0][3]),
                rule_state=versions.decode(memory[0][0], RuleState),
                memory=versions.decode(memory[0][1], Memory),
                term=rows[0][1],
                committed_at=rows[0][2],
                batch=tuple((agent, UpdateId(*id)) for agent, *id in batch),
            )

    def checkpoint(self, number: int) -> Checkpoint | None:
        """Return what the tables say of a checkpoint; None if there is none."""
        rows = self.rows(f"{CHECKPOINT} WHERE number = ?", (number,))
        return self._described(rows[0]) if rows else None

    def _described(self, row: tuple[Any, ...]) -> Checkpoint:
        return described(row, self.schemas)

    def _waiting(self) -> tuple[Received, ...]:
        sql = f"SELECT {updates.COLUMNS} FROM updates JOIN contents USING (admission) WHERE version IS NULL"
        found: list[Received] = []
        with self._reading("an update that waits"):
            for row in self.rows(f"{sql} ORDER BY admission"):
                found.append(updates.received(row, self.schemas[row[7]], self._layout.spool))
        for each in found:
            end = max((place.at + place.size for place in each.update.places), default=0)
            size = end if each.update.frame else self._disk.size(each.update.path)
            if size is None or size < end:
                what = "missing" if size is None else f"{size} bytes long instead of {end}"
                raise StateError(f"{each.update.path}, an update that was received, is {what}: {REMEDY}")
        return tuple(found)

    def _uploads(self) -> tuple[OpenUpload, ...]:
        rows = self.rows(f"SELECT {updates.UPLOAD_COLUMNS} FROM uploads ORDER BY opened_at, file")
        with self._reading("an upload"):
            return tuple(updates.upload(row, self.schemas[row[3]]) for row in rows)

    def slots(self) -> tuple[PutSlot, ...]:
        """Return the slots in order."""
        rows = self.rows(
            "SELECT slot, publication, number, retained_chunks, retained_pages FROM slots ORDER BY slot"
        )
        with self._reading("a slot"):
            return tuple(
                PutSlot(slot, None if data is None else versions.decode(data, Publication), *rest)
                for slot, data, *rest in rows
            )

    def _epochs(self) -> tuple[PutEpoch, ...]:
        rows = self.rows("SELECT id, secret, made_at, superseded_at FROM epochs ORDER BY made_at DESC, id")
        with self._reading("an epoch key"):
            return tuple(PutEpoch(id, SecretKey.load(secret), *rest) for id, secret, *rest in rows)

    def files(self) -> Files:
        """Check that every file which a row names is there; returns the names.

        Raises:
            StateError: One is missing, or a checkpoint has another size.
        """
        spool = {file for (file,) in self.rows("SELECT file FROM contents WHERE file IS NOT NULL")}
        there = set(self._disk.names(self._layout.spool))
        if spool - there:
            lost = min(spool - there)
            raise StateError(f"{self._layout.spool / lost}, an update of this run, is missing: {REMEDY}")
        kept = self.rows("SELECT file, size FROM checkpoints WHERE file IS NOT NULL ORDER BY number")
        for file, size in kept:
            path = self._layout.checkpoints / file
            found = self._disk.size(path)
            if found != size:
                what = "missing" if found is None else f"{found} bytes long instead of {size}"
                raise StateError(f"{path}, a version of this run, is {what}: {REMEDY}")
        open_files = {file for (file,) in self.rows("SELECT file FROM uploads")}
        return Files(spool | open_files, {file for file, _ in kept})

    def fill_index(self, index: Index, found: Recovered) -> None:
        """Fill the index."""
        for agent, incarnation, mark in self.rows("SELECT agent, incarnation, mark FROM marks"):
            index.marks.setdefault(agent, {})[incarnation] = mark
        index.counts = dict(self.rows("SELECT agent, max(n) FROM outcomes GROUP BY agent"))
        rows = self.rows("SELECT digest FROM bases ORDER BY number")
        index.digests = bytearray().join(digest for (digest,) in rows)
        if len(index.digests) != PREFIX * (0 if found.version is None else found.version.model.number + 1):
            raise StateError(f"{self._layout.database} does not name all of its versions: {REMEDY}")
        index.schemas = set(self.schemas)
        index.received, index.applied, index.rejected = found.received, found.applied, found.rejected
        for each in found.waiting:
            update = each.update
            file = None if update.frame else update.path.name
            name = (update.agent, UpdateId(update.id.incarnation, update.id.sequence))
            index.open[name] = Open(each.admission, update.offer.digest, file, update.spooled)

    def stored_versions(self) -> tuple[list[Kept], list[tuple[int, int]]]:
        """Return what retention keeps: versions in order, and (number, size) of older checkpoints."""
        sizes = dict(
            self.rows(
                "SELECT version, sum(size) FROM updates JOIN contents USING (admission) "
                "WHERE version IS NOT NULL GROUP BY version"
            )
        )
        rows = self.rows("SELECT number FROM versions ORDER BY number")
        first = rows[0][0] if rows else 0
        stored: dict[int, int] = dict(self.rows("SELECT number, size FROM checkpoints ORDER BY number"))
        if any(number not in stored for (number,) in rows):
            raise StateError(f"{self._layout.database} names versions without their values: {REMEDY}")
        kept = [kept_of(number, stored[number], sizes.get(number, 0)) for (number,) in rows]
        return kept, [(number, size) for number, size in stored.items() if number < first]

    def _one(self, sql: str) -> list[tuple[Any, ...]]:
        rows = self.rows(sql)
        if len(rows) != 1:
            raise StateError(f"{self._layout.database} does not say which run it is: {REMEDY}")
        return rows

    @contextmanager
    def _reading(self, what: str) -> Generator[None]:
        with reading(self._layout.database, what):
            yield


@contextmanager
def reading(path: Path, what: str) -> Generator[None]:
    """Turn what decoding raises into a sentence.

    Raises:
        StateError: In place of it.
    """
    try:
        yield
    except (ValueError, TypeError, KeyError, PeerError) as error:
        raise StateError(f"{path} is damaged: {what} cannot be read ({error}): {REMEDY}") from None


def described(row: tuple[Any, ...], schemas: Mapping[bytes, Schema]) -> Checkpoint:
    """Return what a row of `CHECKPOINT` says."""
    number, digest, code, *rest = row
    if code not in schemas:
        raise StateError(f"the ledger is damaged: the schema of version {number} is not in it: {REMEDY}")
    return Checkpoint(number, digest, schemas[code], *rest)


def load(
    kept: Checkpoint, layout: Layout, disk: Disk, *, trusted: bool = False, mapped: bool = False
) -> tuple[Model, StepState]:
    """Read a checkpoint.

    Args:
        kept: Which.
        layout, disk: Where.
        trusted: Its digests were compared before.
        mapped: Leave a file's values on the disk until they are looked at.

    Raises:
        StateError: It is missing or damaged.
        OSError: It cannot be read.
    """
    if kept.file is None:
        where = f"version {kept.number} in {layout.database}"
        return checkpoints.read(kept, kept.data or b"", where, trusted=trusted)
    path = layout.checkpoints / kept.file
    try:
        data = disk.map(path) if mapped else disk.read(path)
    except FileNotFoundError:
        raise StateError(f"{path}, version {kept.number} of this run, is missing: {REMEDY}") from None
    return checkpoints.read(kept, data, str(path), trusted=trusted)


def kept_of(number: int, checkpoint: int, merged: int) -> Kept:
    """Describe a version to `StoredVersions`. What an agent brought as version 0 stays with it."""
    return Kept(number, checkpoint + merged, 0) if number == 0 else Kept(number, checkpoint, merged)
