"""The broker that pip installs (extra ``embedded``): amqtt with the federation's users and rules, for
trying out.

It reads the same ``broker/passwd`` and ``broker/acl`` as mosquitto, speaks MQTT 3.1.1, keeps retained
messages in memory, and runs in the process that calls, until SIGTERM or SIGINT; SIGHUP reads users and
rules again.

Not for deployment: it is slow (some 50 MB/s), queues without bound for slow subscribers, and lets whoever
names another's client id reach its session before the password is checked. Nothing in the protocol rests on
these.

amqtt is here and not iotcore, which is several times faster: iotcore has no access rules at all, cannot
learn of a new user without a restart, and does not stop a client from publishing in another's name.
"""

# pyright: reportMissingTypeStubs=false
import asyncio
import logging
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter
from amqtt.broker import Broker
from amqtt.contexts import Action, BaseContext, BrokerConfig, ListenerConfig, ListenerType
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin
from amqtt.session import Session

from antiphon.broker_config.access import Access, matches, read_acl_file
from antiphon.broker_config.credentials import is_password, read_password_file
from antiphon.broker_config.folders import load_passwords
from antiphon.codecs.errors import StateError

CONNECT_3_1_1, CONNECT_5 = b"\x00\x04MQTT\x04", b"\x00\x04MQTT\x05"
UNSUPPORTED_VERSION = bytes.fromhex("2003008400")
"""CONNACK of MQTT 5: no session, reason 132, no properties."""

CONNECT_TIMEOUT = 10.0
"""Seconds within which a client must say CONNECT."""


class Gate(BaseAuthPlugin, BaseTopicPlugin):
    """amqtt's questions, answered from the federation's files."""

    @dataclass
    class Config(BaseAuthPlugin.Config):
        """What `listen` hands over: the federation's folder."""

        folder: str

    def __init__(self, context: BaseContext) -> None:
        """Read users and rules."""
        super().__init__(context)
        given: Any = context.config
        self._folder = Path(given.folder)
        self.reload()

    def reload(self) -> None:
        """Read users and rules again.

        Raises:
            StateError: a file cannot be read.
        """
        broker = self._folder / "broker"
        try:
            users = read_password_file((broker / "passwd").read_text(encoding="utf-8"))
            wanted = read_acl_file((broker / "acl").read_text(encoding="utf-8"))
        except OSError as error:
            raise StateError(f"cannot read {error.filename}: {error.strerror}") from None
        self._users, self._access = users, Access(wanted)
        self._monitors = frozenset(load_passwords(self._folder).monitors)

    async def authenticate(self, *, session: Session) -> bool:
        """Check name and password, and that nobody takes another's client id; monitors may choose theirs."""
        name, stored = session.username or "", self._users.get(session.username or "", "")
        if name not in self._monitors and session.client_id != name:
            return False
        return session.client_id not in self._users.keys() - {name} and is_password(
            session.password or "", stored
        )

    async def topic_filtering(
        self, *, session: Session | None = None, topic: str | None = None, action: Action | None = None
    ) -> bool:
        """Apply the rules to each message; like mosquitto, take every subscription and filter what it
        brings.
        """
        name = session.username if session is not None else None
        if name is None or topic is None:
            return False
        if action == Action.PUBLISH:
            return self._access.may_write(name, topic)
        return action == Action.SUBSCRIBE or self._access.may_read(name, topic)


class ReplayedReader(StreamReaderAdapter):
    """A stream whose first bytes were read already."""

    def __init__(self, reader: asyncio.StreamReader, first: bytes) -> None:
        """``first`` comes before whatever ``reader`` still has."""
        super().__init__(reader)
        self._first = first

    async def read(self, n: int = -1) -> bytes:
        """Return ``n`` bytes; without ``n`` whatever is there."""
        if not self._first:
            return await super().read(n)
        if n < 0:
            n = len(self._first)
        head, self._first = self._first[:n], self._first[n:]
        return head if len(head) == n else head + await super().read(n - len(head))


class FederationBroker(Broker):
    """amqtt without what it does wrong."""

    async def stream_connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener_name: str
    ) -> None:
        """Tell clients of MQTT 5 at once to come back with 3.1.1.

        amqtt 0.12 reads their CONNECT as one of 3.1.1, waits for a client id of a thousand bytes, and leaves
        them without an answer.
        """
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                first = await _start_of_connect(reader)
            if first.endswith(CONNECT_3_1_1):
                replayed = ReplayedReader(reader, first)
                await self.external_connected(replayed, StreamWriterAdapter(writer), listener_name)
            elif first.endswith(CONNECT_5):
                writer.write(UNSUPPORTED_VERSION)
        except (TimeoutError, OSError, EOFError):
            return  # said nothing, or went
        finally:
            writer.close()

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        """Send what is retained, to whom it belongs.

        amqtt 0.12 calls this for each new connection with *everybody's* filters, past the rules.
        """
        wanted, qos = subscription
        handler = self._get_handler(session)
        mine = any(s is session for s, _ in self._subscriptions.get(wanted, ()))
        if handler is None or not mine:
            return
        sending: list[asyncio.Task[Any]] = []
        for topic, kept in list(self._retained_messages.items()):
            if matches(wanted, topic) and await self._topic_filtering(session, topic, Action.RECEIVE):
                lower = min(qos, kept.qos or 0)
                sending.append(
                    asyncio.ensure_future(handler.mqtt_publish(topic, kept.data, lower, retain=True))
                )
        if sending:
            await asyncio.wait(sending)


async def _start_of_connect(reader: asyncio.StreamReader) -> bytes:
    """Read a packet up to the byte that holds the protocol level, if it is a CONNECT."""
    first = await reader.readexactly(2)
    while first[-1] & 128 and len(first) < 5:  # the length goes on
        first += await reader.readexactly(1)
    return first + await reader.readexactly(7)


def run_embedded(folder: Path, port: int, bind: str) -> None:
    """Serve the federation in ``folder`` until SIGTERM or SIGINT.

    Raises:
        StateError: a file cannot be read.
        BrokerError: amqtt cannot listen there.
    """
    for name in ("amqtt", "transitions"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    asyncio.run(_serve(folder, port, bind))


async def _serve(folder: Path, port: int, bind: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_leave_out_lost_lines)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    broker = await listen(folder, port, bind)
    gate = next(plugin for plugin in broker.plugins_manager.plugins if isinstance(plugin, Gate))
    loop.add_signal_handler(signal.SIGHUP, gate.reload)
    await stop.wait()
    await broker.shutdown()


def _leave_out_lost_lines(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """amqtt does not expect a line to go while it answers, for example a refusal of MQTT 5."""
    if not isinstance(context.get("exception"), OSError):
        loop.default_exception_handler(context)


async def listen(folder: Path, port: int, bind: str) -> Broker:
    """Start the broker in the running loop; its caller calls ``shutdown()``."""
    config = BrokerConfig(
        listeners={"default": ListenerConfig(type=ListenerType.TCP, bind=f"{bind}:{port}")},
        plugins={f"{Gate.__module__}.{Gate.__qualname__}": {"folder": str(folder)}},
    )
    broker = FederationBroker(config)
    await broker.start()
    return broker
