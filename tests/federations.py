"""Federations for tests, made as people make them; and what any broker with their files must do."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from mosquitto import wait_for

from antiphon.agents.settings import AgentSettings
from antiphon.broker_config.connection import BrokerAddress, Connected, Connection, Message
from antiphon.broker_config.folders import load_passwords, open_agent
from antiphon.broker_config.paho_connection import PahoConnection
from antiphon.broker_config.provisioning import admit, init_agent, init_federation
from antiphon.broker_config.topics import COORDINATOR, MONITOR, Topics
from antiphon.codecs.errors import ConfigError, PublishRefused

AGENTS = ("bank-1", "bank-2")
PATIENCE = 20.0
"""Seconds that anything a broker does may take."""


def make_federation(folder: Path, prefix: str = "", agents: tuple[str, ...] = AGENTS) -> Path:
    """Make ``folder/federation`` and ``folder/<agent>``, admitted; returns the former."""
    place = folder / "federation"
    invitation = init_federation(place, "credit", "mqtt://127.0.0.1:1883", prefix)
    for id in agents:
        add_agent(folder, id, invitation)
    return place


def add_agent(folder: Path, id: str, invitation: Path) -> None:
    """Make one more agent, and hand it its admission."""
    request = init_agent(folder / id, id, invitation)
    admission = admit(invitation.parent, request)
    (folder / id / "admission.toml").write_bytes(admission.read_bytes())


def address_of(folder: Path, user: str, port: int) -> BrokerAddress:
    """How a user of ``folder/federation`` connects to a broker on ``port``."""
    url = f"mqtt://127.0.0.1:{port}"
    if (folder / user).exists():
        return replace(open_agent(folder / user, AgentSettings)[0].address, url=url)
    passwords = load_passwords(folder / "federation")
    known = {COORDINATOR: passwords.coordinator, **passwords.monitors}
    return BrokerAddress(url, user, known[user])


@contextmanager
def broker_process(federation: Path, port: int, *options: str) -> Generator[subprocess.Popen[bytes]]:
    """Run ``antiphon broker`` until the end of the block, and stop it as a service manager would."""
    command = [sys.executable, "-m", "antiphon", "broker", str(federation), "--port", str(port), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        wait_for("127.0.0.1", port)
        yield process
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGTERM)
        process.communicate(timeout=PATIENCE)


class Client:
    """A connection and what came over it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        self.up: asyncio.Future[Connected] = asyncio.get_running_loop().create_future()

    async def read(self) -> None:
        """Sort events; ends with the connection."""
        try:
            async for event in self.connection.events():
                if isinstance(event, Message):
                    self.messages.put_nowait(event)
                elif isinstance(event, Connected) and not self.up.done():
                    self.up.set_result(event)
        except ConfigError as error:
            if not self.up.done():
                self.up.set_exception(error)

    async def next(self) -> Message:
        """The next message."""
        return await asyncio.wait_for(self.messages.get(), PATIENCE)


async def connected(stack: list[Client], group: asyncio.TaskGroup, address: BrokerAddress) -> Client:
    """Connect under the user's name; appended to ``stack`` for `leave`."""
    client = Client(PahoConnection(address, address.username or "", None))
    await client.connection.__aenter__()
    stack.append(client)
    group.create_task(client.read(), name=f"read {address.username}")
    await asyncio.wait_for(asyncio.shield(client.up), PATIENCE)
    return client


def vanish(address: BrokerAddress, topic: str) -> None:
    """Connect with a retained will (3.1.1, clean session), and go without a goodbye."""
    user, password = (address.username or "").encode(), (address.password or "").encode()
    fields = (user, topic.encode(), b"lost", user, password)
    payload = b"".join(len(field).to_bytes(2, "big") + field for field in fields)
    body = b"\x00\x04MQTT\x04" + bytes([0b11101110]) + b"\x00\x3c" + payload
    with socket.create_connection((address.host, address.port), timeout=PATIENCE) as line:
        line.sendall(bytes([0x10, len(body) % 128 | 128, len(body) // 128]) + body)
        assert line.recv(4) == bytes.fromhex("20020000")


async def leave(stack: list[Client]) -> None:
    """Say goodbye for all."""
    for client in stack:
        await client.connection.__aexit__(None, None, None)


async def check_rules(folder: Path, port: int, prefix: str = "") -> None:
    """What every broker with a federation's files must do: users, rules, retained, wills, large packets.

    Raises:
        AssertionError: it does not.
    """
    topics = Topics(prefix)
    stack: list[Client] = []
    async with asyncio.TaskGroup() as group:
        coordinator = await connected(stack, group, address_of(folder, COORDINATOR, port))
        monitor = await connected(stack, group, address_of(folder, MONITOR, port))
        await _large_retained(coordinator.connection, topics)
        agent = await connected(stack, group, address_of(folder, "bank-1", port))
        await agent.connection.subscribe(topics.chunk(0, 0))
        chunk = await agent.next()
        assert (chunk.topic, len(chunk.payload), chunk.retain) == (topics.chunk(0, 0), 700_000, True)
        await _others_stay_closed(coordinator, agent, topics)
        await monitor.connection.subscribe(topics.all_updates)
        await coordinator.connection.subscribe(topics.all_updates)
        await _forged_is_dropped(coordinator, monitor, agent, topics)
        await monitor.connection.subscribe(topics.status("bank-2"))
        vanish(address_of(folder, "bank-2", port), topics.status("bank-2"))
        assert (await monitor.next()).payload == b"lost"
        await leave(stack)


async def _large_retained(coordinator: Connection, topics: Topics) -> None:
    await coordinator.publish(topics.chunk(0, 0), bytes(700_000), retain=True)
    for id in AGENTS:
        await coordinator.publish(topics.keys(id), id.encode(), retain=True)


async def _others_stay_closed(coordinator: Client, agent: Client, topics: Topics) -> None:
    """Of two retained keys only its own comes; the receipt afterwards proves that the other had its time."""
    await agent.connection.subscribe(topics.keys("bank-2"))
    await agent.connection.subscribe(topics.keys("bank-1"), topics.receipts("bank-1"))
    assert (await agent.next()).topic == topics.keys("bank-1")
    await coordinator.connection.publish(topics.receipts("bank-1"), b"received")
    assert (await agent.next()).payload == b"received"


async def _forged_is_dropped(coordinator: Client, monitor: Client, agent: Client, topics: Topics) -> None:
    for forged in (topics.updates("bank-2"), topics.broadcast):
        with suppress(PublishRefused):
            await agent.connection.publish(forged, b"forged")
    with suppress(PublishRefused):
        await monitor.connection.publish(topics.updates("bank-1"), b"forged")
    await agent.connection.publish(topics.updates("bank-1"), b"true")
    for reader in (coordinator, monitor):
        message = await reader.next()
        assert (message.topic, message.payload, message.retain) == (topics.updates("bank-1"), b"true", False)
