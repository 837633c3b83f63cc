"""When the buffer becomes a version, and what happens then: decide, plan, merge, commit, publish, tell.

Guaranteed: a version and the outcome of everything in it are one transaction, before anybody hears of it; a
    version that was committed and not published is published at the next start, and nothing is computed
    again; an update that spoils a merge is rejected and the merge starts again without it; one whose agent is
    revoked while its version is merged is left out, later it counts. While the disk takes nothing, merging
    pauses, and tries again.
Not done here: formulas (`antiphon.coordinator.aggregation`), walking the updates (`merging`).
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy.typing as npt

from antiphon.broker_config.environment import Environment
from antiphon.codecs.errors import StateError
from antiphon.codecs.messages import NO_DIGEST
from antiphon.coordinator import merging
from antiphon.coordinator.aggregation.anchor import Current
from antiphon.coordinator.aggregation.decision import should_flush
from antiphon.coordinator.aggregation.history import (
    RuleState,
    admitted,
    init_state,
    init_step,
)
from antiphon.coordinator.aggregation.plan import Plan, plan
from antiphon.coordinator.aggregation.rule import Rule
from antiphon.coordinator.aggregation.step import StepState, vector_count
from antiphon.coordinator.broadcast import Broadcast
from antiphon.coordinator.buffer import Accepted, Buffer
from antiphon.coordinator.commits import Commits
from antiphon.coordinator.ledger.ledger import Ledger
from antiphon.coordinator.ledger.records import RecoveredVersion, VersionRecord
from antiphon.coordinator.merging import Spoiled
from antiphon.coordinator.models import Model
from antiphon.coordinator.norms import euclidean
from antiphon.coordinator.remembered import Remembered
from antiphon.coordinator.reporting import Events
from antiphon.coordinator.roster import Roster
from antiphon.coordinator.steady import Steady

RETRY = 5.0
"""Seconds between two tries to commit a version that the disk did not take."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What flushing works with.

    Attributes:
        rule, environment, ledger, steady, commits, broadcast, buffer, remembered, roster, events: See their
            modules.
        reject: Settle an update that was received against its agent: update, reason, detail.
        applied: These updates are in a version that is announced: tell their agents.
        trouble: The disk did not take something.
    """

    rule: Rule
    environment: Environment
    ledger: Ledger
    steady: Steady
    commits: Commits
    broadcast: Broadcast
    buffer: Buffer
    remembered: Remembered
    roster: Roster
    events: Events
    reject: Callable[[Accepted, str, str], None]
    applied: Callable[[Sequence[Accepted], int], None]
    trouble: Callable[[OSError], None]


@dataclass(frozen=True, slots=True)
class _Made:
    """A version that is not committed yet."""

    model: Model
    step: StepState
    batch: Sequence[Accepted] = ()
    plan: Plan | None = None


class Flushing:
    """The newest version, the optimiser's state, and the loop that moves them."""

    def __init__(self, tools: Tools, last: int = 0) -> None:
        """Nothing is there yet. ``last``: number of the last version of the run; 0: there is none."""
        self._tools, self._last = tools, last
        self._step: StepState | None = None
        self._started_step = False
        self._state = init_state()
        self._wake = asyncio.Event()
        self.model: Model | None = None
        self.last_k = 0
        self._published = asyncio.Event()
        self._closing = False
        self._paused_until = float("-inf")
        self._leaving: Sequence[Accepted] = ()
        self._rejected_late: list[tuple[Accepted, str, str]] = []

    def recover(self, version: RecoveredVersion | None, state: RuleState) -> None:
        """Go on from the newest committed version; ``state``: the rule's memory, with what came after it."""
        self._state = state
        if version is None:
            return
        self.model, self._step = version.model, version.step
        wanted = vector_count(self._tools.rule.step)
        if wanted != len(version.step.vectors):
            schema = version.model.schema
            self._step = init_step(self._tools.rule, schema.size, schema.dtype)
            self._started_step = True
            self._tools.events.add(
                "optimiser",
                detail="the settings name another optimiser: its state begins from zeros",
            )

    def admit(self, agent: str, now: float) -> None:
        """An update of the agent was accepted: remember its rate."""
        self._state = admitted(self._tools.rule, self._state, agent, now)

    def close(self) -> None:
        """End `run` after the version that is being made."""
        self._closing = True
        self._wake.set()

    async def progress(self, timeout: float) -> None:
        """Return when a version was published, at the latest after ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._published.wait()
        except TimeoutError:
            return
        self._published.clear()

    def wake(self) -> None:
        """Something changed that may make a version due."""
        self._wake.set()

    async def run(self) -> None:
        """Make versions, until `close`.

        Raises:
            StateError: The disk is damaged.
            ConfigError: The broker refuses us.
        """
        while not self._closing:
            self._wake.clear()
            until = self._next()
            if until is None:
                await self._wake.wait()
            elif until > 0:
                await self._sleep(until)
            else:
                await self.flush()

    def _next(self) -> float | None:
        """Seconds until there may be a version: 0 for now, None until something changes."""
        tools, now, clock = self._tools, self._tools.environment.now(), _now()
        if self._paused_until > clock:
            return self._paused_until - clock
        if self.model is None:
            return 0.0 if len(tools.buffer) else None
        if self._last and self.model.number >= self._last:
            return None  # whoever ends the run may not have seen it yet
        live = tools.roster.live(clock)
        decision = should_flush(tools.rule, self._state, tools.buffer.arrivals, now, live)
        self.last_k = decision.k
        if not decision.flush:
            return None if decision.next_at is None else max(0.001, decision.next_at - now)
        return max(
            0.0,
            tools.broadcast.free_at(clock, tools.roster.slowest_round_trip(clock)) - clock,
        )

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return

    async def flush_all(self) -> None:
        """Merge what may be merged now, however long the disk takes nothing."""
        while True:
            if await self.flush():
                return
            await asyncio.sleep(RETRY)

    async def flush(self) -> bool:
        """Merge everything that may be merged now into a version, and publish it; False: the disk is full."""
        batch = self._tools.buffer.batch()
        while batch:
            made = await self._make(batch)
            if isinstance(made, Spoiled):
                self._reject(batch[made.index], made.reason, made.detail)
            elif (committed := await self._commit(made)) is not None:
                if committed:
                    await self._publish(made)
                return committed
            batch = [accepted for accepted in batch if self._tools.buffer.has(accepted)]
        return True

    async def start(self, model: Model) -> None:
        """Publish the operator's first version, when the disk has it."""
        made = _Made(model, init_step(self._tools.rule, model.schema.size, model.schema.dtype))
        while True:
            if await self._commit(made):
                break
            await asyncio.sleep(RETRY)
        await self._publish(made)

    async def resume(self, shown: bytes) -> None:
        """Announce again what a former process committed; ``shown``: see `Broadcast.resume`."""
        tools, model = self._tools, self.model
        assert model is not None  # a programming error: `recover` had a version
        tools.remembered.norms.model = await tools.environment.run(euclidean, model.vector)
        sealed = await tools.broadcast.resume(model, shown, tools.roster.slowest_round_trip(_now()))
        await tools.broadcast.announce(model, sealed)
        for late in tools.buffer.all():
            if late.update.offer.base == NO_DIGEST:
                self._reject(late, "unknown-base", "another agent brought the first version")
        self.wake()

    async def _make(self, batch: Sequence[Accepted]) -> _Made | Spoiled:
        """Merge a batch; before the first version, its first update becomes that.

        Raises:
            StateError: A spool file cannot be read.
        """
        try:
            if self.model is None:
                return await self._begin(batch[0])
            return await self._merge(self.model, batch)
        except OSError as error:
            raise StateError(f"cannot read the spool: {error.strerror or error}") from None

    async def _begin(self, accepted: Accepted) -> _Made | Spoiled:
        """Read the first version that an agent brought."""
        tools = self._tools
        found = await tools.environment.run(merging.first_version, accepted, tools.environment.disk)
        if isinstance(found, Spoiled):
            return found
        step = init_step(tools.rule, found.schema.size, found.schema.dtype)
        return _Made(found, step, (accepted,))

    async def _merge(self, model: Model, batch: Sequence[Accepted]) -> _Made | Spoiled:
        tools = self._tools
        bases: list[npt.NDArray[Any]] | None = None
        if isinstance(tools.rule.anchor, Current):
            bases = []
            for index, accepted in enumerate(batch):
                base = await tools.steady(tools.ledger.vector, accepted.arrival.base_number)
                if base is None:
                    return Spoiled(index, "base-gone", "the base is no longer kept")
                bases.append(base)
        arrivals = [accepted.arrival for accepted in batch]
        now = tools.environment.now()
        size = should_flush(tools.rule, self._state, arrivals, now, tools.roster.live(_now())).k
        scalars = plan(tools.rule, self._state, arrivals, model.number, size, now)
        assert self._step is not None  # there is a model, so there is a step
        merged = await tools.environment.run(
            merging.merge,
            tools.rule,
            scalars,
            model,
            self._step,
            batch,
            bases,
            tools.environment.disk,
        )
        if isinstance(merged, Spoiled):
            return merged
        return _Made(merged.model, merged.step, batch, scalars)

    async def _commit(self, made: _Made) -> bool | None:
        """Make a version durable, and with it the outcome of its updates: from then on they count.

        Returns:
            Whether the disk took it; None if one of its updates was rejected while it was made.

        Raises:
            StateError: The ledger is damaged.
        """
        tools = self._tools
        norm = await tools.environment.run(euclidean, made.model.vector)
        # Whatever was put before is through, and nothing is admitted meanwhile: memory is what the ledger is.
        async with tools.commits.exclusive():
            if not all(tools.buffer.has(accepted) for accepted in made.batch):
                return None
            self._leaving = made.batch
            try:
                return await self._commit_now(made, norm)
            finally:
                self._leaving, late = (), self._rejected_late
                self._rejected_late = []
                for accepted, reason, detail in late:
                    if tools.buffer.has(accepted):
                        self._reject(accepted, reason, detail)

    async def _commit_now(self, made: _Made, norm: float) -> bool:
        tools, planned = self._tools, made.plan
        state = _with_flush(self._state, planned.state) if planned else self._state
        influence = tools.remembered.influence
        if planned:
            agents = [accepted.update.agent for accepted in made.batch]
            influence = influence.after(agents, planned.taus, planned.weights)
        record = VersionRecord(
            model=made.model,
            step=made.step,
            rule=tools.rule,
            rule_state=state,
            batch=tuple((accepted.update.agent, accepted.update.id) for accepted in made.batch),
            plan=planned,
            memory=tools.remembered.plain(influence),
            term=tools.ledger.term,
            committed_at=tools.environment.now(),
            started_step=self._started_step,
        )
        try:
            await tools.steady(tools.ledger.commit_version, record)
        except OSError as error:
            tools.trouble(error)
            self._paused_until = _now() + RETRY
            return False
        self.model, self._step, self._state = made.model, made.step, state
        self._started_step = False
        tools.remembered.influence, tools.remembered.norms.model = influence, norm
        tools.remembered.begin()
        tools.buffer.remove(made.batch)
        return True

    async def _publish(self, made: _Made) -> None:
        """Upload, announce, tell: what is committed counts, whatever becomes of its agents."""
        tools, model, planned = self._tools, made.model, made.plan
        sealed = await tools.broadcast.upload(model, tools.roster.slowest_round_trip(_now()))
        await tools.broadcast.announce(model, sealed)
        tools.applied(made.batch, model.number)
        tools.events.add(
            "version",
            version=model.number,
            digest=model.digest.hex()[:16],
            agents=[accepted.update.agent for accepted in made.batch],
            staleness=list(planned.taus) if planned else [],
            weights=[round(weight, 6) for weight in planned.weights] if planned else [],
            k=planned.k if planned else 0,
        )
        if planned is None:
            for late in tools.buffer.all():
                self._reject(late, "unknown-base", "another agent brought the first version")
        self._published.set()
        self.wake()

    def _reject(self, accepted: Accepted, reason: str, detail: str) -> None:
        self._tools.buffer.remove([accepted])
        self._tools.reject(accepted, reason, detail)

    def reject_all(self, batch: Sequence[Accepted], reason: str, detail: str) -> None:
        """Reject what waits: its agent was revoked, or the run is over. What is being committed counts."""
        for accepted in batch:
            if any(accepted is leaving for leaving in self._leaving):
                self._rejected_late.append((accepted, reason, detail))
            else:
                self._reject(accepted, reason, detail)
        self.wake()


def _with_flush(state: RuleState, planned: RuleState) -> RuleState:
    """Take over what the flush changed, and keep what was admitted while it ran."""
    return replace(state, flushes=planned.flushes, flushed_at=planned.flushed_at)


def _now() -> float:
    return asyncio.get_running_loop().time()
