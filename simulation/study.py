"""Runs a population in virtual time and writes down what came of it: scores, staleness, influence, bytes.

Guaranteed: the same population with the same seed gives the same numbers and the same model digest, on the
same machine with the same numpy; nothing depends on wall time, names of folders, or keys. The agents' draws
do not depend on the algorithm, so that two algorithms meet the same agents. Sealing is cheap here (see
`antiphon.simulation.crypto`): frames have their real sizes, and nothing is secret.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from antiphon.agents.settings import AgentSettings
from antiphon.agents.status import Counters
from antiphon.broker_config.connection import PUBLISH_OVERHEAD, Message
from antiphon.coordinator.models import Model
from antiphon.coordinator.service import Coordinator, Summary
from antiphon.monitor.record import Record
from antiphon.simulation.clock import EPOCH
from antiphon.simulation.crypto import cheap_crypto
from antiphon.simulation.delays import Law, law_of
from antiphon.simulation.federation import Member, simulate
from antiphon.simulation.learning import Learning
from antiphon.simulation.memory_broker import MemoryBroker
from antiphon.simulation.pipe import Line
from antiphon.simulation.population import Population, SpeedClass
from antiphon.simulation.results import ClassResult, Point, Result

AGENTS = 3
"""Name of the agents' generators; see `antiphon.simulation.learning`."""

PATIENCE = 3600.0
"""Virtual seconds beyond the run's after which a coordinator that does not end by itself is stopped."""


Progress = Callable[[str, Point], None]
"""Called with the preset and the newest point, at every version that is scored."""


def study(
    population: Population,
    preset: str,
    learning: Learning,
    folder: Path,
    progress: Progress | None = None,
) -> Result:
    """Run one algorithm.

    Args:
        population: Who takes part, how long.
        preset: The algorithm.
        learning: Rows and trainers, see `antiphon.simulation.learning.prepare`.
        folder: For the services' files.
        progress: Told of each score.

    Raises:
        ConfigError: The preset's settings do not go with it; a trainer refuses the model.
    """
    observer = _Observer(population, preset, learning, progress)
    broker = MemoryBroker(tap=observer.published, seed=population.seed)
    with cheap_crypto(population.seed):  # the same sizes and refusals, a quarter less time
        outcome = simulate(
            _members(population, learning, broker),
            population.run.seconds + PATIENCE,
            folder,
            initial=learning.initial,
            settings=population.settings(preset),
            broker=lambda: broker,
            seed=population.seed,
            watch=observer.watch,
        )
    return observer.conclude(outcome.summary, outcome.counters, broker.sent)


def _members(population: Population, learning: Learning, broker: MemoryBroker) -> list[Member]:
    members: list[Member] = []
    for each in population.classes:
        for id in each.ids:
            broker.lines[id] = Line(each.latency, each.bandwidth or None)
            members.append(_member(each, id, learning, [population.seed, AGENTS, len(members)]))
    return members


def _member(each: SpeedClass, id: str, learning: Learning, seed: Sequence[int]) -> Member:
    once, trainings, absences = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(3))
    factor = each.factor.draw(once) if each.factor is not None else 1.0
    away = law_of(each.away) if each.away is not None else None

    def gone() -> float:
        if absences.random() >= each.dropout:
            return 0.0
        return away.draw(absences) if away is not None else math.inf

    return Member(
        id,
        learning.make[id],
        seconds=lambda: factor * each.pace.draw(trainings),
        joins=_seconds(each.joins, once),
        settings=AgentSettings(encoding=each.encoding),
        away=gone,
        leaves=math.inf if each.leaves is None else each.leaves,
    )


def _seconds(value: float | Law, rng: np.random.Generator) -> float:
    return law_of(value).draw(rng)


@dataclass(slots=True)
class _Observer:
    """Looks at every version, and ends the run at its last update."""

    population: Population
    preset: str
    learning: Learning
    progress: Progress | None
    record: Record = field(init=False)
    points: list[Point] = field(default_factory=list[Point])
    up: dict[str, int] = field(default_factory=dict[str, int])
    merged: int = 0
    full: str = ""
    started: float = 0.0
    last: float = 0.0
    scored: float = -math.inf
    model: Model | None = None

    def __post_init__(self) -> None:
        self.record = Record.of(self.population.ids)

    def published(self, client: str, message: Message) -> None:
        """A client published something."""
        size = len(message.topic) + len(message.payload) + PUBLISH_OVERHEAD
        self.up[client] = self.up.get(client, 0) + size

    def watch(self, coordinator: Coordinator, event: dict[str, Any]) -> None:
        """Something happened."""
        self.record.add(event)
        now = float(event["timestamp"]) - EPOCH
        if event["event"] != "version" or coordinator.model is None:
            return
        self.started = now if self.model is None else self.started
        self.last = now - self.started
        self.model = coordinator.model
        self.merged += len(event["agents"])
        bound = self.population.run.updates
        if bound and self.merged >= bound and not self.full:
            self.full = f"{self.merged} updates are merged, {bound} were asked for"
            coordinator.stop()
        if self.last - self.scored >= self.population.run.every:
            self.scored = self.last
            self._score(self.model)

    def _score(self, model: Model) -> None:
        score = self.learning.score(model.schema.unpack(model.vector, model.exact))
        point = Point(round(self.last, 3), model.number, self.merged, score)
        self.points.append(point)
        if self.progress is not None:
            self.progress(self.preset, point)

    def conclude(self, summary: Summary, counters: Mapping[str, Counters], down: Mapping[str, int]) -> Result:
        """Score the last version, and count."""
        if self.model is not None and (not self.points or self.points[-1].version < self.model.number):
            self._score(self.model)
        return Result(
            preset=self.preset,
            seed=self.population.seed,
            reason=self.full or summary.reason,
            digest=summary.digest,
            version=summary.version,
            applied=summary.applied,
            rejected=summary.rejected,
            seconds=round(self.last, 3),
            points=tuple(self.points),
            staleness=tuple(self.record.staleness),
            refusals=dict(sorted(self.record.rejected.items())),
            classes=tuple(self._count(each, counters, down) for each in self.population.classes),
        )

    def _count(
        self, each: SpeedClass, counters: Mapping[str, Counters], down: Mapping[str, int]
    ) -> ClassResult:
        taus = self.record.staleness_of(each.ids)
        score = None
        if self.model is not None:
            params = self.model.schema.unpack(self.model.vector, self.model.exact)
            score = self.learning.score_of(params, each.name)
        return ClassResult(
            name=each.name,
            agents=each.agents,
            rows=sum(self.learning.rows[id] for id in each.ids),
            trained=sum(counters[id].sent for id in each.ids),
            updates=len(taus),
            staleness=sum(taus) / len(taus) if taus else 0.0,
            influence=self.record.influence(*each.ids),
            score=score,
            up=sum(self.up.get(id, 0) for id in each.ids),
            down=sum(down.get(id, 0) for id in each.ids),
        )
