"""A client's line to a `MemoryBroker`: the `Connection` interface in virtual time."""

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

from antiphon.broker_config import reconnect
from antiphon.broker_config.connection import (
    LARGEST_PACKET,
    PUBLISH_OVERHEAD,
    Connected,
    Event,
    Lane,
    Lost,
    Message,
    Will,
)
from antiphon.broker_config.inbox import Inbox
from antiphon.broker_config.lanes import Lanes
from antiphon.codecs.errors import ConfigError, NotConnected, PacketTooLarge, PublishRefused
from antiphon.simulation.matching import is_wildcard, valid_filter
from antiphon.simulation.session import Host, Session

ACKNOWLEDGEMENT = 4
"""Bytes of a PUBACK."""


class MemoryConnection:
    """Keeps up a line to a `MemoryBroker`; see `antiphon.broker_config.connection.Connection`."""

    def __init__(self, broker: Host, client_id: str, will: Will | None) -> None:
        """Not yet connecting."""
        self._broker, self._client_id, self._will = broker, client_id, will
        self._inbox = Inbox(broker.limits, self._pause, self._resume)
        self._history = reconnect.begin(broker.protocol)
        self._session: Session | None = None
        self._connected = False
        self._sessions = 0
        self._since = 0.0
        self._lanes = Lanes(broker.limits)
        self._gone = asyncio.Event()
        self._waiting: dict[asyncio.Future[int], tuple[float, str]] = {}  # until when, for an answer to what
        self._overdue: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._maximum_packet = LARGEST_PACKET

    @property
    def connected(self) -> bool:
        """Whether there is a session now."""
        return self._connected

    @property
    def maximum_packet(self) -> int:
        """Bytes the broker takes in one packet."""
        return self._maximum_packet

    @property
    def dropped(self) -> int:
        """Messages dropped here: none, as the broker waits."""
        return self._inbox.dropped

    async def __aenter__(self) -> Self:
        """Start connecting."""
        self._task = asyncio.create_task(self._keep_up(), name=f"connection {self._client_id}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say goodbye."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        session = self._session
        if session is not None:
            self._end_session("the connection is closed")
            session.gone = True
            session.down.close()
            session.up.send(2, lambda: self._broker.goodbye(session))
        self._inbox.close()

    def events(self) -> AsyncIterator[Event]:
        """What happens, in order."""
        return self._inbox

    async def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False, lane: Lane = Lane.CONTROL
    ) -> None:
        """Publish; see the interface."""
        session = self._require()
        if not topic or is_wildcard(topic):
            raise ValueError(f"not a topic to publish on: {topic!r}")
        size = len(topic.encode()) + len(payload) + PUBLISH_OVERHEAD
        if size > self._maximum_packet:
            raise PacketTooLarge(size, self._maximum_packet)
        message = Message(topic, bytes(payload), retain)
        lanes = self._lanes
        await lanes.acquire(lane, size)
        if not qos:
            session.up.send(size, lambda: self._broker.publish(session, message))
            lanes.release(lane, size)
            return
        answer = self._expect(f"a message on {topic}")

        def arrive() -> None:
            code = self._broker.publish(session, message)
            session.down.send(ACKNOWLEDGEMENT, lambda: acknowledge(code))

        def acknowledge(code: int) -> None:
            lanes.release(lane, size)
            _resolve(answer, code)

        session.up.send(size, arrive)
        code = await self._wait(answer)
        if code >= 128:
            raise PublishRefused(f"the broker refused a message on {topic} (reason {code})", code)

    async def subscribe(self, *filters: str, qos: int = 1) -> None:
        """Subscribe; see the interface."""
        session = self._require()
        for each in filters:
            if not valid_filter(each):
                raise ValueError(f"not a filter to subscribe to: {each!r}")
        answer = self._expect("a subscription")

        def arrive() -> None:
            codes = [self._broker.subscribe(session, each) for each in filters]
            session.down.send(ACKNOWLEDGEMENT, lambda: _resolve(answer, max(codes, default=0)))
            for each, code in zip(filters, codes, strict=True):
                if code < 128:
                    self._broker.send_retained(session, each)

        session.up.send(sum(len(each) + 3 for each in filters), arrive)
        code = await self._wait(answer)
        if code >= 128:
            what = f"a subscription of {', '.join(filters)}"
            raise PublishRefused(f"the broker refused {what} (reason {code})", code)

    async def unsubscribe(self, *filters: str) -> None:
        """Unsubscribe; does not wait."""
        session = self._session
        if session is not None and self._connected:
            for each in filters:
                session.up.send(len(each) + 2, lambda each=each: self._broker.unsubscribe(session, each))

    # What the broker calls.

    def receive(self, message: Message) -> None:
        """A message arrived."""
        self._inbox.put(message)

    def line_lost(self, reason: str, code: int | None) -> None:
        """The line is gone; ``code`` is the reason in the broker's DISCONNECT, None without one."""
        if not self._connected:
            self._history = reconnect.failed(self._history)
            self._end_session(reason)
            return
        self._end_session(reason)
        self._inbox.put(Lost(reason))
        age = asyncio.get_running_loop().time() - self._since
        try:
            self._history = reconnect.lost(self._history, self._client_id, age, code)
        except ConfigError as error:
            self._give_up(error)

    # Inside.

    async def _keep_up(self) -> None:
        broker = self._broker
        while True:
            await asyncio.sleep(broker.line_of(self._client_id).latency)
            if not broker.running or self._client_id in broker.unreachable:
                self._history = reconnect.failed(self._history)
            elif self._client_id in broker.refused:
                try:
                    self._history = reconnect.refused(
                        self._history, broker.limits, repr(self._client_id), "bad credentials"
                    )
                except ConfigError as error:
                    self._give_up(error)
                    return
            else:
                self._gone.clear()
                session = self._session = broker.attach(self._client_id, self, self._will)
                session.down.send(ACKNOWLEDGEMENT, self._begin)
                await self._gone.wait()
            await asyncio.sleep(reconnect.delay(broker.limits, self._history, broker.jitter(self._client_id)))

    def _begin(self) -> None:
        """CONNACK."""
        self._history = reconnect.accepted(self._history)
        self._lanes = Lanes(self._broker.limits)
        self._connected = True
        self._since = asyncio.get_running_loop().time()
        self._sessions += 1
        self._maximum_packet = self._broker.maximum_packet
        self._inbox.put(Connected(self._sessions, self._broker.protocol, self._maximum_packet))
        if self._inbox.paused:
            self._pause()

    def _end_session(self, reason: str) -> None:
        """Nobody gets an answer from this session any more."""
        self._session, self._connected = None, False
        self._lanes.close(reason)
        for answer in self._waiting:
            if not answer.done():
                answer.set_exception(NotConnected(reason))
        self._waiting.clear()
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None
        self._gone.set()

    def _give_up(self, error: ConfigError) -> None:
        self._inbox.close(error)
        if self._task is not None:
            self._task.cancel()

    def _require(self) -> Session:
        if self._session is None or not self._connected:
            raise NotConnected("there is no connection to the broker")
        return self._session

    def _expect(self, what: str) -> asyncio.Future[int]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[int] = loop.create_future()
        until = loop.time() + self._broker.limits.answer_timeout
        self._waiting[answer] = (until, what)
        if self._overdue is None:
            self._overdue = loop.call_at(until, self._give_up_waiting)
        return answer

    def _give_up_waiting(self) -> None:
        """All wait for the same time, so one timer for the first of them is enough."""
        self._overdue = None
        loop = asyncio.get_running_loop()
        for answer, (until, what) in self._waiting.items():
            if until > loop.time():
                self._overdue = loop.call_at(until, self._give_up_waiting)
                return
            if not answer.done():
                answer.set_exception(NotConnected(f"no answer from the broker to {what}"))

    async def _wait(self, answer: asyncio.Future[int]) -> int:
        try:
            return await answer
        finally:
            self._waiting.pop(answer, None)

    def _pause(self) -> None:
        if self._session is not None:
            self._session.down.pause()

    def _resume(self) -> None:
        if self._session is not None:
            self._session.down.resume()


def _resolve(answer: asyncio.Future[int], code: int) -> None:
    if not answer.done():
        answer.set_result(code)
