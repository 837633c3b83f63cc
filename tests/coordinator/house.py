"""A coordinator over a broker in memory, in virtual time, with scripted agents: for tests."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from antiphon.broker_config.folders import RosterEntry
from antiphon.broker_config.topics import Topics
from antiphon.codecs.sealing import SecretKey, SigningKey
from antiphon.coordinator.keys import Identity
from antiphon.coordinator.service import Coordinator, Summary
from antiphon.coordinator.settings import CoordinatorSettings, End, Limits
from antiphon.simulation.clock import virtual_environment
from antiphon.simulation.memory_broker import MemoryBroker
from tests.coordinator.peer import Peer

SMALL: dict[str, Any] = {"w": np.zeros(60, np.float32)}


def settings(**more: Any) -> CoordinatorSettings:
    """Settings for tests: nothing waits for the disk, ends do not linger."""
    base: dict[str, Any] = {"durability": "flush", "end": End(linger=0.5)}
    return CoordinatorSettings(**(base | more))


@dataclass
class House:
    """A federation under test."""

    folder: Path
    broker: MemoryBroker = field(default_factory=MemoryBroker)
    identity: Identity = field(
        default_factory=lambda: Identity("house", SecretKey.generate(), SigningKey.generate())
    )
    roster: dict[str, RosterEntry] = field(default_factory=dict[str, RosterEntry])
    events: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    tasks: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])
    disk: Any = None

    @property
    def topics(self) -> Topics:
        return Topics(self.identity.prefix)

    def coordinator(
        self,
        chosen: CoordinatorSettings | None = None,
        initial: Mapping[str, Any] | None = SMALL,
        party: str = "coordinator",
        **more: Any,
    ) -> Coordinator:
        return Coordinator(
            chosen or settings(),
            self.identity,
            lambda: dict(self.roster),
            initial,
            self.folder,
            self.broker.connect,
            virtual_environment(party=party, disk=self.disk),
            listen=self.events.append,
            **more,
        )

    def named(self, event: str) -> list[dict[str, Any]]:
        return [record for record in self.events if record["event"] == event]

    def admit(self, id: str, **more: Any) -> SecretKey:
        secret = SecretKey.generate()
        self.roster[id] = RosterEntry(id, secret.public, **more)
        return secret

    async def join(self, id: str, secret: SecretKey | None = None, **more: Any) -> Peer:
        """Bring an agent to the broker; it is admitted unless it brings a key of its own."""
        key = secret or self.admit(id, **more)
        peer = Peer(id, self.identity, self.broker.connect(id, None), key)
        await peer.connection.__aenter__()
        self.tasks.append(asyncio.create_task(peer.run(), name=f"peer-{id}"))
        await peer.ready.wait()
        return peer

    def status(self) -> dict[str, Any]:
        return json.loads(self.broker.retained[self.topics.status("coordinator")])


@asynccontextmanager
async def running(
    folder: Path, chosen: CoordinatorSettings | None = None, house: House | None = None, **more: Any
) -> AsyncGenerator[House]:
    """A house whose coordinator runs, and is stopped at the end."""
    house = house or House(folder)
    coordinator = house.coordinator(chosen, **more)
    task = asyncio.create_task(coordinator.run(), name="coordinator")
    try:
        yield house
    finally:
        coordinator.stop()
        for peer in house.tasks:
            peer.cancel()
        await task


__all__ = ["SMALL", "House", "Limits", "Summary", "running", "settings"]
