"""A whole federation in one process and in virtual time.

The coordinator and the agents are the real ones, over a broker in memory.
Training takes as long as the member says, not as long as the CPU needs: the trainer's code runs at once, and
its result is handed over after so many virtual seconds. Keys are drawn from the operating system as always,
so the bytes of frames differ between two runs; what happens, and when, does not.
"""

import asyncio
import gc
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

from antiphon.agents.service import Agent
from antiphon.agents.settings import AgentIdentity, AgentSettings
from antiphon.agents.status import Counters
from antiphon.agents.trainer import Array, Trainer, TrainingContext, TrainingResult
from antiphon.broker_config.environment import Environment
from antiphon.broker_config.folders import RosterEntry
from antiphon.codecs.errors import AntiphonError
from antiphon.codecs.sealing import SecretKey, SigningKey
from antiphon.coordinator.keys import Identity
from antiphon.coordinator.service import Coordinator, Summary
from antiphon.coordinator.settings import CoordinatorSettings
from antiphon.simulation.clock import TURN, run, virtual_environment
from antiphon.simulation.disk import MemoryDisk
from antiphon.simulation.memory_broker import MemoryBroker

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")

Watch = Callable[[Coordinator, dict[str, Any]], None]
"""Called with each event of the coordinator as it happens; may look at its model, and stop it."""


def _never() -> float:
    return 0.0


@dataclass(frozen=True, slots=True)
class Member:
    """One agent of a simulated federation.

    Attributes:
        id: Its name.
        trainer: Makes its trainer.
        seconds: Virtual seconds that each training takes, or what draws them; infinity: it never comes back.
        joins: Virtual seconds after the coordinator when it starts.
        settings: The agent's.
        away: Draws, when a training is done, for how many virtual seconds the agent is out of reach before it
            can answer; 0: it answers at once, infinity: never.
        leaves: Virtual seconds after the coordinator when it ends for good.
    """

    id: str
    trainer: Callable[[], Trainer]
    seconds: float | Callable[[], float] = 1.0
    joins: float = 0.0
    settings: AgentSettings = field(default_factory=AgentSettings)
    away: Callable[[], float] = _never
    leaves: float = math.inf


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it.

    Attributes:
        summary: The coordinator's.
        events: Its events, in order.
        counters: What each agent did, by id.
        trainers: The agents' trainers, by id.
    """

    summary: Summary
    events: list[dict[str, Any]]
    counters: Mapping[str, Counters]
    trainers: Mapping[str, Trainer]

    def named(self, event: str) -> list[dict[str, Any]]:
        """The events of one kind."""
        return [each for each in self.events if each["event"] == event]


def simulate(
    members: Sequence[Member],
    seconds: float,
    folder: Path,
    *,
    initial: Mapping[str, Array],
    settings: CoordinatorSettings | None = None,
    broker: Callable[[], MemoryBroker] = MemoryBroker,
    seed: int = 0,
    watch: Watch | None = None,
) -> Outcome:
    """Run a federation until its coordinator's end condition, at most for so many virtual seconds.

    Args:
        members: The agents.
        seconds: Virtual seconds until everybody is stopped.
        folder: For everybody's files; each has a folder of its own in it.
        initial: Parameters of version 0.
        settings: The coordinator's.
        broker: Makes the broker: latency, bandwidth.
        seed: Decides every draw but the keys.
        watch: Sees every event of the coordinator.

    Raises:
        ConfigError: Out of the coordinator or an agent.
    """

    async def main() -> Outcome:
        made = settings or CoordinatorSettings()
        return await federate(members, seconds, folder, initial, made, broker(), watch)

    with _rarely_collected():
        return run(main, seed)


@contextmanager
def _rarely_collected() -> Generator[None]:
    """Look for garbage in circles less often: there is little, and a thousand agents to look through."""
    before = gc.get_threshold()
    gc.set_threshold(50_000, 20, 1000)
    try:
        yield
    finally:
        gc.set_threshold(*before)


async def federate(
    members: Sequence[Member],
    seconds: float,
    folder: Path,
    initial: Mapping[str, Array],
    settings: CoordinatorSettings,
    broker: MemoryBroker,
    watch: Watch | None = None,
) -> Outcome:
    """As `simulate`, in a virtual loop that runs already."""
    keys = {member.id: SecretKey.generate() for member in members}
    roster = {id: RosterEntry(id, key.public) for id, key in keys.items()}
    identity = Identity("simulation", SecretKey.generate(), SigningKey.generate())
    events: list[dict[str, Any]] = []

    def listen(event: dict[str, Any]) -> None:
        events.append(event)
        if watch is not None:
            watch(coordinator, event)

    coordinator = Coordinator(
        settings,
        identity,
        lambda: roster,
        initial,
        folder / "federation",
        broker.connect,
        replace(virtual_environment(party="coordinator"), disk=MemoryDisk()),
        listen=listen,
    )
    agents: dict[str, Agent] = {}
    trainers: dict[str, Trainer] = {}
    for member in members:
        known = AgentIdentity(
            member.id, identity.federation, keys[member.id], identity.secret.public, identity.signing.public
        )
        timed = _Timed(member, broker)
        trainers[member.id] = timed.trainer
        environment = timed.slow(replace(virtual_environment(party=member.id), disk=MemoryDisk()))
        place = folder / member.id
        agents[member.id] = Agent(member.settings, known, timed, place, broker.connect, environment)
    try:
        async with asyncio.TaskGroup() as group:
            lead = group.create_task(coordinator.run(), name="coordinator")
            for member in members:
                group.create_task(_live(agents[member.id], member), name=member.id)
            await asyncio.wait([lead], timeout=seconds)
            coordinator.stop()
            summary = await lead
            for agent in agents.values():
                agent.stop()
    except BaseExceptionGroup as group:
        found = group.subgroup(AntiphonError)
        if found is None:
            raise
        raise _flat(found)[0] from None
    return Outcome(summary, events, {id: agent.counters for id, agent in agents.items()}, trainers)


def _flat(errors: BaseExceptionGroup[AntiphonError]) -> list[AntiphonError]:
    found: list[AntiphonError] = []
    for error in errors.exceptions:
        found += _flat(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


async def _live(agent: Agent, member: Member) -> None:
    await asyncio.sleep(member.joins)
    if math.isinf(member.leaves):
        await agent.run()
        return
    loop = asyncio.get_running_loop()
    leaving = loop.call_later(max(0.0, member.leaves - member.joins), agent.stop)
    try:
        await agent.run()
    finally:
        leaving.cancel()


class _Timed:
    """A trainer whose trainings owe virtual time, which the environment that runs them pays."""

    def __init__(self, member: Member, broker: MemoryBroker) -> None:
        self.trainer, self._member, self._broker = member.trainer(), member, broker
        self._trained = False

    def __getattr__(self, name: str) -> Any:
        """Methods that a trainer may have."""
        return getattr(self.trainer, name)

    def get_model_params(self) -> Mapping[str, Array]:
        return self.trainer.get_model_params()

    def update_model_params(self, params: Mapping[str, Array]) -> None:
        self.trainer.update_model_params(params)

    def train_model(self, context: TrainingContext) -> TrainingResult:
        self._trained = True
        return self.trainer.train_model(context)

    def slow(self, environment: Environment) -> Environment:
        """The environment with jobs done inline: training takes its time, everything else none."""

        async def run(function: Callable[[*Arguments], Result], /, *arguments: *Arguments) -> Result:
            await TURN
            result = function(*arguments)
            if self._trained:
                self._trained = False
                await self._pass_time()
            return result

        return replace(environment, run=run)

    async def _pass_time(self) -> None:
        """Train, and perhaps go away with the result in hand."""
        seconds, broker, id = self._member.seconds, self._broker, self._member.id
        await _sleep(seconds if isinstance(seconds, float | int) else seconds())
        gone = self._member.away()
        if gone:
            broker.unreachable.add(id)
            broker.cut(id)
            await _sleep(gone)
            broker.unreachable.discard(id)


async def _sleep(seconds: float) -> None:
    if math.isinf(seconds):
        await asyncio.Event().wait()
    elif seconds:
        await asyncio.sleep(seconds)
