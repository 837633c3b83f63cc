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
from dataclasses import dataclass
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
    init_step,
)
from antiphon.coordinator.aggregation.plan import plan
from antiphon.coordinator.aggregation.rule import Rule
from antiphon.coordinator.aggregation.step import vector_count
from antiphon.coordinator.broadcast import Broadcast
from antiphon.coordinator.buffer import Accepted, Buffer
from antiphon.coordinator.commits import Commits
from antiphon.coordinator.committing import Committing, Context, Head, Made
from antiphon.coordinator.ledger.ledger import Ledger
from antiphon.coordinator.ledger.records import RecoveredVersion
from antiphon.coordinator.merging import Spoiled
from antiphon.coordinator.models import Model
from antiphon.coordinator.remembered import Remembered
from antiphon.coordinator.reporting import Events
from antiphon.coordinator.roster import Roster
from antiphon.coordinator.run_clock import RunClock
from antiphon.coordinator.steady import Steady

RETRY = 5.0
"""Seconds between two tries to commit a version that the disk did not take."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What flushing works with.

    Attributes:
        rule, environment, clock, ledger, steady, commits, broadcast, buffer, remembered, roster, events: See
            their modules.
        reject: Settle an update that was received against its agent: update, reason, detail.
        applied: These updates are in a version that is announced: tell their agents.
        trouble: The disk did not take something.
    """

    rule: Rule
    environment: Environment
    clock: RunClock
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


class Flushing:
    """The newest version, the optimiser's state, and the loop that moves them."""

    def __init__(self, tools: Tools, last: int = 0) -> None:
        """Nothing is there yet. ``last``: number of the last version of the run; 0: there is none."""
        self._tools, self._last = tools, last
        context = Context(
            tools.rule,
            tools.environment,
            tools.ledger,
            tools.steady,
            tools.commits,
            tools.buffer,
            tools.remembered,
            tools.trouble,
        )
        self._head = Head()
        self._committing = Committing(context, self._head, self._reject)
        self._wake = asyncio.Event()
        self.last_k = 0
        self._published = asyncio.Event()
        self._closing = False
        self._paused_until = float("-inf")

    @property
    def model(self) -> Model | None:
        """The newest committed version; None before the first."""
        return self._head.model

    def recover(self, version: RecoveredVersion | None, state: RuleState) -> None:
        """Go on from the newest committed version; ``state``: the rule's memory, with what came after it."""
        self._head.state = state
        if version is None:
            return
        self._head.model, self._head.step = version.model, version.step
        wanted = vector_count(self._tools.rule.step)
        if wanted != len(version.step.vectors):
            schema = version.model.schema
            self._head.step = init_step(self._tools.rule, schema.size, schema.dtype)
            self._head.started_step = True
            self._tools.events.add(
                "optimiser",
                detail="the settings name another optimiser: its state begins from zeros",
            )

    def admit(self, agent: str, now: float) -> None:
        """An update of the agent was accepted: remember its rate."""
        self._head.state = admitted(self._tools.rule, self._head.state, agent, now)

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
        tools, now, clock = self._tools, self._tools.clock(), _now()
        if self._paused_until > clock:
            return self._paused_until - clock
        if self.model is None:
            return 0.0 if len(tools.buffer) else None
        if self._last and self.model.number >= self._last:
            return None  # whoever ends the run may not have seen it yet
        live = tools.roster.live(clock)
        decision = should_flush(tools.rule, self._head.state, tools.buffer.arrivals, now, live)
        self.last_k = decision.k
        if not decision.flush:
            return None if decision.next_at is None else max(0.001, decision.next_at - now)
        return max(
            0.0,
            tools.broadcast.free_at(clock, tools.roster.slowest_round_trip(clock)) - clock,
        )

    async def _sleep(self, seconds: float) -> None:
        """Wait for so many seconds, or until `wake`."""
        alarm = asyncio.get_running_loop().call_later(seconds, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            alarm.cancel()

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
            elif made is not None and (committed := await self._commit(made)) is not None:
                if committed:
                    await self._publish(made)
                return committed
            batch = [accepted for accepted in batch if self._tools.buffer.has(accepted)]
        return True

    async def start(self, model: Model) -> None:
        """Publish the operator's first version, when the disk has it."""
        made = Made(model, init_step(self._tools.rule, model.schema.size, model.schema.dtype))
        while True:
            if await self._commit(made):
                break
            await asyncio.sleep(RETRY)
        await self._publish(made)

    async def resume(self, shown: bytes) -> None:
        """Announce again what a former process committed; ``shown``: see `Broadcast.resume`."""
        tools, model = self._tools, self.model
        assert model is not None  # a programming error: `recover` had a version
        sealed = await tools.broadcast.resume(model, shown, tools.roster.slowest_round_trip(_now()))
        await tools.broadcast.announce(model, sealed)
        for late in tools.buffer.all():
            if late.update.offer.base == NO_DIGEST:
                self._reject(late, "unknown-base", "another agent brought the first version")
        self.wake()

    async def _make(self, batch: Sequence[Accepted]) -> Made | Spoiled | None:
        """Merge a batch; before the first version, its first update becomes that.

        Returns:
            None if one of the updates was rejected meanwhile, so that its file is gone.

        Raises:
            StateError: A spool file cannot be read.
        """
        try:
            if self.model is None:
                return await self._begin(batch[0])
            return await self._merge(self.model, batch)
        except OSError as error:
            if not all(self._tools.buffer.has(accepted) for accepted in batch):
                return None
            raise StateError(
                f"cannot read {error.filename or 'an update that was received'}: {error.strerror or error}; "
                "repair the disk or restore the state folder from a backup, then start again"
            ) from None

    async def _begin(self, accepted: Accepted) -> Made | Spoiled:
        """Read the first version that an agent brought."""
        tools = self._tools
        found = await tools.environment.run(merging.first_version, accepted, tools.environment.disk)
        if isinstance(found, Spoiled):
            return found
        step = init_step(tools.rule, found.schema.size, found.schema.dtype)
        return Made(found, step, (accepted,))

    async def _merge(self, model: Model, batch: Sequence[Accepted]) -> Made | Spoiled:
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
        now = tools.clock()
        size = should_flush(tools.rule, self._head.state, arrivals, now, tools.roster.live(_now())).k
        scalars = plan(tools.rule, self._head.state, arrivals, model.number, size, now)
        assert self._head.step is not None  # there is a model, so there is a step
        merged = await tools.environment.run(
            merging.merge,
            tools.rule,
            scalars,
            model,
            self._head.step,
            batch,
            bases,
            tools.environment.disk,
        )
        if isinstance(merged, Spoiled):
            return merged
        return Made(merged.model, merged.step, batch, scalars)

    async def _commit(self, made: Made) -> bool | None:
        """As `Committing.commit`; a disk that did not take it is left alone for a while."""
        worked = await self._committing.commit(made)
        if worked is False:
            self._paused_until = _now() + RETRY
        return worked

    async def leave(self, timeout: float) -> None:
        """Wait, so many seconds, for a commit that is under way although `run` was cancelled."""
        await self._committing.leave(timeout)

    async def _publish(self, made: Made) -> None:
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
        if self._tools.buffer.has(accepted):  # it may have been revoked while the merge found it spoiled
            self._tools.buffer.remove([accepted])
            self._tools.reject(accepted, reason, detail)

    def reject_all(self, batch: Sequence[Accepted], reason: str, detail: str) -> None:
        """Reject what waits: its agent was revoked, or the run is over. What is being committed counts."""
        for accepted in batch:
            if not self._committing.postpone(accepted, reason, detail):
                self._reject(accepted, reason, detail)
        self.wake()


def _now() -> float:
    return asyncio.get_running_loop().time()
