"""Which versions are kept: pure bookkeeping, a few steps for each new version.

Kept are the newest checkpoints with the updates merged between them, within a number and a size; and, where
merging needs them, older checkpoints as bases, those in use always. The oldest goes first.
"""

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import chain, islice

from antiphon.coordinator.ledger.records import Retention


@dataclass(frozen=True, slots=True)
class Kept:
    """A version that is kept: bytes of its checkpoint, and of the updates that were merged into it."""

    number: int
    checkpoint: int
    updates: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """What a new version drives out.

    Attributes:
        first: The earliest version that stays replayable: plans before it go, and updates up to it.
        checkpoints: Numbers of the checkpoints that go, in order.
    """

    first: int
    checkpoints: tuple[int, ...] = ()


class StoredVersions:
    """The versions that are kept; what `plan` says happens with `take`."""

    def __init__(self, retention: Retention) -> None:
        """Nothing is kept yet."""
        self._retention = retention
        self._kept: deque[Kept] = deque()
        self._bases: dict[int, int] = {}
        self.size = self.base_size = 0

    def load(self, versions: Collection[Kept], bases: Collection[tuple[int, int]]) -> None:
        """Take over what is there: versions in order, and (number, size) of older checkpoints in order."""
        self._kept, self._bases = deque(versions), dict(bases)
        self.size = sum(kept.checkpoint for kept in self._kept)
        self.size += sum(kept.updates for kept in islice(self._kept, 1, None))
        self.base_size = sum(self._bases.values())

    def __contains__(self, number: int) -> bool:
        """Whether a checkpoint is kept."""
        if number in self._bases:
            return True
        return bool(self._kept) and self._kept[0].number <= number <= self._kept[-1].number

    def plan(self, new: Kept, held: Collection[int]) -> Dropped:
        """Say what goes when a version comes; ``held``: bases in use."""
        most, bound = self._retention.keep_versions, self._retention.keep_bytes
        size = self._with(new)
        gone: list[Kept] = []
        while len(gone) < len(self._kept) and (len(self._kept) + 1 - len(gone) > most or size > bound):
            gone.append(self._kept[len(gone)])
            # What was merged into the next one lies before it now: nothing needs that any more.
            size -= gone[-1].checkpoint + self._at(len(gone), new).updates
        return Dropped(self._at(len(gone), new).number, tuple(self._surplus(gone, held)))

    def _with(self, new: Kept) -> int:
        return self.size + new.checkpoint + (new.updates if self._kept else 0)

    def _at(self, index: int, new: Kept) -> Kept:
        return self._kept[index] if index < len(self._kept) else new

    def _surplus(self, gone: Collection[Kept], held: Collection[int]) -> Iterator[int]:
        """Which older checkpoints are too many, when these become older ones."""
        left = self.base_size + sum(kept.checkpoint for kept in gone)
        older = chain(self._bases.items(), ((kept.number, kept.checkpoint) for kept in gone))
        for number, size in older:
            if self._retention.bases and left <= self._retention.base_bytes:
                return
            if not self._retention.bases or number not in held:
                left -= size
                yield number

    def take(self, new: Kept, dropped: Dropped) -> None:
        """The version came, and what `plan` said is gone."""
        self.size = self._with(new)
        self._kept.append(new)
        while self._kept[0].number < dropped.first:
            old, after = self._kept[0], self._kept[1]
            self._bases[old.number] = old.checkpoint  # first: whoever asks meanwhile finds it here or there
            self._kept.popleft()
            self.size -= old.checkpoint + after.updates
            self.base_size += old.checkpoint
        for number in dropped.checkpoints:
            self.base_size -= self._bases.pop(number)
