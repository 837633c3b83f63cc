"""The brokers that the connection contract is played on, behind one face."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

from line import Line

from antiphon.broker_config.connection import (
    BrokerAddress,
    Connected,
    Connection,
    Event,
    Limits,
    Message,
    Will,
)
from antiphon.broker_config.paho_connection import PahoConnection
from antiphon.simulation.memory_broker import MemoryBroker

CLIENTS = ("agent-0", "agent-1", "agent-2")
LIMITS = Limits(first_delay=0.1)
LARGEST = 1 << 21
"""Bytes: the largest packet on every stage."""


class Stage(Protocol):
    """A broker with users `CLIENTS`, none of whom may publish under ``forbidden/``."""

    protocol: int

    def connect(self, client_id: str, will: Will | None = None) -> Connection:
        """A connection of this client."""
        ...

    def connect_badly(self, client_id: str) -> Connection:
        """A connection of this client with bad credentials."""
        ...

    def cut(self, client_id: str) -> None:
        """Cut this client's line without a goodbye."""
        ...

    async def stop(self) -> None:
        """Stop the broker; it forgets everything."""
        ...

    async def start(self) -> None:
        """Start it again."""
        ...

    def topic(self, rest: str) -> str:
        """A topic of this test alone."""
        ...


class Broker(Protocol):
    """A process that a stage is built on."""

    host: str
    port: int

    def password(self, user: str) -> str:
        """The user's password."""
        ...

    def start(self) -> None:
        """Start, and return when it answers."""
        ...

    def stop(self) -> None:
        """Stop; it forgets everything."""
        ...


Scenario = Callable[[Stage], Awaitable[None]]


class MemoryStage:
    """The broker in memory."""

    def __init__(self, protocol: int) -> None:
        """A new one for each test."""
        self.protocol = protocol
        self._broker = MemoryBroker(
            protocol=protocol,
            maximum_packet=LARGEST,
            bandwidth=1e8,
            may_publish=lambda client, topic: not topic.startswith("forbidden/"),
            limits=LIMITS,
        )

    def connect(self, client_id: str, will: Will | None = None) -> Connection:
        """See `Stage`."""
        return self._broker.connect(client_id, will)

    def connect_badly(self, client_id: str) -> Connection:
        """See `Stage`."""
        self._broker.refused.add(client_id)
        return self._broker.connect(client_id)

    def cut(self, client_id: str) -> None:
        """See `Stage`."""
        self._broker.kill(client_id)

    async def stop(self) -> None:
        """See `Stage`."""
        self._broker.stop()

    async def start(self) -> None:
        """See `Stage`."""
        self._broker.start()

    def topic(self, rest: str) -> str:
        """See `Stage`."""
        return rest


class RealStage:
    """A real broker, each client behind a line of its own that can be cut."""

    def __init__(self, broker: Broker, protocol: int, lines: dict[str, Line]) -> None:
        """The lines are open already."""
        self.protocol = protocol
        self._broker, self._lines = broker, lines
        self._prefix = uuid.uuid4().hex

    def connect(self, client_id: str, will: Will | None = None) -> Connection:
        """See `Stage`."""
        return self._connect(client_id, self._broker.password(client_id), will)

    def connect_badly(self, client_id: str) -> Connection:
        """See `Stage`."""
        return self._connect(client_id, "wrong", None)

    def cut(self, client_id: str) -> None:
        """See `Stage`."""
        self._lines[client_id].cut()

    async def stop(self) -> None:
        """See `Stage`."""
        await asyncio.to_thread(self._broker.stop)

    async def start(self) -> None:
        """See `Stage`."""
        await asyncio.to_thread(self._broker.start)

    def topic(self, rest: str) -> str:
        """See `Stage`."""
        return f"{self._prefix}/{rest}"

    def _connect(self, client_id: str, password: str, will: Will | None) -> Connection:
        address = BrokerAddress(f"mqtt://127.0.0.1:{self._lines[client_id].port}", client_id, password)
        protocol = 5 if self.protocol == 5 else 4
        return PahoConnection(address, client_id, will, limits=LIMITS, protocol=protocol)


@asynccontextmanager
async def real_stage(broker: Broker, protocol: int) -> AsyncGenerator[RealStage]:
    """A stage on a running broker."""
    async with AsyncExitStack() as stack:
        lines = {
            client: await stack.enter_async_context(Line(broker.host, broker.port)) for client in CLIENTS
        }
        yield RealStage(broker, protocol, lines)


async def until_connected(connection: Connection) -> Connected:
    """Skip events up to the next Connected."""
    async for event in connection.events():
        if isinstance(event, Connected):
            return event
    raise AssertionError("the connection ended")


async def take(connection: Connection, count: int) -> list[Message]:
    """The next messages; other events are errors."""
    found: list[Message] = []
    while len(found) < count:
        event: Event = await anext(connection.events())
        assert isinstance(event, Message), event
        found.append(event)
    return found


async def sweep(connection: Connection, topic: str) -> list[Message]:
    """Everything that arrives before a message of our own on ``topic``, which is subscribed."""
    await connection.publish(topic, b"barrier")
    found: list[Message] = []
    while True:
        (message,) = await take(connection, 1)
        if message.payload == b"barrier":
            return found
        found.append(message)
