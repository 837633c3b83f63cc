"""The connection to a real broker: keeps one paho session after the other alive, and decides when to give up.

MQTT 5 first, 3.1.1 when the broker knows no other. No thread but a short one for each connecting; everything
else runs on the event loop. See `antiphon.broker_config.connection` for what is promised.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Literal, Self

import numpy as np

from antiphon.broker_config import reconnect
from antiphon.broker_config.connection import (
    LARGEST_PACKET,
    BrokerAddress,
    Connect,
    Connected,
    Connection,
    Event,
    Lane,
    Limits,
    Lost,
    Will,
)
from antiphon.broker_config.inbox import Inbox
from antiphon.broker_config.paho_client import make_client, tls_context
from antiphon.broker_config.paho_session import Answer, PahoSession
from antiphon.codecs.errors import ConfigError, NotConnected

log = logging.getLogger("antiphon")

UNSUPPORTED_PROTOCOL = 132
CREDENTIALS = frozenset({134, 135, 138, 140})
"""MQTT 5 reason codes of a CONNACK: bad user name or password, not authorised, banned, bad authentication
method."""


def connector(
    address: BrokerAddress,
    rng: np.random.Generator | None = None,
    limits: Limits | None = None,
    protocol: Literal[5, 4] = 5,
) -> Connect:
    """What services are handed to make their connections.

    Args:
        address: Where the broker is, and who we are there.
        rng: For the jitter of reconnecting.
        limits: By default `Limits`.
        protocol: 4 for brokers that are known to speak MQTT 3.1.1 only; otherwise that is found out.
    """

    def connect(client_id: str, will: Will | None) -> Connection:
        return PahoConnection(address, client_id, will, rng=rng, limits=limits, protocol=protocol)

    return connect


class PahoConnection:
    """Implements `antiphon.broker_config.connection.Connection` over paho-mqtt."""

    def __init__(
        self,
        address: BrokerAddress,
        client_id: str,
        will: Will | None = None,
        *,
        rng: np.random.Generator | None = None,
        limits: Limits | None = None,
        protocol: Literal[5, 4] = 5,
    ) -> None:
        """Not connecting yet; see `connector`."""
        self._address, self._client_id, self._will = address, client_id, will
        self._rng = rng if rng is not None else np.random.default_rng()
        self._limits = limits or Limits()
        self._inbox = Inbox(self._limits, self._pause, self._resume)
        self._history = reconnect.begin(protocol)
        self._session: PahoSession | None = None
        self._sessions = 0
        self._maximum_packet = LARGEST_PACKET
        self._complaint = ""
        self._task: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Whether there is a session now."""
        return self._session is not None and self._session.alive

    @property
    def maximum_packet(self) -> int:
        """Bytes the broker takes in one packet."""
        return self._maximum_packet

    @property
    def dropped(self) -> int:
        """Messages that were dropped because nobody took them from `events`."""
        return self._inbox.dropped

    async def __aenter__(self) -> Self:
        """Start connecting in the background."""
        self._task = asyncio.create_task(self._keep_up(), name=f"connection {self._client_id}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send what is queued and say goodbye."""
        try:
            if self._task is not None:
                self._task.cancel()
                await asyncio.gather(self._task, return_exceptions=True)
            if self._session is not None:
                await self._session.close()
        finally:
            if self._session is not None:
                self._session.abort("the connection is closed")
            self._inbox.close()

    def events(self) -> AsyncIterator[Event]:
        """What happens, in order; see the interface."""
        return self._inbox

    async def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False, lane: Lane = Lane.CONTROL
    ) -> None:
        """Publish; see the interface."""
        await self._require().publish(topic, payload, qos, retain, lane)

    async def subscribe(self, *filters: str, qos: int = 1) -> None:
        """Subscribe; see the interface."""
        await self._require().subscribe(filters, qos)

    async def unsubscribe(self, *filters: str) -> None:
        """Unsubscribe; does not wait."""
        if self._session is not None and self._session.alive:
            self._session.unsubscribe(filters)

    def _require(self) -> PahoSession:
        if self._session is None or not self._session.alive:
            raise NotConnected("there is no connection to the broker")
        return self._session

    async def _keep_up(self) -> None:
        try:
            context = tls_context(self._address)
            while True:
                await self._one_session(context)
                await asyncio.sleep(reconnect.delay(self._limits, self._history, self._rng.random()))
        except ConfigError as error:
            self._inbox.close(error)

    async def _one_session(self, context: ssl.SSLContext | None) -> None:
        """Connect once and, if that succeeds, wait for the end of the session.

        Raises:
            ConfigError: There is no point in trying again.
        """
        protocol = self._history.protocol
        client = make_client(self._address, self._client_id, self._will, self._limits, protocol, context)
        session = PahoSession(client, self._limits, self._inbox.put)
        try:
            answer = await session.open(self._address)
        except OSError as error:
            self._history = reconnect.failed(self._history)
            self._complain(str(error) or type(error).__name__)
            return
        if answer.code == 0:
            await self._serve(session, protocol, answer)
        else:
            session.abort(answer.reason)
            self._judge(answer)

    async def _serve(self, session: PahoSession, protocol: int, answer: Answer) -> None:
        self._session = session
        if answer.lacks:
            await session.close()
            raise ConfigError(f"the broker at {self._address.url} does not offer {answer.lacks}: use another")
        self._history = reconnect.accepted(self._history)
        self._complaint = ""
        self._sessions += 1
        self._maximum_packet = session.maximum_packet
        since = asyncio.get_running_loop().time()
        log.info("connected to %s as %s (MQTT %s)", self._address.url, self._client_id, protocol)
        self._inbox.put(Connected(self._sessions, protocol, self._maximum_packet))
        if self._inbox.paused:
            session.pause()
        end = await asyncio.shield(session.ended)
        self._inbox.put(Lost(end.reason))
        age = asyncio.get_running_loop().time() - since
        log.warning("lost the connection to %s: %s", self._address.url, end.reason)
        self._history = reconnect.lost(self._history, self._client_id, age, end.code)

    def _judge(self, answer: Answer) -> None:
        """What a connection without a session means for the next try."""
        if answer.code == UNSUPPORTED_PROTOCOL and self._history.protocol == 5:
            # many brokers speak only the older version: no reason to alarm anybody
            self._history = reconnect.unknown_protocol(self._history)
            return
        self._complain(answer.reason)
        if answer.code is None:
            self._history = reconnect.closed_early(self._history)
        elif answer.code == UNSUPPORTED_PROTOCOL:
            self._history = reconnect.unknown_protocol(self._history)
        elif answer.code in CREDENTIALS:
            who = repr(self._address.username or self._client_id)
            self._history = reconnect.refused(self._history, self._limits, who, answer.reason)
        else:
            self._history = reconnect.failed(self._history)

    def _complain(self, reason: str) -> None:
        """Once for each new reason, not at every try."""
        if reason != self._complaint:
            log.warning("cannot connect to %s: %s; trying again", self._address.url, reason)
        self._complaint = reason

    def _pause(self) -> None:
        if self._session is not None:
            self._session.pause()

    def _resume(self) -> None:
        if self._session is not None:
            self._session.resume()
