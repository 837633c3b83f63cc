"""One session with a broker over paho: from CONNECT to the end of the line.

Every answer of the broker is awaited through a future of our own: paho's ``wait_for_publish`` can deadlock in
callbacks, and a refused PUBACK still reads as published there. A message keeps its place in its lane until
the broker has answered, even if nobody waits for the answer any more: paho still holds it.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from antiphon.broker_config.connection import (
    LARGEST_PACKET,
    PUBLISH_OVERHEAD,
    BrokerAddress,
    Lane,
    Limits,
    Message,
)
from antiphon.broker_config.lanes import Lanes
from antiphon.broker_config.paho_client import connect
from antiphon.broker_config.paho_loop import PahoLoop
from antiphon.codecs.errors import NotConnected, PacketTooLarge, PublishRefused

LOSSES = {128: "the line broke", 141: "the broker did not answer a ping"}
"""What paho's codes for a loss without a DISCONNECT mean."""

FILTERS = 8
"""Filters in one SUBSCRIBE: what AWS IoT Core takes."""

GOODBYE = 2.0
"""Seconds for what is queued and the DISCONNECT to leave."""


@dataclass(frozen=True, slots=True)
class Answer:
    """CONNACK, or what came in its place.

    Attributes:
        code: Reason code of MQTT 5; 0 is yes; None if the line closed without an answer.
        reason: For people.
        lacks: What the broker says it does not do and we cannot do without; empty if nothing.
    """

    code: int | None
    reason: str
    lacks: str = ""


@dataclass(frozen=True, slots=True)
class End:
    """How a session ended: in words, and the reason code if the broker sent a DISCONNECT."""

    reason: str
    code: int | None = None


@dataclass(slots=True)
class _Sent:
    lane: Lane
    size: int
    at: float
    answer: asyncio.Future[int]


class PahoSession:
    """One paho client, one session."""

    def __init__(
        self,
        client: Client,
        limits: Limits,
        receive: Callable[[Message], None],
    ) -> None:
        """Not connected yet; ``receive`` gets the messages, on the event loop's thread."""
        self._client, self._limits, self._receive = client, limits, receive
        self._loop = asyncio.get_running_loop()
        self._driver = PahoLoop(client, self._finish, self._look_after)
        self._lanes = Lanes(limits)
        self._sent: dict[int, _Sent] = {}
        self._subscribing: dict[int, asyncio.Future[int]] = {}
        self._answer: asyncio.Future[Answer] = self._loop.create_future()
        self.ended: asyncio.Future[End] = self._loop.create_future()
        self.maximum_packet = LARGEST_PACKET
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe

    @property
    def alive(self) -> bool:
        """Whether the broker said yes and the line still stands."""
        accepted = self._answer.done() and not self._answer.cancelled() and self._answer.result().code == 0
        return accepted and not self.ended.done()

    async def open(self, address: BrokerAddress) -> Answer:
        """Connect, in a thread of its own: DNS, TCP and TLS block.

        Raises:
            OSError: No line; `TimeoutError` included.
        """
        try:
            async with asyncio.timeout(self._limits.connect_timeout):
                await connect(self._client, address, self._limits)
            self._driver.attach()
            async with asyncio.timeout(self._limits.connect_timeout):
                return await self._answer
        except BaseException:
            self.abort("the connection was given up")
            raise

    async def close(self) -> None:
        """Send what is queued and say goodbye, at most for `GOODBYE` seconds."""
        if self.alive:
            self._client.disconnect()
            with suppress(TimeoutError):
                async with asyncio.timeout(GOODBYE):
                    await asyncio.shield(self.ended)
        self.abort("the connection is closed")

    def abort(self, reason: str) -> None:
        """Close the line without a goodbye."""
        self._driver.close()
        self._finish(reason)

    def pause(self) -> None:
        """Stop reading."""
        self._driver.pause()

    def resume(self) -> None:
        """Read again."""
        self._driver.resume()

    async def publish(self, topic: str, payload: bytes, qos: int, retain: bool, lane: Lane) -> None:
        """See `antiphon.broker_config.connection.Connection.publish`."""
        self._require()
        size = len(topic.encode()) + len(payload) + PUBLISH_OVERHEAD
        if size > self.maximum_packet:
            raise PacketTooLarge(size, self.maximum_packet)
        await self._lanes.acquire(lane, size)
        try:
            self._require()
            info = self._client.publish(topic, bytes(payload), qos, retain)
            if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
                raise NotConnected(f"a message on {topic} could not be sent (code {info.rc})")
        except BaseException:
            self._lanes.release(lane, size)
            raise
        sent = _Sent(lane, size, self._loop.time(), self._loop.create_future())
        self._sent[info.mid] = sent
        code = await self._wait(sent.answer, f"a message on {topic}")
        if code >= 128:
            raise PublishRefused(f"the broker refused a message on {topic} (reason {code})", code)

    async def subscribe(self, filters: tuple[str, ...], qos: int) -> None:
        """See `antiphon.broker_config.connection.Connection.subscribe`."""
        self._require()
        answers: list[asyncio.Future[int]] = []
        for start in range(0, len(filters), FILTERS):
            code, mid = self._client.subscribe([(each, qos) for each in filters[start : start + FILTERS]])
            if code != MQTTErrorCode.MQTT_ERR_SUCCESS or mid is None:
                raise NotConnected(f"a subscription could not be sent (code {code})")
            answers.append(self._loop.create_future())
            self._subscribing[mid] = answers[-1]
        codes = [await self._wait(answer, "a subscription") for answer in answers]
        if max(codes, default=0) >= 128:
            raise PublishRefused(
                f"the broker refused a subscription of {', '.join(filters)} (reason {max(codes)})", max(codes)
            )

    def unsubscribe(self, filters: tuple[str, ...]) -> None:
        """See `antiphon.broker_config.connection.Connection.unsubscribe`."""
        for start in range(0, len(filters), FILTERS):
            self._client.unsubscribe(list(filters[start : start + FILTERS]))

    def _require(self) -> None:
        if not self.alive:
            raise NotConnected("there is no connection to the broker")

    async def _wait(self, answer: asyncio.Future[int], what: str) -> int:
        try:
            async with asyncio.timeout(self._limits.answer_timeout):
                return await answer
        except TimeoutError:
            raise NotConnected(f"no answer from the broker to {what}") from None

    def _look_after(self) -> None:
        """Each second: a message without any answer for long means a line or a broker that does not work."""
        oldest = next(iter(self._sent.values()), None)
        if oldest is not None and self._loop.time() - oldest.at > self._limits.silence_timeout:
            self.abort("the broker does not answer")

    def _finish(self, reason: str, code: int | None = None) -> None:
        """The session is over: nobody gets an answer from it any more."""
        if self.ended.done():
            return
        self.ended.set_result(End(reason, code))
        if not self._answer.done():
            self._answer.set_result(Answer(None, reason))
        self._lanes.close(reason)
        waiting = [sent.answer for sent in self._sent.values()] + list(self._subscribing.values())
        self._sent.clear()
        self._subscribing.clear()
        for answer in waiting:
            if not answer.done():
                answer.set_exception(NotConnected(reason))
                answer.exception()  # the second part of a subscription may have nobody waiting for it

    # What paho calls, on the event loop's thread.

    def _on_connect(
        self,
        client: Client,
        userdata: Any,
        flags: ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self._driver.handled += 1
        said = cast(dict[str, Any], properties.json() if properties is not None else {})
        self.maximum_packet = min(said.get("MaximumPacketSize", LARGEST_PACKET), LARGEST_PACKET)
        self._lanes = Lanes(self._limits, said.get("ReceiveMaximum", 65_535))
        lacks = "retained messages" if said.get("RetainAvailable") == 0 else ""
        lacks = lacks or ("QoS 1" if said.get("MaximumQoS") == 0 else "")
        if not self._answer.done():
            self._answer.set_result(Answer(reason.value, str(reason), lacks))

    def _on_disconnect(
        self,
        client: Client,
        userdata: Any,
        flags: DisconnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self._finish(f"the broker said: {reason}", reason.value)
        else:
            self._finish(LOSSES.get(reason.value, str(reason)))

    def _on_message(self, client: Client, userdata: Any, message: MQTTMessage) -> None:
        self._driver.handled += 1
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return  # nothing that anybody subscribes to
        self._receive(Message(topic, bytes(message.payload), message.retain))

    def _on_publish(
        self, client: Client, userdata: Any, mid: int, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._driver.handled += 1
        sent = self._sent.pop(mid, None)
        if sent is not None:
            self._lanes.release(sent.lane, sent.size)
            _resolve(sent.answer, reason.value)

    def _on_subscribe(
        self,
        client: Client,
        userdata: Any,
        mid: int,
        reasons: list[ReasonCode],
        properties: Properties | None,
    ) -> None:
        self._driver.handled += 1
        answer = self._subscribing.pop(mid, None)
        if answer is not None:
            _resolve(answer, max((reason.value for reason in reasons), default=0))


def _resolve(answer: asyncio.Future[int], code: int) -> None:
    if not answer.done():
        answer.set_result(code)
