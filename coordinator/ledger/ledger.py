"""The ledger: what was received, settled and applied, exactly once, and the versions that came of it.

Guaranteed: what `Ledger.commit` and `Ledger.commit_version` return from is on the disk, all of it or none;
an update is applied or rejected once, whatever is committed twice or comes again; a version's number is one
more than the last; what a start cannot vouch for is refused with a sentence. Disk and memory are bounded by
`Retention` and `Limits`. Not done here: deciding anything (`antiphon.coordinator.flushing`), grouping commits
(`antiphon.coordinator.commits`), repeating what was computed (`antiphon.coordinator.ledger.replay`).
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy.typing as npt

from antiphon.broker_config.database import Database
from antiphon.broker_config.disk import Closing, Disk
from antiphon.codecs.errors import Rejected, StateError
from antiphon.codecs.messages import UpdateId
from antiphon.codecs.schema import Schema
from antiphon.coordinator.ledger import checkpoints, starting
from antiphon.coordinator.ledger.index import Index
from antiphon.coordinator.ledger.layout import Layout
from antiphon.coordinator.ledger.records import (
    DropEpoch,
    Operation,
    Outcome,
    Owner,
    Receive,
    Recovered,
    Retention,
    VersionRecord,
)
from antiphon.coordinator.ledger.recovery import CHECKPOINT, described, kept_of, load
from antiphon.coordinator.ledger.retention import StoredVersions
from antiphon.coordinator.ledger.transaction import Transaction, drop_schemas

Vector = npt.NDArray[Any]

OUTCOME = (
    "SELECT type, digest, version, reason, detail FROM outcomes "
    "WHERE agent = ? AND incarnation = ? AND sequence = ?"
)


class Ledger:
    """A run's ledger. What says "disk work" belongs off the event loop, one call at a time."""

    def __init__(
        self, folder: Path, disk: Disk, retention: Retention, *, outcomes: int, incarnations: int, sync: bool
    ) -> None:
        """Nothing is opened yet.

        Args:
            folder: The state folder.
            disk: What it lies on.
            retention: What is kept.
            outcomes: Of each agent's updates, that are remembered word for word.
            incarnations: Process starts of one agent that are told apart.
            sync: Whether what is committed survives a power cut.
        """
        self.folder = folder
        self.term = 0
        self.run = b""
        self._layout, self._disk, self._sync = Layout(folder), disk, sync
        self._retention = retention
        self._index, self._stored = Index(outcomes, incarnations), StoredVersions(retention)
        self._schemas: dict[bytes, Schema] = {}
        self._held: dict[int, int] = {}
        self._compared: set[int] = set()
        self._database: Database | None = None
        self._lock: Closing | None = None

    @property
    def received(self) -> int:
        """Updates received in this run."""
        return self._index.received

    @property
    def applied(self) -> int:
        """Updates applied in this run."""
        return self._index.applied

    @property
    def rejected(self) -> int:
        """Updates rejected or refused in this run."""
        return self._index.rejected

    def open(self, owner: Owner, now: float, token: Callable[[int], bytes]) -> Recovered:
        """Lock the folder, check it, commit this start's term; an empty folder becomes a new run. Disk work.

        Call `hold` for the bases of all that wait or are uploaded.

        Raises:
            StateError: In use, foreign, damaged, of a newer format, or not to be written: says which file,
                what is wrong and what to do.
        """
        return self._start(lambda: starting.open_run(self._layout, self._disk, self._sync, owner, now, token))

    def new_run(self, owner: Owner, now: float, token: Callable[[int], bytes]) -> Recovered:
        """Move what is there to ``runs/<run>/`` and begin a new run, in place of `open`. Disk work.

        The slots' retained counts live on, and the term is larger than any before. A damaged ledger is moved
        too. Raises as `open`.
        """
        return self._start(
            lambda: starting.begin_anew(self._layout, self._disk, self._sync, owner, now, token)
        )

    def _start(self, work: Callable[[], starting.Started]) -> Recovered:
        self._lock = starting.lock(self._layout, self._disk)
        try:
            with starting.sentences(self._layout):
                started = work()
                self._database = started.database
                started.fill(self._index, self._stored)
                self._schemas = dict(started.schemas)
        except BaseException:
            self.close()
            raise
        self.run, self.term = started.recovered.run, started.term
        return started.recovered

    def outrank(self, term: int) -> None:
        """Make this start's term larger than one that was seen under our keys. Disk work.

        Raises:
            OSError: The disk is full or broken; the term is as before.
        """
        if term >= self.term:
            with self._opened.transaction() as cursor:
                cursor.execute("UPDATE run SET term = ?", (term + 1,))
            self.term = term + 1

    def commit(self, operations: Sequence[Operation]) -> None:
        """Make operations durable, in order, all or none. Disk work.

        Raises:
            OSError: The disk is full or broken: nothing of it happened.
        """
        files = [
            operation.update.path
            for operation in operations
            if isinstance(operation, Receive) and not (operation.frame or operation.update.frame)
        ]
        if self._sync and files:
            self._disk.sync(files)
        with self._opened.transaction() as cursor:
            transaction = Transaction(cursor, self._index)
            transaction.write(operations)
        self._take(transaction)
        if any(isinstance(operation, DropEpoch) for operation in operations):
            with suppress(OSError):  # it is deleted; the log goes when it is full, or at the end
                self._opened.forget()

    def commit_version(self, record: VersionRecord) -> None:
        """Make a version and the outcome of everything in it durable. Disk work.

        Raises:
            OSError: The disk is full or broken: nothing of it happened.
            ValueError: It merges an update that does not wait, or is not the next version: a defect.
        """
        checkpoint, pieces = checkpoints.describe(record.model, record.step)
        if checkpoint.file is not None:
            self._disk.write(self._layout.checkpoints / checkpoint.file, pieces, sync=self._sync)
        opened = [self._index.open.get(name) for name in record.batch]
        merged = sum(each.size for each in opened if each is not None)
        kept = kept_of(checkpoint.number, checkpoint.size, merged)
        dropped = self._stored.plan(kept, self._held.copy())
        with self._opened.transaction() as cursor:
            transaction = Transaction(cursor, self._index)
            transaction.version(record, checkpoint, dropped)
            schemas = drop_schemas(cursor) if record.model.number == 0 else None
        self._stored.take(kept, dropped)
        self._index.add_version(record.model.digest)
        self._schemas[record.model.schema.digest] = record.model.schema
        self._compared.difference_update(dropped.checkpoints)
        self._take(transaction)
        if schemas is not None:
            self._index.schemas = schemas

    def _take(self, transaction: Transaction) -> None:
        """The transaction is committed: so be it in memory, and on the disk."""
        self._index.take(transaction.changes)
        gone = [self._layout.spool / name for name in transaction.removed]
        gone += [self._layout.checkpoints / name for name in transaction.removed_checkpoints]
        for path in gone:
            with suppress(OSError):  # no row names it: the next start removes it
                self._disk.remove(path)

    def outcome(self, agent: str, update: UpdateId) -> Outcome | None:
        """Return what is known of an update: received, its outcome, "settled" if forgotten, or None.

        Reads the disk only for an update that is not among the newest, and of which the marks do not tell.
        """
        name = (agent, update)
        found = self._index.known(name)
        if found is not None or not self._index.may_be_settled(name):
            return found
        rows = self._opened.rows(OUTCOME, (agent, update.incarnation, update.sequence))
        if not rows:
            return Outcome("settled") if self._index.below_mark(name) else None
        type, digest, version, reason, detail = rows[0]
        return Outcome(type, digest, -1 if version is None else version, reason, detail)

    def check_incarnation(self, agent: str, update: UpdateId) -> None:
        """Ask before `Receive`.

        Raises:
            Rejected: ("quota") Its agent had more process starts than the ledger tells apart.
        """
        if not self._index.has_room(agent, update.incarnation):
            most = self._index.most_incarnations
            raise Rejected(
                "quota", f"more than {most} process starts of one agent: limits.incarnations allows no more"
            )

    def is_base(self, number: int, digest: bytes) -> bool:
        """Whether this run committed that version."""
        return self._index.is_base(number, digest)

    def keeps(self, number: int) -> bool:
        """Whether updates with that base can be merged; always, if merging does not need its values."""
        return not self._retention.bases or number in self._stored

    def vector(self, number: int) -> Vector | None:
        """Return a version's vector, to be read only; None if it is gone, or is not what it was. Disk work.

        Raises:
            OSError: It cannot be read.
        """
        rows = self._opened.rows(f"{CHECKPOINT} WHERE number = ?", (number,))
        if not rows:
            return None
        kept = described(rows[0], self._schemas)
        try:
            model, _ = load(kept, self._layout, self._disk, trusted=number in self._compared, mapped=True)
        except StateError:  # no reason to end: whoever trained from it trains again
            return None
        self._compared.add(number)
        return model.vector

    def hold(self, number: int) -> None:
        """An update with that base was let in: its values stay."""
        self._held[number] = self._held.get(number, 0) + 1

    def release(self, number: int) -> None:
        """An update with that base is settled, or came to nothing."""
        left = self._held.get(number, 0) - 1
        if left > 0:
            self._held[number] = left
        else:
            self._held.pop(number, None)

    def close(self) -> None:
        """Close the files and unlock the folder."""
        if self._database is not None:
            self._database.close()
        if self._lock is not None:
            self._lock.close()
        self._database = self._lock = None

    @property
    def _opened(self) -> Database:
        if self._database is None:
            raise RuntimeError("the ledger is not open")
        return self._database
