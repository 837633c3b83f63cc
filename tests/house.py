"""A whole federation in virtual time: a coordinator, agents, and a broker in memory."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import msgspec
from numpy.typing import NDArray

from antiphon.agents.service import Agent
from antiphon.agents.settings import AgentIdentity, AgentSettings
from antiphon.agents.trainer import Trainer
from antiphon.broker_config.folders import RosterEntry
from antiphon.codecs.sealing import SecretKey, SigningKey
from antiphon.coordinator.keys import Identity
from antiphon.coordinator.service import Coordinator
from antiphon.coordinator.settings import CoordinatorSettings
from antiphon.simulation.clock import virtual_environment
from antiphon.simulation.memory_broker import MemoryBroker

NAME = "banks"


class House:
    """Makes and runs the parties; everything that runs is stopped with the block.

    Args:
        folder: Each party gets a folder in it.
        broker: Shared by all.
        initial: Version 0; None to ask an agent for it.
        settings: The coordinator's.
    """

    def __init__(
        self,
        folder: Path,
        broker: MemoryBroker,
        initial: Mapping[str, NDArray[Any]] | None,
        **settings: Any,
    ) -> None:
        self.folder, self.broker, self.initial = folder, broker, initial
        self.settings = msgspec.convert(settings, CoordinatorSettings)
        self.identity = Identity(NAME, SecretKey.generate(), SigningKey.generate())
        self.roster: dict[str, RosterEntry] = {}
        self.secrets: dict[str, SecretKey] = {}
        self.events: list[dict[str, Any]] = []
        self.tasks: dict[str, asyncio.Task[Any]] = {}
        self.parties: dict[str, Agent | Coordinator] = {}
        self._lives = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for id in list(self.tasks):
            await self.stop(id)

    def admit(self, id: str, *, may_initialise: bool = False) -> None:
        """Let an agent take part."""
        self.secrets[id] = SecretKey.generate()
        self.roster[id] = RosterEntry(id, self.secrets[id].public, may_initialise)

    def start_coordinator(self) -> Coordinator:
        coordinator = Coordinator(
            self.settings,
            self.identity,
            lambda: self.roster,
            self.initial,
            self._place("coordinator"),
            self.broker.connect,
            self._environment("coordinator"),
            listen=self.events.append,
        )
        self._run("coordinator", coordinator)
        return coordinator

    def start_agent(self, id: str, trainer: Trainer, **settings: Any) -> Agent:
        """Start an agent, admitting it if it is not; with the outbox of its former life."""
        if id not in self.roster:
            self.admit(id, may_initialise=bool(settings.get("may_initialise")))
        identity = AgentIdentity(
            id, NAME, self.secrets[id], self.identity.secret.public, self.identity.signing.public
        )
        agent = Agent(
            msgspec.convert(settings, AgentSettings),
            identity,
            trainer,
            self._place(id),
            self.broker.connect,
            self._environment(id),
        )
        self._run(id, agent)
        return agent

    async def stop(self, id: str) -> None:
        """Stop a party cleanly."""
        self.parties[id].stop()
        async with asyncio.timeout(120):
            await asyncio.gather(self.tasks.pop(id), return_exceptions=True)

    async def crash(self, id: str) -> None:
        """End a party without a goodbye."""
        self.broker.kill(id)
        task = self.tasks.pop(id)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def seen(self, event: str) -> list[dict[str, Any]]:
        """Every event of one kind so far."""
        return [found for found in self.events if found["event"] == event]

    async def versions(self, count: int, seconds: float = 3600.0) -> None:
        """Wait until version ``count`` has been published."""
        await self.until(lambda: any(found["version"] >= count for found in self.seen("version")), seconds)

    async def until(self, condition: Callable[[], bool], seconds: float = 3600.0) -> None:
        """Wait in virtual time; a party that fails fails the test."""
        async with asyncio.timeout(seconds):
            while not condition():
                for task in self.tasks.values():
                    if task.done() and task.exception():
                        task.result()
                await asyncio.sleep(0.05)

    def _run(self, id: str, party: Agent | Coordinator) -> None:
        self.parties[id] = party
        self.tasks[id] = asyncio.create_task(party.run(), name=id)

    def _place(self, id: str) -> Path:
        place = self.folder / id
        place.mkdir(exist_ok=True)
        return place

    def _environment(self, id: str) -> Any:
        self._lives += 1
        return virtual_environment(party=f"{id} {self._lives}")
