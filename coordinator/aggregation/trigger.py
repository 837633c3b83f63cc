"""When a buffer of updates becomes a new version: its size K and its deadline.

`Updates` is FedBuff's buffer (Nguyen et al. 2022, arXiv 2106.06639), `Every` FedAsync's (K = 1), `Quorum` a
round of FedAvg. This module computes sizes and deadlines; `antiphon.coordinator.aggregation.decision`
decides.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

AUTO_MOST = 10
"""The largest K that ``auto`` chooses: FedBuff's own."""


class Deadline(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long a buffer may wait from its first update: ``gaps`` median gaps of admission, within bounds.

    Before a gap was seen (fewer than two admissions in the history) it is ``least``, so that a single agent
    moves.
    """

    gaps: Annotated[float, msgspec.Meta(gt=0, le=1e6)] = 10.0
    least: Annotated[float, msgspec.Meta(gt=0, le=1e6)] = 1.0  # seconds
    most: Annotated[float, msgspec.Meta(gt=0, le=1e6)] = 600.0  # seconds

    def __post_init__(self) -> None:
        """Refuse bounds of which one would silently win."""
        if self.least > self.most:
            raise ValueError(f"least ({self.least:g} s) is more than most ({self.most:g} s)")


Size = Annotated[int, msgspec.Meta(ge=1, le=100_000)] | Literal["auto"]


class Every(msgspec.Struct, frozen=True, tag="every", tag_field="kind", forbid_unknown_fields=True):
    """A version for every update: K = 1."""


class Updates(msgspec.Struct, frozen=True, tag="updates", tag_field="kind", forbid_unknown_fields=True):
    """A version for K updates of distinct agents, or at the deadline; see `auto_size` for ``auto``."""

    k: Size = "auto"
    deadline: Deadline = Deadline()


class Quorum(msgspec.Struct, frozen=True, tag="quorum", tag_field="kind", forbid_unknown_fields=True):
    """A round: a version for a quorum of K agents, or at the deadline.

    ``auto`` is every agent among the last 200 admitted updates, but not more than are live.
    """

    k: Size = "auto"
    deadline: Deadline = Deadline()


Trigger = Every | Updates | Quorum


def auto_size(agents: int) -> int:
    """K for C agents at work: max(2, floor(C/10 + 0.5)), at most 10, never above C; 1 for C = 0.

    Mean staleness is about (C - 1) / K whatever the delays, so K grows with C to keep it near ten.
    """
    return max(1, min(AUTO_MOST, max(2, math.floor(agents / 10 + 0.5)), agents))


def buffer_size(trigger: Trigger, agents: int, live: int) -> int:
    """K >= 1 at this moment.

    Args:
        trigger: the choice.
        agents: C, distinct agents among the last 200 admitted updates.
        live: agents that are live; 0 when nobody knows.
    """
    match trigger:
        case Every():
            return 1
        case Updates(k="auto"):
            return auto_size(agents)
        case Quorum(k="auto"):
            return max(1, min(agents, live) if live > 0 else agents)
        case Updates(k=k) | Quorum(k=k):
            return int(k)


def deadline_seconds(deadline: Deadline, gaps: Sequence[float]) -> float:
    """Seconds that a buffer may wait from its first update.

    Args:
        deadline: the choice.
        gaps: seconds between admissions, in any order.
    """
    if not gaps:
        return deadline.least
    ordered, middle = sorted(gaps), len(gaps) // 2
    median = ordered[middle] if len(gaps) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    return max(deadline.least, min(deadline.most, deadline.gaps * median))
