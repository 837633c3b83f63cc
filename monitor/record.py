"""What happened in a run, from the coordinator's events: who was merged, how stale, with what weight."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
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


@dataclass(slots=True)
class Record:
    """The whole run, or as much of it as was `add`-ed.

    Attributes:
        versions: The newest version's number.
        shares: By agent; agents that are not in it from the beginning are not counted.
        rejected: Rejected updates by reason; "run-over" is what was left at the end.
    """

    versions: int
    shares: dict[str, Share]
    rejected: Counter[str]

    @classmethod
    def of(cls, agents: Iterable[str]) -> "Record":
        """Return an empty record of these agents."""
        return cls(0, {agent: Share() for agent in agents}, Counter())

    def add(self, event: Mapping[str, Any]) -> None:
        """Take one of the coordinator's events in; most kinds change nothing."""
        kind = event.get("event")
        if kind == "rejected":
            self.rejected[str(event.get("reason"))] += 1
        if kind == "version":
            self.versions = max(self.versions, int(event.get("version", 0)))
            parts = (event.get("agents", ()), event.get("staleness", ()), event.get("weights", ()))
            for agent, tau, weight in zip(*parts, strict=False):
                if agent in self.shares:
                    self.shares[agent].updates += 1
                    self.shares[agent].weight += float(weight)
                    self.shares[agent].staleness.append(int(tau))

    @property
    def staleness(self) -> list[int]:
        """Of every update merged, in no particular order."""
        return self.staleness_of(self.shares)

    def staleness_of(self, agents: Iterable[str]) -> list[int]:
        """Of every merged update of these agents, in no particular order."""
        return [tau for agent in agents for tau in self.shares[agent].staleness]

    def influence(self, *agents: str) -> float:
        """The agents' share of all weights, 0 to 1; 0 when nothing was merged."""
        total = sum(share.weight for share in self.shares.values())
        return sum(self.shares[agent].weight for agent in agents) / total if total else 0.0


def read_record(path: Path, agents: Collection[str]) -> Record:
    """Read ``events.jsonl``; a last line that is cut off is left out, and so is what is no event."""
    record = Record.of(agents)
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            event: Any = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            record.add(cast("dict[str, Any]", event))
    return record


def histogram(staleness: Sequence[int]) -> list[tuple[str, int]]:
    """Return (label, count) for each of `BINS`."""
    bars: list[tuple[str, int]] = []
    for first, last in BINS:
        count = sum(first <= tau and (last is None or tau <= last) for tau in staleness)
        label = f"{first}+" if last is None else f"{first}" if first == last else f"{first}-{last}"
        bars.append((label, count))
    return bars
