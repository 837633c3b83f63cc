"""The ledger: what was received, settled and applied, exactly once, and the versions that came of it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from antiphon.codecs.messages import UpdateId
from antiphon.coordinator.ledger.records import (
    Operation,
    Outcome,
    Owner,
    Recovered,
    Retention,
    VersionRecord,
)

Vector = npt.NDArray[Any]


class Ledger:
    """A run's books. What says "disk work" belongs off the event loop, one call at a time."""

    def __init__(
        self, folder: Path, disk: Any, retention: Retention, *, outcomes: int, incarnations: int, sync: bool
    ) -> None:
        """Nothing is opened yet.

        Args:
            folder: The state folder.
            disk: See `antiphon.broker_config.disk`.
            retention: What is kept.
            outcomes: Of each agent's updates, that are remembered word for word.
            incarnations: Process starts of one agent that are told apart.
            sync: Whether what is committed survives a power cut.
        """
        self.folder = folder
        self.term = self.received = self.applied = self.rejected = 0
        self.run = b""

    def open(self, owner: Owner, now: float, token: Callable[[int], bytes]) -> Recovered:
        """Lock the folder, check it, commit this start's term; an empty folder becomes a new run. Disk work.

        Raises:
            StateError: In use, foreign, damaged, of a newer format, or not to be written: says which file,
                what is wrong and what to do.
        """
        raise NotImplementedError

    def new_run(self, owner: Owner, now: float, token: Callable[[int], bytes]) -> Recovered:
        """Move what is there to ``runs/<run>/`` and begin a new run, in place of `open`. Disk work.

        The slots' retained counts live on, and the term is larger than any before. A damaged ledger is moved
        too. Raises as `open`.
        """
        raise NotImplementedError

    def outrank(self, term: int) -> None:
        """Make this start's term larger than one that was seen under our keys. Disk work.

        Raises:
            OSError: The disk is full or broken; the term is as before.
        """
        raise NotImplementedError

    def commit(self, operations: Sequence[Operation]) -> None:
        """Make operations durable, in order, all or none. Disk work.

        Raises:
            OSError: The disk is full or broken: nothing of it happened.
        """
        raise NotImplementedError

    def commit_version(self, record: VersionRecord) -> None:
        """Make a version and the outcome of everything in it durable. Disk work.

        Raises:
            OSError: The disk is full or broken: nothing of it happened.
        """
        raise NotImplementedError

    def outcome(self, agent: str, update: UpdateId) -> Outcome | None:
        """Return what is known of an update: received, its outcome, "settled" if forgotten, or None."""
        raise NotImplementedError

    def check_incarnation(self, agent: str, update: UpdateId) -> None:
        """Ask before `Receive`.

        Raises:
            Rejected: ("quota") Its agent had more process starts than the ledger tells apart.
        """
        raise NotImplementedError

    def is_base(self, number: int, digest: bytes) -> bool:
        """Whether this run committed that version."""
        raise NotImplementedError

    def keeps(self, number: int) -> bool:
        """Whether updates with that base can be merged; always, if merging does not need its values."""
        raise NotImplementedError

    def vector(self, number: int) -> Vector | None:
        """Return a version's vector, to be read only; None if it is gone. Disk work."""
        raise NotImplementedError

    def hold(self, number: int) -> None:
        """An update with that base was let in; after a restart, call it for all that wait or are uploaded."""
        raise NotImplementedError

    def release(self, number: int) -> None:
        """An update with that base is settled, or came to nothing."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the files and unlock the folder."""
        raise NotImplementedError
