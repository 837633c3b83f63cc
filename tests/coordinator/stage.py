"""A coordinator that can be killed at any moment and started again over the same disk: for tests.

Everything is in virtual time and in memory; the agents are scripted or real ones, and outlive it.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from antiphon.broker_config.connection import Message
from antiphon.broker_config.folders import RosterEntry
from antiphon.broker_config.topics import COORDINATOR, Topics
from antiphon.codecs import frames
from antiphon.codecs.frames import Kind
from antiphon.codecs.messages import Receipt
from antiphon.codecs.sealing import SecretKey, SigningKey
from antiphon.coordinator.keys import Identity
from antiphon.coordinator.service import Coordinator, Summary
from antiphon.coordinator.settings import CoordinatorSettings
from antiphon.simulation.crash import Party
from antiphon.simulation.disk import MemoryDisk
from antiphon.simulation.memory_broker import MemoryBroker
from tests.coordinator.house import SMALL
from tests.coordinator.peer import Peer

FOLDER = Path("/federation")
LIMIT = 1 << 24


@dataclass
class Stage:
    """A federation under test.

    Attributes:
        settings: The coordinator's; may be changed between two starts.
        initial: Version 0.
        chunks: The update chunks that the broker took, by agent: (index, bytes), in order.
        totals: How many the agent's last transfer has.
        slow: Seconds that a job of that name takes, ``commit`` for instance.
        ahead: Seconds by which the wall clock of the next process is wrong.
    """

    settings: CoordinatorSettings
    initial: Mapping[str, Any] | None = field(default_factory=lambda: SMALL)
    broker: MemoryBroker = field(default_factory=MemoryBroker)
    disk: MemoryDisk = field(default_factory=MemoryDisk)
    identity: Identity = field(
        default_factory=lambda: Identity("stage", SecretKey.generate(), SigningKey.generate())
    )
    roster: dict[str, RosterEntry] = field(default_factory=dict[str, RosterEntry])
    events: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    chunks: dict[str, list[tuple[int, int]]] = field(default_factory=dict[str, list[tuple[int, int]]])
    tasks: list[asyncio.Task[Any]] = field(default_factory=list[asyncio.Task[Any]])
    totals: dict[str, int] = field(default_factory=dict[str, int])
    slow: dict[str, float] = field(default_factory=dict[str, float])
    news: asyncio.Event = field(default_factory=asyncio.Event)
    lives: int = 0
    ahead: float = 0.0

    @property
    def topics(self) -> Topics:
        return Topics(self.identity.prefix)

    def __post_init__(self) -> None:
        self.broker.tap = self._hear

    def _hear(self, client_id: str, message: Message) -> None:
        topics = Topics(self.identity.prefix)
        if client_id != COORDINATOR and message.topic == topics.updates(client_id) and message.payload:
            frame = frames.read(message.payload, LIMIT)
            if frame.header.kind is Kind.UPDATE_CHUNK:
                self.chunks.setdefault(client_id, []).append((frame.header.index, len(message.payload)))
                self.totals[client_id] = frame.header.total
                self.news.set()

    def _listen(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        self.news.set()

    def start(self, **more: Any) -> None:
        """Start a process of the coordinator; ``more``: as for `Coordinator`."""
        self.lives += 1
        self.party = Party(COORDINATOR, self.disk)
        self.party.jump(self.ahead)
        environment = self.party.environment(life=self.lives)

        async def run(function: Callable[..., Any], *arguments: Any) -> Any:
            await asyncio.sleep(self.slow.get(getattr(function, "__name__", ""), 0.0))
            return await environment.run(function, *arguments)

        self.coordinator = Coordinator(
            self.settings,
            self.identity,
            lambda: dict(self.roster),
            self.initial,
            FOLDER,
            self.broker.connect,
            replace(environment, run=run),
            listen=self._listen,
            **more,
        )
        self.task: asyncio.Task[Summary] = self.party.run(self.coordinator.run())

    def crash(self, *, power: bool = False) -> None:
        """Kill it; nothing of it ever runs again."""
        self.party.crash(power)
        self.broker.abandon(COORDINATOR)

    def restart(self, *, power: bool = False) -> None:
        """Kill it, and start another process."""
        self.crash(power=power)
        self.start()

    async def stop(self) -> Summary:
        """End it in peace."""
        self.coordinator.stop()
        async with asyncio.timeout(60.0):
            return await self.task

    def named(self, event: str) -> list[dict[str, Any]]:
        return [record for record in self.events if record["event"] == event]

    async def until(self, condition: Callable[[], object], seconds: float = 3600.0) -> None:
        """Wait until an event, or a chunk at the broker, makes the condition true."""
        async with asyncio.timeout(seconds):
            while not condition():
                self.news.clear()
                await self.news.wait()

    async def join(self, id: str, **more: Any) -> Peer:
        """Bring a scripted agent to the broker; ``more``: as for `RosterEntry`."""
        secret = SecretKey.generate()
        self.roster[id] = RosterEntry(id, secret.public, **more)
        peer = Peer(id, self.identity, self.broker.connect(id, None), secret)
        await peer.connection.__aenter__()
        self.tasks.append(asyncio.create_task(peer.run(), name=f"peer-{id}"))
        await peer.ready.wait()
        return peer

    def spooled(self) -> list[str]:
        """The files in the spool."""
        return self.disk.names(FOLDER / "state" / "spool")


@asynccontextmanager
async def staged(stage: Stage) -> AsyncGenerator[Stage]:
    """Start it, and stop it at the end unless it is dead."""
    stage.start()
    try:
        yield stage
    finally:
        for task in stage.tasks:
            task.cancel()
        if not stage.party.over:
            await stage.stop()


def told(peer: Peer, *types: str) -> list[Receipt]:
    """What the agent was told of these types."""
    return [word for word in peer.receipts if word.type in types]
