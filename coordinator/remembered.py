"""What the coordinator remembers of agents besides their updates: influence, norms, latest reports.

Stored whole with every version; what was admitted after the newest version is told again at a start, from
the updates that wait.
"""

import asyncio
from collections.abc import Iterable

from antiphon.codecs.messages import NO_DIGEST, Offer
from antiphon.coordinator.buffer import Influence
from antiphon.coordinator.ending import Report
from antiphon.coordinator.ledger.records import Memory, Received, Recovered
from antiphon.coordinator.norms import Norms
from antiphon.coordinator.settings import Limits


class Remembered:
    """See the module. ``reports`` is one dict for ever, the coordinator's owner looks into it."""

    def __init__(self, limits: Limits) -> None:
        """Nothing yet."""
        self.influence, self.norms = Influence(), Norms(limits)
        self.reports: dict[str, Report] = {}
        self._first_at: float | None = None

    def recover(self, found: Recovered, now: float) -> None:
        """Take over what a former process left; ``now``: wall time, seconds."""
        seen = 0
        if found.version is not None:
            memory, seen = found.version.memory, found.version.rule_state.admissions
            self.influence = Influence.of(memory.influence)
            self.norms.restore(memory.norms)
            self.reports.update(memory.reports)
        for received in _after(found.waiting, seen):
            self.accepted(received.update.agent, received.update.offer, received.checked.sumsq)
        if found.first_at is not None:
            # From here on the loop's clock counts: nobody can set that back.
            self._first_at = _now() - max(0.0, now - found.first_at)

    def accepted(self, agent: str, offer: Offer, sumsq: float) -> None:
        """An update was admitted. ``sumsq``: the sum of its squares."""
        if offer.base != NO_DIGEST:
            self.norms.accepted(sumsq**0.5)
        self.reports[agent] = Report(offer.examples, offer.metrics)

    def begin(self) -> None:
        """A version is committed: the run's time counts from the first."""
        if self._first_at is None:
            self._first_at = _now()

    @property
    def since(self) -> float:
        """Seconds since the first version was committed, by any process; 0 before."""
        return 0.0 if self._first_at is None else _now() - self._first_at

    def plain(self, influence: Influence) -> Memory:
        """Return it to be stored with a version, after which ``influence`` will be what it says."""
        return Memory(influence.plain(), self.norms.plain(), self.reports.copy())


def _after(waiting: Iterable[Received], seen: int) -> list[Received]:
    return [received for received in waiting if received.admission > seen]


def _now() -> float:
    return asyncio.get_running_loop().time()
