"""Accepted updates that wait to be merged, in the order of admission.

At most one of an agent is in a buffer; its second waits for the next one. Also remembers each agent's
staleness and influence, for bounds and for people.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from antiphon.coordinator.aggregation.decision import first_of_each
from antiphon.coordinator.aggregation.history import Arrival
from antiphon.coordinator.checking import Checked
from antiphon.coordinator.ledger.records import Weighed
from antiphon.coordinator.spool import Update

REMEMBERED = 32
"""Updates of an agent whose staleness its median is taken from."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """An update that was received and will be merged or rejected, once."""

    update: Update
    checked: Checked
    arrival: Arrival


class Buffer:
    """What waits."""

    def __init__(self) -> None:
        """Empty."""
        self._waiting: dict[int, Accepted] = {}  # by identity: two may say the same
        self._arrivals: list[Arrival] = []
        self._counts: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, accepted: Accepted) -> None:
        """One more waits."""
        agent = accepted.update.agent
        self._waiting[id(accepted)] = accepted
        self._arrivals.append(accepted.arrival)
        self._counts[agent] = self._counts.get(agent, 0) + 1

    def has(self, accepted: Accepted) -> bool:
        """Whether this very one waits."""
        return id(accepted) in self._waiting

    def count(self, agent: str) -> int:
        """How many of an agent wait."""
        return self._counts.get(agent, 0)

    @property
    def arrivals(self) -> Sequence[Arrival]:
        """All that wait, as the trigger sees them; not to be kept."""
        return self._arrivals

    def batch(self) -> list[Accepted]:
        """The buffer: the first of each agent, in order."""
        waiting = self.all()
        return [waiting[at] for at in first_of_each(self.arrivals)]

    def remove(self, gone: Sequence[Accepted]) -> None:
        """They were merged or rejected."""
        for accepted in gone:
            self._waiting.pop(id(accepted), None)
        waiting, self._waiting, self._arrivals, self._counts = self.all(), {}, [], {}
        for accepted in waiting:
            self.add(accepted)

    def of(self, agent: str) -> list[Accepted]:
        """What waits of one agent."""
        return [accepted for accepted in self._waiting.values() if accepted.update.agent == agent]

    def all(self) -> list[Accepted]:
        """Everything that waits."""
        return list(self._waiting.values())


class Influence:
    """How stale each agent's merged updates were, and how much each weighed."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._agents: dict[str, Weighed] = {}

    def after(self, agents: Sequence[str], staleness: Sequence[int], weights: Sequence[float]) -> "Influence":
        """Return what it will be with these updates of a version. This one stays as it is."""
        later = Influence.of(self._agents)
        for agent, tau, weight in zip(agents, staleness, weights, strict=True):
            later.merged(agent, tau, weight)
        return later

    def plain(self) -> dict[str, Weighed]:
        """Return plain values to be stored with a version."""
        return self._agents.copy()

    @staticmethod
    def of(plain: Mapping[str, Weighed]) -> "Influence":
        """Read what `plain` returned."""
        found = Influence()
        found._agents = dict(plain)
        return found

    def merged(self, agent: str, staleness: int, weight: float) -> None:
        """An update of the agent became part of a version."""
        before, seen = self._agents.get(agent, (0.0, ()))
        self._agents[agent] = (before + weight, (*seen, staleness)[-REMEMBERED:])

    def median_staleness(self, agent: str) -> float | None:
        """Of the agent's last updates, in versions; None before the first."""
        _, seen = self._agents.get(agent, (0.0, ()))
        return float(median(seen)) if seen else None

    def shares(self) -> dict[str, float]:
        """Each agent's part of all weights so far; they sum to 1 unless nothing weighed anything."""
        total = sum(weight for weight, _ in self._agents.values())
        return {agent: (w / total if total > 0 else 0.0) for agent, (w, _) in sorted(self._agents.items())}

    def recent_staleness(self) -> list[int]:
        """The last values of every agent, in order of agents."""
        return [value for _, (_, seen) in sorted(self._agents.items()) for value in seen]
