"""A federation whose parties die and come back: the real services, each on a host of its own.

A host keeps what a process loses: its disk, and its clock's error. A process is killed between any two
awaits, nothing of it is ever run again, and the next one finds what the last one left on the disk.
"""

import asyncio
import math
import zlib
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple, cast

import numpy as np

from antiphon.agents.service import Agent
from antiphon.agents.settings import AgentIdentity, AgentSettings
from antiphon.agents.trainer import Array, Trainer, TrainingContext, TrainingResult
from antiphon.broker_config.environment import Environment
from antiphon.broker_config.folders import RosterEntry
from antiphon.broker_config.topics import COORDINATOR
from antiphon.codecs.errors import AntiphonError, StateError
from antiphon.codecs.sealing import SecretKey, SigningKey
from antiphon.coordinator.keys import Identity
from antiphon.coordinator.service import Coordinator, Summary
from antiphon.coordinator.settings import CoordinatorSettings
from antiphon.simulation.crash import Party
from antiphon.simulation.disk import MemoryDisk
from antiphon.simulation.memory_broker import MemoryBroker

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")

AGAIN = 5.0
"""Seconds after which a service that ended by an error is started again, as service managers do."""

JOB = 0.003
"""Mean virtual seconds (exponential) before a job of a thread is begun."""

TRIES = 5
"""Times that a service may end with the same words."""

FEDERATION, AGENT = Path("/federation"), Path("/agent")
"""The folders, each on its host's disk."""


@dataclass(frozen=True, slots=True)
class Role:
    """One agent of such a federation.

    Attributes:
        id: Its name.
        trainer: Makes the trainer of each of its processes.
        seconds: Virtual seconds that each training takes; infinity: it never comes back.
        settings: The agent's.
    """

    id: str
    trainer: Callable[[], Trainer]
    seconds: float
    settings: AgentSettings = field(default_factory=AgentSettings)


@dataclass(slots=True)
class Host:
    """Where one party lives.

    Attributes:
        name: The party's.
        disk: Survives its processes.
        party: The process that runs now; None: none.
        service: What runs in it.
        task: It, running.
        lives: Processes so far.
        crashes: How many of them were killed.
        ahead: Seconds by which its clock is wrong.
        buried: Whether nothing will ever run here again.
        errors: What processes ended by, in words, with the time.
        summary: Of the coordinator's last process that ended without an error.
    """

    name: str
    disk: MemoryDisk
    party: Party | None = None
    service: Coordinator | Agent | None = None
    task: asyncio.Task[Any] | None = None
    lives: int = 0
    crashes: int = 0
    ahead: float = 0.0
    buried: bool = False
    errors: list[str] = field(default_factory=list[str])
    summary: Summary | None = None

    @property
    def up(self) -> bool:
        """Whether a process runs here."""
        return self.party is not None


class Parties:
    """The coordinator and the agents, started, stopped and killed one by one."""

    def __init__(
        self,
        roles: list[Role],
        settings: CoordinatorSettings,
        initial: Mapping[str, Array] | None,
        broker: MemoryBroker,
        seed: int,
    ) -> None:
        """Everybody has keys, a disk and an admission; nobody runs.

        Args:
            roles: The agents.
            settings: The coordinator's; may be replaced between its processes.
            initial: Parameters of version 0; None: an agent whose settings allow it brings them.
            broker: Theirs.
            seed: Decides every draw but the keys.
        """
        self.settings, self.broker = settings, broker
        self.keys = {role.id: SecretKey.generate() for role in roles}
        self.identity = Identity("simulation", SecretKey.generate(), SigningKey.generate())
        allowed = {role.id: role.settings.may_initialise for role in roles}
        self.roster = {
            id: RosterEntry(id, key.public, may_initialise=allowed[id]) for id, key in self.keys.items()
        }
        self.events: list[dict[str, Any]] = []
        """The coordinator's, of all its processes, in order."""
        self._roles = {role.id: role for role in roles}
        self._initial, self._seed = initial, seed
        names = [COORDINATOR, *self._roles]
        self.hosts = {name: Host(name, MemoryDisk(seed * 64 + n)) for n, name in enumerate(names)}
        self.ended = asyncio.Event()
        """Set whenever a process ends by itself."""

    @property
    def coordinator(self) -> Host:
        """The coordinator's host."""
        return self.hosts[COORDINATOR]

    @property
    def agents(self) -> list[Host]:
        """The agents' hosts."""
        return [self.hosts[id] for id in self._roles]

    def start(self, name: str) -> None:
        """Start a process on a host where none runs."""
        host = self.hosts[name]
        if host.up or host.buried:
            return
        host.lives += 1
        party = host.party = Party(name, host.disk)
        party.ahead = host.ahead
        dice = np.random.default_rng([self._seed, zlib.crc32(name.encode()), host.lives])
        environment = _busy(party.environment(self._seed, host.lives), dice)
        if name == COORDINATOR:
            host.service = self._coordinator(environment)
        else:
            host.service = self._agent(self._roles[name], environment)
        host.task = party.run(host.service.run(), f"{name} {host.lives}")
        host.task.add_done_callback(lambda task: self._done(host, party, task), context=Context())

    def stop(self, name: str) -> None:
        """Ask a process to end in good order."""
        service = self.hosts[name].service
        if service is not None and self.hosts[name].up:
            service.stop()

    def crash(self, name: str, *, power: bool = False) -> None:
        """Kill what runs on a host now. ``power``: the host dies, and what was not synced may be lost."""
        if self.hosts[name].up:
            self.hosts[name].crashes += 1
            self._kill(self.hosts[name], power)

    def bury(self, name: str) -> None:
        """Kill what runs on a host, and let nothing run there again; no crash from which anybody recovers."""
        self._kill(self.hosts[name], power=True)
        self.hosts[name].buried = True

    def crash_after(self, name: str, steps: int, *, power: bool, then: Callable[[], None]) -> None:
        """Kill a process when it has run for so many steps more; ``then`` is called afterwards.

        If it ends before, nothing happens.
        """
        party = self.hosts[name].party
        if party is None:
            return

        def now() -> None:
            if self.hosts[name].party is party:
                self.crash(name, power=power)
                then()

        party.at(party.steps + steps + 1, now)

    def crash_in_disk(self, name: str, operations: int, *, then: Callable[[], None]) -> None:
        """Kill a process when its disk is about to change for so many times more, in the middle of a job."""
        host, party = self.hosts[name], self.hosts[name].party

        def now() -> None:
            if host.party is party:
                self.crash(name)
                then()

        host.disk.trip(host.disk.operations + operations + 1, now)

    def jump(self, name: str, seconds: float) -> None:
        """Set a host's clock forward, or back."""
        host = self.hosts[name]
        host.ahead += seconds
        if host.party is not None:
            host.party.jump(seconds)

    def revive(self, name: str, seconds: float) -> None:
        """Start a process after so many seconds if none runs then."""
        asyncio.get_running_loop().call_later(seconds, lambda: self.start(name), context=Context())

    # Inside.

    def _kill(self, host: Host, power: bool) -> None:
        if host.party is not None:
            party, host.party, host.task = host.party, None, None
            party.crash(power)
            self.broker.abandon(host.name, silent=power)

    def _done(self, host: Host, party: Party, task: asyncio.Task[Any]) -> None:
        if host.party is not party:
            return
        host.party = None
        host.disk.fence()  # as the operating system does: it closes what the process left open
        self.ended.set()
        if task.cancelled():
            host.errors.append(f"{host.name} was cancelled")
        elif (error := task.exception()) and host.disk.full and isinstance(error, StateError):
            self.revive(host.name, AGAIN)  # a service may refuse to start on a full disk
        elif error:
            host.errors.append(f"{host.name} ended: {_words(error)}")
            if isinstance(error, AntiphonError) and host.errors.count(host.errors[-1]) < TRIES:
                self.revive(host.name, AGAIN)
        elif host.name == COORDINATOR:
            host.summary = task.result()

    def _coordinator(self, environment: Environment) -> Coordinator:
        return Coordinator(
            self.settings,
            self.identity,
            lambda: self.roster,
            self._initial,
            FEDERATION,
            self.broker.connect,
            environment,
            listen=self.events.append,
        )

    def _agent(self, role: Role, environment: Environment) -> Agent:
        federation = self.identity
        identity = AgentIdentity(
            role.id,
            federation.federation,
            self.keys[role.id],
            federation.secret.public,
            federation.signing.public,
        )
        paced = Paced(role.trainer(), role.seconds)
        connect = self.broker.connect
        return Agent(role.settings, identity, paced, AGENT, connect, paced.slow(environment))


def _busy(environment: Environment, dice: np.random.Generator) -> Environment:
    """The environment on a machine that has other things to do: jobs take time, and overtake each other."""
    run_job = environment.run

    async def run(function: Callable[[*Arguments], Result], /, *arguments: *Arguments) -> Result:
        await asyncio.sleep(dice.exponential(JOB))
        return await run_job(function, *arguments)

    return replace(environment, run=run)


def _words(error: BaseException) -> str:
    """Say what it was, out of a task group's parcel too."""
    if isinstance(error, BaseExceptionGroup):
        parts = cast("BaseExceptionGroup[BaseException]", error).exceptions
        return " and ".join(map(_words, parts))
    return f"{type(error).__name__}: {error}"


class Paced:
    """A trainer that costs virtual time, which the environment that runs it pays."""

    def __init__(self, trainer: Trainer, seconds: float) -> None:
        """``seconds``: of each training."""
        self._trainer, self._seconds, self._owed = trainer, seconds, 0.0

    def get_model_params(self) -> Mapping[str, Array]:
        """As the trainer."""
        return self._trainer.get_model_params()

    def update_model_params(self, params: Mapping[str, Array]) -> None:
        """As the trainer."""
        self._trainer.update_model_params(params)

    def train_model(self, context: TrainingContext) -> TrainingResult:
        """As the trainer, later."""
        self._owed = self._seconds
        return self._trainer.train_model(context)

    def slow(self, environment: Environment) -> Environment:
        """The environment, in which training takes its time."""

        def run(function: Callable[[*Arguments], Result], /, *arguments: *Arguments) -> Awaitable[Result]:
            return self._pay(environment.run(function, *arguments))

        return replace(environment, run=run)

    async def _pay(self, job: Awaitable[Result]) -> Result:
        result = await job
        owed, self._owed = self._owed, 0.0
        if math.isinf(owed):
            await asyncio.Event().wait()
        elif owed:
            await asyncio.sleep(owed)
        return result
