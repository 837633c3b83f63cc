"""What was applied to what: exactly once, and the newest version on disk.

Guaranteed while the process lives: an update that was received is settled once; an update at or below its
agent's mark is never received again; only what was published counts as a base. Bounded by `Limits`, not by
what agents send. In memory for now: a new process begins a new run. The term alone is kept, so that it
grows.
"""

import fcntl
import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from antiphon.broker_config import files
from antiphon.codecs.errors import Rejected, StateError
from antiphon.codecs.messages import UpdateId
from antiphon.coordinator import models
from antiphon.coordinator.ledger.records import Operation, Receive, Settle
from antiphon.coordinator.ledger.records import Outcome as Outcome
from antiphon.coordinator.models import Model

PREFIX = 16
"""Bytes of each version's digest that are kept to recognise it as a base."""


class Ledger:
    """One run's books."""

    def __init__(self, folder: Path, *, outcomes: int, incarnations: int, sync: bool) -> None:
        """``folder``: the state folder; the others as in `Limits`."""
        self._folder = folder
        self._sync = sync
        self._most_outcomes, self._most_incarnations = outcomes, incarnations
        self._open: dict[tuple[str, UpdateId], bytes] = {}
        self._settled: OrderedDict[tuple[str, UpdateId], Outcome] = OrderedDict()
        self._marks: dict[str, dict[bytes, int]] = {}
        self._bases = bytearray()
        self._lock: IO[bytes] | None = None
        self.term = 0
        self.received = 0

    @property
    def model_path(self) -> Path:
        """Where the newest version lies."""
        return self._folder / "model.safetensors"

    def begin(self, now: float) -> int:
        """Lock the state folder and return this start's term, which is larger than any before it.

        Raises:
            StateError: Another coordinator holds the folder, or it cannot be written.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = (self._folder / "lock").open("ab")
        except OSError as error:
            raise StateError(f"cannot write {self._folder}: {os.strerror(error.errno or 0)}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise StateError(
                f"{self._folder} is in use by another coordinator: stop that one first, or use another folder"
            ) from None
        self._lock = lock
        try:
            self._store_term(max(self._stored_term() + 1, int(now)))
        except StateError:
            self.close()
            raise
        return self.term

    def outrank(self, term: int) -> None:
        """Make this start's term larger than one that was seen under our keys. Disk work.

        Raises:
            StateError: The disk is full or the folder cannot be written.
        """
        if term >= self.term:
            self._store_term(term + 1)

    def _store_term(self, term: int) -> None:
        self.term = term
        files.write(self._folder / "term", f"{self.term}\n")

    def close(self) -> None:
        """Unlock the state folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _stored_term(self) -> int:
        path = self._folder / "term"
        try:
            return int(path.read_text()) if path.exists() else 0
        except (OSError, ValueError):
            raise StateError(f"{path} is damaged: it must hold one number, the last term") from None

    def outcome(self, agent: str, update: UpdateId) -> Outcome | None:
        """Return what is known of an update: received, its outcome, "settled" if forgotten, or None."""
        key = (agent, update)
        if (digest := self._open.get(key)) is not None:
            return Outcome("received", digest)
        if (outcome := self._settled.get(key)) is not None:
            return outcome
        if 1 <= update.sequence <= self._marks.get(agent, {}).get(update.incarnation, 0):
            return Outcome("settled")
        return None

    def apply(self, operations: Sequence[Operation]) -> None:
        """Take operations in, as the durable ledger's `commit` does."""
        for operation in operations:
            if isinstance(operation, Receive):
                update = operation.update
                self.receive(update.agent, update.id, update.offer.digest)
            elif isinstance(operation, Settle):
                self.settle(operation.agent, operation.id, operation.outcome)

    def check_incarnation(self, agent: str, update: UpdateId) -> None:
        """Ask before `receive`. Raises as that."""
        marks = self._marks.get(agent, {})
        if update.incarnation not in marks and len(marks) >= self._most_incarnations:
            raise Rejected("quota", f"more than {self._most_incarnations} process starts of one agent")

    def receive(self, agent: str, update: UpdateId, digest: bytes) -> None:
        """Write down that an update is complete, checked and kept.

        Raises:
            Rejected: ("quota") Its agent had more process starts than the ledger tells apart.
        """
        marks = self._marks.setdefault(agent, {})
        if update.incarnation not in marks and len(marks) >= self._most_incarnations:
            raise Rejected("quota", f"more than {self._most_incarnations} process starts of one agent")
        marks.setdefault(update.incarnation, 0)
        self._open[(agent, update)] = digest
        self.received += 1

    def settle(self, agent: str, update: UpdateId, outcome: Outcome) -> Outcome:
        """Write down the outcome of an update, once; returns the one that counts.

        What was refused without ever being received is settled too: its agent has taken it back.
        """
        key = (agent, update)
        if key in self._settled:
            return self._settled[key]
        self._open.pop(key, None)
        marks = self._marks.setdefault(agent, {})
        if update.incarnation in marks or len(marks) < self._most_incarnations:
            marks[update.incarnation] = max(marks.get(update.incarnation, 0), update.sequence)
        self._settled[key] = outcome
        while len(self._settled) > self._most_outcomes:
            self._settled.popitem(last=False)
        return outcome

    def published(self, number: int, digest: bytes) -> None:
        """Write down that a version is published: from now on it is a base. Numbers grow by one from 0."""
        if number * PREFIX != len(self._bases):
            raise ValueError(f"version {number} is not the next one")
        self._bases += digest[:PREFIX]

    def is_base(self, number: int, digest: bytes) -> bool:
        """Whether this run published that version."""
        at = number * PREFIX
        return 0 <= at < len(self._bases) and bytes(self._bases[at : at + PREFIX]) == digest[:PREFIX]

    def commit(self, model: Model, run: bytes) -> None:
        """Write the newest version to disk, before it is announced. Disk work: not for the event loop.

        Raises:
            StateError: The disk is full or the folder cannot be written.
        """
        about = {
            "version": str(model.number),
            "digest": model.digest.hex(),
            "run": run.hex(),
            "term": str(self.term),
            models.ROLES_KEY: models.roles_as_json(model.schema),
        }
        models.write(self.model_path, model, about, sync=self._sync)
