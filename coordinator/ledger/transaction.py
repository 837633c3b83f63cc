"""Operations and versions into the tables, within one transaction; its effects on the index come after it.

Not done here: the transaction itself, files, and what a commit means (`antiphon.coordinator.ledger.ledger`).
"""

import sqlite3
from collections.abc import Iterable

from antiphon.codecs.messages import UpdateId
from antiphon.codecs.schema import Schema
from antiphon.coordinator.ledger import updates, versions
from antiphon.coordinator.ledger.checkpoints import Checkpoint
from antiphon.coordinator.ledger.index import PREFIX, Changes, Index, Name, Open
from antiphon.coordinator.ledger.records import (
    CloseUpload,
    DropEpoch,
    DropPin,
    OpenUpload,
    Operation,
    Outcome,
    PutEpoch,
    PutGroupKey,
    PutPin,
    PutSlot,
    PutState,
    Receive,
    Settle,
    VersionRecord,
)
from antiphon.coordinator.ledger.retention import Dropped

INSERT_UPDATE = (
    "INSERT INTO updates (admission, agent, incarnation, sequence, admitted_at) VALUES (?, ?, ?, ?, ?)"
)
INSERT_CONTENT = "INSERT INTO contents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
INSERT_OUTCOME = "INSERT INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
PUT_MARK = (
    "INSERT INTO marks VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET mark = excluded.mark "
    "WHERE excluded.mark > mark"
)
DROP_SCHEMAS = (
    "DELETE FROM schemas WHERE digest NOT IN (SELECT schema FROM contents UNION SELECT schema FROM uploads "
    "UNION SELECT schema FROM checkpoints)"
)


class Transaction:
    """One transaction: what it writes, and what changes when it is committed.

    Attributes:
        changes: For the index.
        removed, removed_checkpoints: Names of files that no row names any more, below ``spool/`` and
            ``checkpoints/``.
    """

    def __init__(self, cursor: sqlite3.Cursor, index: Index) -> None:
        """``index``: as they are before it."""
        self._do, self._many = cursor.execute, cursor.executemany
        self._cursor, self._index = cursor, index
        self.changes = Changes()
        self.removed: list[str] = []
        self.removed_checkpoints: list[str] = []

    def write(self, operations: Iterable[Operation]) -> None:
        """Write operations in order."""
        for operation in operations:
            match operation:
                case Receive():
                    self._receive(operation)
                case Settle():
                    self._settle(operation)
                case OpenUpload():
                    self._schema(operation.schema)
                    self._do(
                        "INSERT INTO uploads VALUES (?, ?, ?, ?, ?, ?, ?, ?)", updates.upload_row(operation)
                    )
                case CloseUpload():
                    self._close_upload(operation)
                case PutSlot() | PutPin() | DropPin() | PutState():
                    self._put_state(operation)
                case _:
                    self._put_key(operation)
        self._finish()

    def _finish(self) -> None:
        made = self.changes
        if made.marks:
            self._many(PUT_MARK, [(*name, mark) for name, mark in made.marks.items()])
        if made.received or made.applied or made.rejected:
            self._do(
                "UPDATE run SET received = received + ?, applied = applied + ?, rejected = rejected + ?",
                (made.received, made.applied, made.rejected),
            )

    def _receive(self, record: Receive) -> None:
        update = record.update
        admission = self._index.received + self.changes.received + 1
        self._schema(update.schema)
        row, content = updates.rows(admission, record)
        self._do(INSERT_UPDATE, row)
        self._do(INSERT_CONTENT, content)
        self._do("INSERT INTO admissions VALUES (?, ?, ?)", (admission, update.agent, record.admitted_at))
        file = content[1]
        if file is not None:
            self._do("DELETE FROM uploads WHERE file = ?", (file,))
        if self._mark(update.agent, update.id.incarnation) is None:
            self.changes.marks[(update.agent, update.id.incarnation)] = 0
        self.changes.received += 1
        self.changes.opened[(update.agent, update.id)] = Open(
            admission, update.offer.digest, file, update.spooled
        )

    def _schema(self, schema: Schema) -> None:
        if schema.digest in self._index.schemas or schema.digest in self.changes.schemas:
            return
        self._do("INSERT OR IGNORE INTO schemas VALUES (?, ?)", (schema.digest, schema.encode()))
        self.changes.schemas.add(schema.digest)

    def _settle(self, operation: Settle) -> None:
        name = (operation.agent, operation.id)
        if self._is_settled(name):
            return
        found = self._open(name)
        if found is not None:
            self._do("DELETE FROM contents WHERE admission = ?", (found.admission,))
            self._do("DELETE FROM updates WHERE admission = ?", (found.admission,))
            if found.file is not None:
                self.removed.append(found.file)
        self._outcomes([name], [operation.outcome])
        self.changes.rejected += 1

    def _is_settled(self, name: Name) -> bool:
        if name in self.changes.settled:
            return True
        known = None if name in self.changes.opened else self._index.known(name)
        if known is not None or not self._index.may_be_settled(name):
            return known is not None and known.type != "received"
        agent, update = name
        sql = "SELECT 1 FROM outcomes WHERE agent = ? AND incarnation = ? AND sequence = ?"
        return self._do(sql, (agent, update.incarnation, update.sequence)).fetchone() is not None

    def _open(self, name: Name) -> Open | None:
        return self.changes.opened.get(name) or self._index.open.get(name)

    def _outcomes(self, names: Iterable[Name], outcomes: Iterable[Outcome]) -> None:
        """Insert outcomes, forget the oldest of each agent, and raise the marks."""
        rows: list[tuple[object, ...]] = []
        late: list[tuple[str, int]] = []
        counts, most = self.changes.counts, self._index.most_outcomes
        for name, outcome in zip(names, outcomes, strict=True):
            agent, update = name
            n = counts[agent] = counts.get(agent, self._index.counts.get(agent, 0)) + 1
            version = outcome.version if outcome.type == "applied" else None
            rows.append(
                (
                    agent,
                    n,
                    update.incarnation,
                    update.sequence,
                    outcome.type,
                    outcome.digest,
                    version,
                    outcome.reason,
                    outcome.detail,
                )
            )
            if n > most:
                late.append((agent, n - most))
            mark = self._mark(agent, update.incarnation)
            if (mark is None and self._index.has_room(agent, update.incarnation)) or (
                mark is not None and mark < update.sequence
            ):
                self.changes.marks[(agent, update.incarnation)] = update.sequence
            self.changes.settled[name] = outcome
        self._many(INSERT_OUTCOME, rows)
        if late:
            self._many("DELETE FROM outcomes WHERE agent = ? AND n <= ?", late)

    def _mark(self, agent: str, incarnation: bytes) -> int | None:
        mark = self.changes.marks.get((agent, incarnation))
        return self._index.marks.get(agent, {}).get(incarnation) if mark is None else mark

    def _close_upload(self, operation: CloseUpload) -> None:
        sql = "DELETE FROM uploads WHERE file = ? RETURNING file"
        self.removed += [file for (file,) in self._do(sql, (operation.file,)).fetchall()]

    def _put_state(self, operation: PutSlot | PutPin | DropPin | PutState) -> None:
        match operation:
            case PutSlot(slot, publication, number, chunks, pages):
                data = None if publication is None else versions.encode(publication)
                self._do(
                    "INSERT OR REPLACE INTO slots VALUES (?, ?, ?, ?, ?)", (slot, data, number, chunks, pages)
                )
            case PutPin(agent, publication, since):
                self._do("INSERT OR REPLACE INTO pins VALUES (?, ?, ?)", (agent, publication, since))
            case DropPin(agent, publication):
                self._do("DELETE FROM pins WHERE agent = ? AND publication = ?", (agent, publication))
            case PutState(over):
                self._do("UPDATE run SET over = ?", (int(over),))

    def _put_key(self, operation: PutEpoch | DropEpoch | PutGroupKey) -> None:
        match operation:
            case PutEpoch(id, secret, made_at, superseded_at):
                row = (id, secret.export(), made_at, superseded_at)
                self._do("INSERT OR REPLACE INTO epochs VALUES (?, ?, ?, ?)", row)
            case DropEpoch(id):
                self._do("DELETE FROM epochs WHERE id = ?", (id,))
            case PutGroupKey(key):
                self._do("INSERT OR IGNORE INTO group_keys (id, key) VALUES (?, ?)", (key.id, key.key))

    def version(self, record: VersionRecord, checkpoint: Checkpoint, dropped: Dropped) -> None:
        """Write a version: its row, its checkpoint, its updates' outcomes, and what goes for it."""
        model, number = record.model, record.model.number
        self._schema(model.schema)
        self._do("INSERT INTO bases VALUES (?, ?)", (number, model.digest[:PREFIX]))
        self._do(
            "INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                number,
                model.digest,
                record.term,
                record.committed_at,
                len(record.batch),
                int(record.started_step),
                versions.encode_rule(record.rule),
                None if record.plan is None else versions.encode_plan(record.plan),
            ),
        )
        self._do("INSERT INTO checkpoints VALUES (?, ?, ?, ?, ?, ?, ?, ?)", checkpoint.row())
        self._apply(number, record.batch)
        self._remember(record)
        self._drop(dropped, number)
        self._finish()

    def _apply(self, number: int, batch: Iterable[tuple[str, UpdateId]]) -> None:
        names = list(batch)
        found = [self._index.open.get(name) for name in names]
        rows = [(number, place, each.admission) for place, each in enumerate(found) if each is not None]
        if rows:
            self._many(
                "UPDATE updates SET version = ?, place = ? WHERE admission = ? AND version IS NULL", rows
            )
        if len(rows) != len(names) or (rows and self._cursor.rowcount != len(names)):
            raise ValueError(f"version {number} merges an update that does not wait")
        digests = [each.digest for each in found if each is not None]
        self._outcomes(names, [Outcome("applied", digest, number) for digest in digests])
        self.changes.applied += len(names)

    def _remember(self, record: VersionRecord) -> None:
        self._do(
            "INSERT OR REPLACE INTO memory VALUES (1, ?, ?)",
            (versions.encode(record.rule_state), versions.encode(record.memory)),
        )
        self._do("DELETE FROM admissions WHERE number <= ?", (record.rule_state.admissions,))
        if record.model.number == 0:
            self._do("UPDATE run SET first_at = ?", (record.committed_at,))

    def _drop(self, dropped: Dropped, newest: int) -> None:
        """Forget what is beyond the retention; who is in the newest version is known for one version more."""
        for number in dropped.checkpoints:
            found = self._do("DELETE FROM checkpoints WHERE number = ? RETURNING file", (number,)).fetchall()
            self.removed_checkpoints += [file for (file,) in found if file is not None]
        self._do("DELETE FROM versions WHERE number < ?", (dropped.first,))
        if dropped.first:
            gone = "(SELECT admission FROM updates WHERE version <= ?)"
            sql = f"DELETE FROM contents WHERE admission IN {gone} RETURNING file"
            found = self._do(sql, (dropped.first,)).fetchall()
            self.removed += [file for (file,) in found if file is not None]
            self._do("DELETE FROM updates WHERE version <= ?", (min(dropped.first, newest - 1),))


def drop_schemas(cursor: sqlite3.Cursor) -> set[bytes]:
    """Forget schemas that nothing has any more; returns the digests of those that stay."""
    cursor.execute(DROP_SCHEMAS)
    return {digest for (digest,) in cursor.execute("SELECT digest FROM schemas").fetchall()}
