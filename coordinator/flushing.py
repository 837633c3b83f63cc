"""When the buffer becomes a version, and what happens then: decide, plan, merge, write, publish, settle.

Guaranteed: an update is settled once, after the version that holds it is announced; one that spoils a merge
    is rejected and the merge starts again without it; one whose agent is revoked while its version is merged
    is left out, later it counts.
Not done here: formulas (`antiphon.coordinator.aggregation`), walking the updates (`merging`).
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy.typing as npt

from antiphon.broker_config.environment import Environment
from antiphon.codecs.errors import Rejected, StateError
from antiphon.coordinator import merging
from antiphon.coordinator.aggregation.anchor import Current
from antiphon.coordinator.aggregation.decision import should_flush
from antiphon.coordinator.aggregation.history import RuleState, admitted, init_state, init_step
from antiphon.coordinator.aggregation.plan import Plan, plan
from antiphon.coordinator.aggregation.rule import Rule
from antiphon.coordinator.aggregation.step import StepState
from antiphon.coordinator.bases import Bases
from antiphon.coordinator.broadcast import Broadcast
from antiphon.coordinator.buffer import Accepted, Buffer, Influence
from antiphon.coordinator.ledger import Ledger, Outcome
from antiphon.coordinator.merging import Merged, Spoiled
from antiphon.coordinator.models import Model
from antiphon.coordinator.norms import Norms, euclidean
from antiphon.coordinator.reporting import Events
from antiphon.coordinator.roster import Roster

Settle = Callable[[Accepted, Outcome], None]


@dataclass(frozen=True, slots=True)
class Tools:
    """What flushing works with; ``settle`` tells the agent, the ledger and the spool."""

    run: bytes
    rule: Rule
    environment: Environment
    ledger: Ledger
    broadcast: Broadcast
    bases: Bases
    buffer: Buffer
    influence: Influence
    norms: Norms
    roster: Roster
    events: Events
    settle: Settle


class Flushing:
    """The newest version, the optimiser's state, and the loop that moves them."""

    def __init__(self, tools: Tools) -> None:
        """Nothing is published yet."""
        self._tools = tools
        self._step: StepState | None = None
        self._state = init_state()
        self._wake = asyncio.Event()
        self.model: Model | None = None
        self.first_at: float | None = None
        self.last_k = 0
        self._published = asyncio.Event()
        self._closing = False
        self._leaving: Sequence[Accepted] = ()

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
            StateError: The disk is full or damaged.
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
        tools, now = self._tools, self._tools.environment.now()
        if self.model is None:
            return 0.0 if len(tools.buffer) else None
        clock = _now()
        live = tools.roster.live(clock)
        decision = should_flush(tools.rule, self._state, tools.buffer.arrivals, now, live)
        self.last_k = decision.k
        if not decision.flush:
            return None if decision.next_at is None else max(0.001, decision.next_at - now)
        return max(0.0, tools.broadcast.free_at(clock, tools.roster.slowest_round_trip(clock)) - clock)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return

    async def flush(self) -> None:
        """Merge everything that may be merged now into a version, and publish it."""
        batch = self._tools.buffer.batch()
        if not batch:
            return
        if self.model is None:
            await self._begin(batch[0])
            return
        while batch:
            outcome = await self._merge(self.model, batch)
            if isinstance(outcome, Spoiled):
                self._reject(batch[outcome.index], outcome.reason, outcome.detail)
            elif self._all_wait(batch):
                merged, scalars = outcome
                await self._publish(merged.model, merged.step, batch, scalars)
                return
            batch = [accepted for accepted in batch if self._all_wait([accepted])]

    async def start(self, model: Model) -> None:
        """Publish the operator's first version."""
        await self._publish(
            model, init_step(self._tools.rule, model.schema.size, model.schema.dtype), (), None
        )

    async def _begin(self, accepted: Accepted) -> None:
        """Publish the first version that an agent brought."""
        try:
            found = await self._tools.environment.run(
                merging.first_version, accepted, self._tools.environment.disk
            )
        except OSError as error:
            raise StateError(f"cannot read the spool: {error.strerror}") from None
        if isinstance(found, Spoiled):
            self._reject(accepted, found.reason, found.detail)
            return
        step = init_step(self._tools.rule, found.schema.size, found.schema.dtype)
        await self._publish(found, step, (accepted,), None)
        for late in self._tools.buffer.all():
            self._reject(late, "unknown-base", "another agent brought the first version")

    async def _merge(self, model: Model, batch: Sequence[Accepted]) -> tuple[Merged, Plan] | Spoiled:
        tools = self._tools
        bases: list[npt.NDArray[Any]] | None = None
        if isinstance(tools.rule.anchor, Current):
            numbers = [accepted.arrival.base_number for accepted in batch]
            found = await tools.environment.run(tools.bases.get_all, numbers)
            bases = [base for base in found if base is not None]
            if len(bases) < len(found):
                gone = next(index for index, base in enumerate(found) if base is None)
                return Spoiled(gone, "base-gone", "the base is no longer kept")
        arrivals = [accepted.arrival for accepted in batch]
        live = tools.roster.live(_now())
        now = tools.environment.now()
        size = should_flush(tools.rule, self._state, arrivals, now, live).k
        scalars = plan(tools.rule, self._state, arrivals, model.number, size, now)
        assert self._step is not None  # there is a model, so there is a step
        try:
            merged = await tools.environment.run(
                merging.merge, tools.rule, scalars, model, self._step, batch, bases, tools.environment.disk
            )
        except OSError as error:
            raise StateError(f"cannot read the spool: {error.strerror}") from None
        return merged if isinstance(merged, Spoiled) else (merged, scalars)

    async def _publish(
        self, model: Model, step: StepState, batch: Sequence[Accepted], scalars: Plan | None
    ) -> None:
        """Write, upload, swap in, announce, settle; from here on nobody can reject the batch any more."""
        self._leaving = batch
        try:
            await self._make_public(model, step, batch, scalars)
        finally:
            self._leaving = ()

    async def _make_public(
        self, model: Model, step: StepState, batch: Sequence[Accepted], scalars: Plan | None
    ) -> None:
        tools = self._tools
        try:
            await tools.environment.run(tools.ledger.commit, model, tools.run)
            await tools.environment.run(tools.bases.add, model.number, model.vector)
        except OSError as error:
            raise StateError(f"cannot write the state folder: {error.strerror or error}") from None
        norm = await tools.environment.run(euclidean, model.vector)
        sealed = await tools.broadcast.upload(model, tools.roster.slowest_round_trip(_now()))
        # From here on agents may answer to this version: it is a base before anybody can have seen it.
        tools.ledger.published(model.number, model.digest)
        self.model, self._step, tools.norms.model = model, step, norm
        if scalars is not None:
            self._state = _with_flush(self._state, scalars.state)
        await tools.broadcast.announce(model, sealed)
        if self.first_at is None:
            self.first_at = _now()
        self._settle(model, batch, scalars)
        self._published.set()
        self.wake()

    def _settle(self, model: Model, batch: Sequence[Accepted], scalars: Plan | None) -> None:
        tools = self._tools
        tools.buffer.remove(batch)
        weights = scalars.weights if scalars else ()
        taus = scalars.taus if scalars else ()
        for accepted, weight, tau in zip(batch, weights, taus, strict=False):
            tools.influence.merged(accepted.update.agent, tau, weight)
        for accepted in batch:
            outcome = Outcome("applied", accepted.update.offer.digest, model.number)
            tools.settle(accepted, outcome)
        tools.events.add(
            "version",
            version=model.number,
            digest=model.digest.hex()[:16],
            agents=[accepted.update.agent for accepted in batch],
            staleness=list(taus),
            weights=[round(weight, 6) for weight in weights],
            k=scalars.k if scalars else 0,
        )

    def _reject(self, accepted: Accepted, reason: str, detail: str) -> None:
        self._tools.buffer.remove([accepted])
        error = Rejected(reason, detail)
        digest = accepted.update.offer.digest
        self._tools.settle(accepted, Outcome("rejected", digest, -1, error.reason, error.detail))

    def reject_all(self, batch: Sequence[Accepted], reason: str, detail: str) -> None:
        """Reject what waits: its agent was revoked, or the run is over. What is being published counts."""
        for accepted in batch:
            if not any(accepted is leaving for leaving in self._leaving):
                self._reject(accepted, reason, detail)
        self.wake()

    def _all_wait(self, batch: Sequence[Accepted]) -> bool:
        """Whether none was rejected while the merge ran."""
        waiting = {id(accepted) for accepted in self._tools.buffer.all()}
        return all(id(accepted) in waiting for accepted in batch)


def _with_flush(state: RuleState, planned: RuleState) -> RuleState:
    """Take over what the flush changed, and keep what was admitted while it ran."""
    return replace(state, flushes=planned.flushes, flushed_at=planned.flushed_at)


def _now() -> float:
    return asyncio.get_running_loop().time()
