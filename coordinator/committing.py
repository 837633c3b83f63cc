"""A version becomes durable: with the outcome of everything in it, in one transaction, and then in memory.

Guaranteed: memory follows the ledger, also when whoever waits for it is stopped meanwhile; what was put into
the ledger before is through, and nothing is admitted while a version is committed; an update whose rejection
is asked for in that moment counts if the version came to be, and is rejected if not.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from antiphon.broker_config.environment import Environment
from antiphon.coordinator.aggregation.history import RuleState, init_state
from antiphon.coordinator.aggregation.plan import Plan
from antiphon.coordinator.aggregation.rule import Rule
from antiphon.coordinator.aggregation.step import StepState
from antiphon.coordinator.buffer import Accepted, Buffer
from antiphon.coordinator.commits import Commits
from antiphon.coordinator.ledger.ledger import Ledger
from antiphon.coordinator.ledger.records import VersionRecord
from antiphon.coordinator.models import Model
from antiphon.coordinator.norms import euclidean
from antiphon.coordinator.remembered import Remembered
from antiphon.coordinator.steady import Steady


@dataclass(frozen=True, slots=True)
class Made:
    """A version that is not committed yet; ``plan``: None for version 0."""

    model: Model
    step: StepState
    batch: Sequence[Accepted] = ()
    plan: Plan | None = None


@dataclass(slots=True)
class Head:
    """The newest version, and what the next is made from.

    Attributes:
        model, step: None before the first.
        state: The rule's memory.
        started_step: Whether the optimiser begins from zeros with the next version, though it had a state.
    """

    model: Model | None = None
    step: StepState | None = None
    state: RuleState = field(default_factory=init_state)
    started_step: bool = False


@dataclass(frozen=True, slots=True)
class Context:
    """What is read and written for a version; ``trouble``: the disk did not take something."""

    rule: Rule
    environment: Environment
    ledger: Ledger
    steady: Steady
    commits: Commits
    buffer: Buffer
    remembered: Remembered
    trouble: Callable[[OSError], None]


class Committing:
    """Commits one version at a time."""

    def __init__(self, context: Context, head: Head, reject: Callable[[Accepted, str, str], None]) -> None:
        """``reject(update, reason, detail)``: what was asked for while its version was being committed."""
        self._context, self._head, self._reject = context, head, reject
        self._task: asyncio.Task[bool | None] | None = None
        self._leaving: Sequence[Accepted] = ()
        self._late: list[tuple[Accepted, str, str]] = []

    async def commit(self, made: Made) -> bool | None:
        """Commit a version.

        Returns:
            Whether the disk took it; None if one of its updates was rejected while it was made.

        Raises:
            StateError: The ledger is damaged.
        """
        norm = await self._context.environment.run(euclidean, made.model.vector)
        self._task = asyncio.get_running_loop().create_task(
            self._in_turn(made, norm), name=f"commit version {made.model.number}"
        )
        return await asyncio.shield(self._task)

    async def leave(self, timeout: float) -> None:
        """Wait for a commit that nobody waits for any more; after ``timeout`` seconds it is given up."""
        if self._task is None:
            return
        try:
            async with asyncio.timeout(timeout):
                await asyncio.gather(self._task, return_exceptions=True)  # cancels it when the time is up
        except TimeoutError:
            return

    def postpone(self, accepted: Accepted, reason: str, detail: str) -> bool:
        """Whether an update's version is being committed: then its rejection waits for what comes of that."""
        if not any(accepted is leaving for leaving in self._leaving):
            return False
        self._late.append((accepted, reason, detail))
        return True

    async def _in_turn(self, made: Made, norm: float) -> bool | None:
        async with self._context.commits.exclusive():
            if not all(self._context.buffer.has(accepted) for accepted in made.batch):
                return None
            self._leaving = made.batch
            try:
                return await self._commit(made, norm)
            finally:
                late, self._leaving, self._late = self._late, (), []
                for accepted, reason, detail in late:
                    if self._context.buffer.has(accepted):
                        self._reject(accepted, reason, detail)

    async def _commit(self, made: Made, norm: float) -> bool:
        context, head, planned = self._context, self._head, made.plan
        state = _with_flush(head.state, planned.state) if planned else head.state
        influence = context.remembered.influence
        if planned:
            agents = [accepted.update.agent for accepted in made.batch]
            influence = influence.after(agents, planned.taus, planned.weights)
        record = VersionRecord(
            model=made.model,
            step=made.step,
            rule=context.rule,
            rule_state=state,
            batch=tuple((accepted.update.agent, accepted.update.id) for accepted in made.batch),
            plan=planned,
            memory=context.remembered.plain(influence),
            term=context.ledger.term,
            committed_at=context.environment.now(),
            started_step=head.started_step,
        )
        try:
            await context.steady(context.ledger.commit_version, record)
        except OSError as error:
            context.trouble(error)
            return False
        head.model, head.step, head.state, head.started_step = made.model, made.step, state, False
        context.remembered.influence, context.remembered.norms.model = influence, norm
        context.remembered.begin()
        context.buffer.remove(made.batch)
        return True


def _with_flush(state: RuleState, planned: RuleState) -> RuleState:
    """Take over what the flush changed, and keep what was admitted while it ran."""
    return replace(state, flushes=planned.flushes, flushed_at=planned.flushed_at)
