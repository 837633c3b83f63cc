"""Updates on disk until the coordinator answers for them.

An update, what error feedback keeps of it, and the mark of the version it was trained on are one transaction:
they survive crashes and power cuts together or not at all, and so does what a final receipt changes. Payloads
of 64 KiB and more are files beside the database, synced before a row names them. The bytes on disk are
bounded. Every method here blocks: services call them by ``environment.run``, from any thread.
"""

import logging
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from antiphon.agents import database
from antiphon.agents.database import Mark, Residual
from antiphon.agents.entries import Entry, Head, Record
from antiphon.agents.recovery import PAYLOAD, RESIDUAL
from antiphon.agents.storage import Blob, Storage, sync, words
from antiphon.broker_config.disk import Disk
from antiphon.codecs.errors import StateError

log = logging.getLogger("antiphon.agents")


@dataclass(frozen=True, slots=True)
class ResidualSpec:
    """A residual to be written: whose it is, and its bytes."""

    run: bytes
    schema: bytes  # digest
    size: int


class Outbox:
    """The updates of one agent, in the order of offering.

    Args:
        folder: The agent's; ``state.db`` and ``outbox/`` are made in it.
        disk: Where that is.
        federation: With ``agent``, whose it is.
        agent: The agent's id.
        limit: Bytes of payloads.
        spare: Bytes that stay free on the disk.
    """

    def __init__(
        self, folder: Path, disk: Disk, *, federation: str, agent: str, limit: int, spare: int
    ) -> None:
        """Nothing is read yet: `load` does that."""
        self._storage = Storage(folder, disk, federation, agent)
        self._limit, self._spare = limit, spare
        self._entries: list[Entry] = []
        self._residual: Residual | None = None
        self._lock = threading.Lock()
        self.feedback = threading.Lock()
        """Held from reading the residual until what replaces it is committed."""
        self.mark: Mark | None = None
        """The version trained on last, as of `load`."""

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Everything without a final answer, in the order of offering."""
        return tuple(self._entries)

    @property
    def pending(self) -> tuple[Entry, ...]:
        """What the coordinator has not got yet, in the order of offering."""
        return tuple(entry for entry in self._entries if entry.state == "pending")

    def load(self) -> list[str]:
        """Open what earlier processes left; returns sentences about what could not be kept.

        Raises:
            StateError: The database is damaged or foreign, or the folder cannot be used.
            OSError: The disk is full, or does not answer: later it may.
        """
        found = self._storage.open()
        self._entries, self._residual, self.mark = [], found.residual, found.mark
        for entry in found.entries:
            self._enter(entry)
        return found.complaints

    def close(self) -> None:
        """Write down what has waited for the next transaction, and close the database."""
        self._storage.close()

    def over(self, size: int) -> str:
        """Return why ``size`` bytes more would be too many, or ``""``."""
        if size > self._limit:
            return f"an update takes {size} bytes, more than limits.outbox ({self._limit}): raise it"
        used = sum(entry.head.size for entry in self.entries if entry.whole)
        if used + size > self._limit:
            return (
                f"{used} bytes of updates lie in {self._storage.folder}, at most {self._limit} may "
                "(limits.outbox): raise it, or wait for the coordinator"
            )
        return ""

    def room(self, size: int) -> str:
        """Return why the disk cannot take ``size`` bytes, or ``""``."""
        folder = self._storage.folder
        try:
            free = self._storage.disk.free(folder)
        except OSError as error:
            return f"cannot use {folder}: {words(error)}"
        if free < size + self._spare:
            return (
                f"the disk of {folder} has {free} bytes free: an update needs {size + self._spare}; "
                "make room there, or lower limits.spare"
            )
        return ""

    def add(
        self,
        parts: Iterable[tuple[bytes, memoryview]],
        exact: bytes,
        head: Callable[[], Head],
        *,
        size: int,
        rest: ResidualSpec | None = None,
        mark: Mark | None = None,
    ) -> Entry:
        """Write an update: durable when this returns, with residual and mark.

        Args:
            parts: Piece by piece, the encoded vector and what goes into the new residual.
            exact: The exact section.
            head: Called after ``parts`` ran dry: the digest is known only then.
            size: Bytes of the update.
            rest: The new residual; None: there is none any more.
            mark: The version trained on.

        Raises:
            StateError: The disk is full or the folder gone; nothing has changed.
        """
        ordinal = self._storage.number()
        payload = self._storage.blob(ordinal, PAYLOAD, size)
        left = rest and self._storage.blob(self._storage.number(), RESIDUAL, rest.size)
        try:
            for part, over in parts:
                payload.write(part)
                if left is not None:
                    left.write(over)
            payload.write(exact)
            entry = Entry(head(), ordinal, payload.file)
            kept = rest and left and Residual(rest.run, rest.schema, left.file)
            sync(self._storage.disk, payload, left)
            self._storage.change(partial(self._write, entry, payload, kept, left, mark))
        except BaseException as error:
            payload.drop()
            if left is not None:
                left.drop()
            if isinstance(error, OSError):
                raise StateError(
                    f"cannot write an update into {self._storage.folder}: {words(error)}"
                ) from None
            raise
        self._replace_residual(kept)
        self._enter(entry)
        entry.open = None if payload.content is None else memoryview(payload.content)
        return entry

    def received(self, entry: Entry) -> None:
        """The coordinator has it: its file goes, unless error feedback may want it back.

        A payload in a row stays until the final receipt: dropping it would be a commit for a few bytes.
        """
        if entry.state != "pending":
            return
        entry.state = "received"
        entry.close()
        if entry.file:
            with suppress(OSError):  # a full disk: it is offered again after a restart
                if entry.head.fed:
                    self._mark(entry, "received")
                else:
                    self.shed(entry)

    def again(self, entry: Entry) -> bool:
        """The coordinator has lost it: back among the pending ones if its payload is here; says whether."""
        if entry.state != "received" or not entry.whole:
            return False
        if entry.file:
            with suppress(OSError):  # then a restart asks for its outcome once more
                self._mark(entry, "pending")
        entry.state = "pending"
        return True

    def shed(self, entry: Entry) -> None:
        """Forget the payload of what was received.

        Raises:
            OSError: The disk does not let us.
        """
        self._storage.change(lambda cursor: database.empty_update(cursor, entry.ordinal))
        file, entry.file, entry.whole, entry.record = entry.file, "", False, None
        self._storage.remove(file)

    def settle(self, entry: Entry) -> None:
        """Forget an update: a final receipt came, or it can never count, or it cannot be read.

        What is only a row goes with the next transaction. Where the disk refuses, so does the rest; after a
        crash the coordinator is asked about it once more.
        """
        if self._leave(entry):
            self._storage.settle(entry.ordinal, entry.file, soon=not entry.light)

    def take_back(self, entry: Entry, parts: Iterable[memoryview], rest: ResidualSpec) -> None:
        """Replace the residual and forget the update, in one transaction; neither if it is gone already.

        Args:
            entry: An update that did not count.
            parts: The new residual, piece by piece.
            rest: What it is.

        Raises:
            OSError: The disk is full, say; nothing has changed.
        """
        left = self._storage.blob(self._storage.number(), RESIDUAL, rest.size)
        here = False
        try:
            for part in parts:
                left.write(part)
            kept = Residual(rest.run, rest.schema, left.file)
            sync(self._storage.disk, left)

            def write(cursor: database.Cursor) -> None:
                nonlocal here
                # Two may want it back at once, for want of room and by its outcome: it comes back once.
                here = database.drop_update(cursor, entry.ordinal)
                if here:
                    database.put_residual(cursor, kept, left.content)

            self._storage.change(write)
        except BaseException:
            left.drop()
            raise
        if here:
            self._replace_residual(kept)
        else:
            left.drop()
        self._leave(entry)
        self._storage.remove(entry.file)

    def residual(self, rest: ResidualSpec) -> memoryview | None:
        """Return the bytes of the residual of this run and schema, if there is one.

        Raises:
            OSError: It cannot be read now: it must not be replaced as if there were none.
        """
        kept = self._residual
        if kept is None or (kept.run, kept.schema) != (rest.run, rest.schema):
            return None
        try:
            view = self._storage.read_residual(kept.file)
        except FileNotFoundError:
            log.warning("error feedback begins anew: %s is gone", kept.file)
            return None
        if len(view) != rest.size:
            log.warning("error feedback begins anew: %s has %d bytes", kept.file or "its row", len(view))
            return None
        return view

    def replaced(self, rest: ResidualSpec) -> bool:
        """Whether the residual is that of another run or schema: a later one, for updates come in order."""
        kept = self._residual
        return kept is not None and (kept.run, kept.schema) != (rest.run, rest.schema)

    def keep(self, entry: Entry, record: Record) -> None:
        """Remember an update's transfer, so that another process can go on with it.

        Raises:
            OSError: The disk is full, say.
        """
        self._storage.change(lambda cursor: database.put_transfer(cursor, entry.ordinal, record))
        entry.record = record

    def rename(self, entry: Entry, incarnation: bytes, sequence: int) -> None:
        """Give an update another id and the last place: somebody else's content has its old one.

        Raises:
            StateError: It is not pending or not there any more, or the disk is full.
        """
        if entry.state != "pending":
            raise StateError(f"update {entry.head.sequence} has no payload any more")
        head = msgspec.structs.replace(entry.head, incarnation=incarnation, sequence=sequence)
        new = Entry(head, self._storage.number(), entry.file, shown=entry.shown)
        here = False

        def write(cursor: database.Cursor) -> None:
            nonlocal here
            here = database.put_name(cursor, entry.ordinal, new.ordinal, head)

        try:
            self._storage.change(write)
        except OSError as error:
            raise StateError(
                f"cannot rename update {entry.head.sequence} in {self._storage.folder}: {words(error)}"
            ) from None
        self._leave(entry)
        if not here:
            raise StateError(f"update {entry.head.sequence} was dropped before it had its new name")
        self._enter(new)

    def _write(
        self,
        entry: Entry,
        payload: Blob,
        kept: Residual | None,
        left: Blob | None,
        mark: Mark | None,
        cursor: database.Cursor,
    ) -> None:
        database.put_update(cursor, entry, payload.content)
        if kept is not None or self._residual is not None:
            database.put_residual(cursor, kept, left and left.content)
        if mark is not None:
            database.put_mark(cursor, mark)

    def _enter(self, entry: Entry) -> None:
        entry.read = lambda: self._storage.read(entry.ordinal, entry.file)
        with self._lock:
            self._entries.append(entry)

    def _leave(self, entry: Entry) -> bool:
        """Take an entry out of memory; says whether it was there."""
        entry.close()
        with self._lock:
            here = entry in self._entries
            if here:
                self._entries.remove(entry)
        entry.state = "gone"
        return here

    def _mark(self, entry: Entry, state: database.State) -> None:
        self._storage.change(lambda cursor: database.put_state(cursor, entry.ordinal, state))
        entry.record = None

    def _replace_residual(self, kept: Residual | None) -> None:
        old, self._residual = self._residual, kept
        if old is not None:
            self._storage.remove(old.file)
