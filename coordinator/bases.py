"""Values of earlier versions, for the anchor "current", which combines w_base + Δ - w_t.

Small vectors stay in memory, large ones become files that are memory-mapped when they are read; both within a
budget, the oldest going first, but never one that an update which was let in still needs.
"""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[Any]

SMALL = 64 << 10
"""Bytes: a vector up to this size stays in memory."""

MEMORY = 64 << 20
"""Bytes of all vectors in memory."""


class Bases:
    """The versions that updates may be combined against. Does nothing if they are not needed."""

    def __init__(self, folder: Path, budget: int, *, needed: bool) -> None:
        """``budget``: bytes on disk; ``needed``: whether the rule's anchor wants them."""
        self._folder, self._budget, self._needed = folder, budget, needed
        self._kept: OrderedDict[int, Vector | Path] = OrderedDict()
        self._held: dict[int, int] = {}

    def add(self, number: int, vector: Vector) -> None:
        """Keep a version. Disk work if it is large.

        Raises:
            OSError: The disk is full, for instance.
        """
        if not self._needed:
            return
        if vector.nbytes <= SMALL:
            self._kept[number] = vector
        else:
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"{number}.npy"
            np.save(path, vector, allow_pickle=False)
            self._kept[number] = path
        most = max(2, (MEMORY if vector.nbytes <= SMALL else self._budget) // max(1, vector.nbytes))
        free = [n for n in self._kept if n not in self._held and n != number]
        for old in free[: max(0, len(self._kept) - most)]:
            gone = self._kept.pop(old)
            if isinstance(gone, Path):
                gone.unlink(missing_ok=True)

    def keeps(self, number: int) -> bool:
        """Whether updates with that base can be merged."""
        return not self._needed or number in self._kept

    def get(self, number: int) -> Vector | None:
        """Return a version's vector, to be read only; None if it is gone."""
        kept = self._kept.get(number)
        if isinstance(kept, Path):
            return np.load(kept, mmap_mode="r", allow_pickle=False)
        return kept

    def get_all(self, numbers: Sequence[int]) -> list[Vector | None]:
        """Return several versions' vectors at once, as `get`. Disk work."""
        return [self.get(number) for number in numbers]

    def hold(self, number: int) -> None:
        """An update with that base was let in."""
        self._held[number] = self._held.get(number, 0) + 1

    def release(self, number: int) -> None:
        """An update with that base is settled, or came to nothing."""
        left = self._held.get(number, 0) - 1
        if left > 0:
            self._held[number] = left
        else:
            self._held.pop(number, None)
