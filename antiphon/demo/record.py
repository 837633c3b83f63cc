"""What happened in a run, from the coordinator's event log: who was merged, how stale, with what weight."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

BINS: tuple[tuple[int, int | None], ...] = (
    (0, 0),
    (1, 1),
    (2, 2),
    (3, 3),
    (4, 5),
    (6, 9),
    (10, 19),
    (20, 49),
    (50, None),
)
"""Staleness in versions: first and last of each bar."""


@dataclass(slots=True)
class Share:
    """One agent: how many of its updates are in the model, how stale, and the sum of their weights."""

    updates: int = 0
    weight: float = 0.0
    staleness: list[int] = field(default_factory=list[int])


@dataclass(frozen=True, slots=True)
class Record:
    """The whole run."""

    versions: int
    shares: dict[str, Share]
    rejected: Counter[str]
    """Rejected updates by reason; "run-over" is what was left at the end."""

    @property
    def staleness(self) -> list[int]:
        """Of every update merged, in no particular order."""
        return [tau for share in self.shares.values() for tau in share.staleness]

    def influence(self, agent: str) -> float:
        """The agent's share of all weights, 0 to 1; 0 when nothing was merged."""
        total = sum(share.weight for share in self.shares.values())
        return self.shares[agent].weight / total if total else 0.0


def read_record(path: Path, agents: Iterable[str]) -> Record:
    """Read ``events.jsonl``; a last line that is cut off is left out, and so is what is no event."""
    shares = {agent: Share() for agent in agents}
    versions, rejected = 0, Counter[str]()
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            event: Any = json.loads(line)
        except ValueError:
            continue
        kind = event.get("event")
        if kind == "rejected":
            rejected[str(event.get("reason"))] += 1
        if kind == "version":
            versions = max(versions, int(event.get("version", 0)))
            _add(shares, cast("dict[str, Any]", event))
    return Record(versions, shares, rejected)


def _add(shares: dict[str, Share], event: dict[str, Any]) -> None:
    parts = (event.get("agents", ()), event.get("staleness", ()), event.get("weights", ()))
    for agent, tau, weight in zip(*parts, strict=False):
        if agent in shares:
            shares[agent].updates += 1
            shares[agent].weight += float(weight)
            shares[agent].staleness.append(int(tau))


def histogram(staleness: Sequence[int]) -> list[tuple[str, int]]:
    """Return (label, count) for each of `BINS`."""
    bars: list[tuple[str, int]] = []
    for first, last in BINS:
        count = sum(first <= tau and (last is None or tau <= last) for tau in staleness)
        label = f"{first}+" if last is None else f"{first}" if first == last else f"{first}-{last}"
        bars.append((label, count))
    return bars
