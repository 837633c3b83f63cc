"""One session with brokers that answer as they are told."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from paho.mqtt.client import MQTTMessageInfo
from paho.mqtt.enums import MQTTErrorCode

from antiphon.broker_config.connection import BrokerAddress, Lane, Limits
from antiphon.broker_config.paho_client import make_client
from antiphon.broker_config.paho_session import Answer, End, PahoSession
from antiphon.codecs.errors import NotConnected, PublishRefused

ACCEPTED = bytes.fromhex("20020000")
LIMITS = Limits(connect_timeout=5, answer_timeout=5)


class Script:
    """A broker that speaks MQTT 3.1.1 by rote."""

    def __init__(self) -> None:
        self.connack = ACCEPTED
        self.codes = [0x80]
        self.packets: list[int] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                kind = (await reader.readexactly(1))[0] & 0xF0
                body = await reader.readexactly((await reader.readexactly(1))[0])
                self.packets.append(kind)
                if kind == 0x10:
                    writer.write(self.connack)
                elif kind == 0x80:
                    writer.write(bytes([0x90, 2 + len(self.codes), *body[:2], *self.codes]))
        except asyncio.IncompleteReadError:
            writer.close()


def play(script: Script, scenario: Callable[[PahoSession, BrokerAddress], Awaitable[None]]) -> None:
    """Run a scenario with a session that is not open yet."""

    async def main() -> None:
        server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
        address = BrokerAddress(f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        client = make_client(address, "me", None, LIMITS, 4, None)
        session = PahoSession(client, LIMITS, lambda message: None)
        async with asyncio.timeout(20):
            await scenario(session, address)
        session.abort("over")
        server.close()

    asyncio.run(main())


def test_refused_subscription_is_told() -> None:
    async def scenario(session: PahoSession, address: BrokerAddress) -> None:
        assert await session.open(address) == Answer(0, "Success")
        with pytest.raises(PublishRefused, match=r"refused a subscription of a, b \(reason 128\)"):
            await session.subscribe(("a", "b"), 1)

    play(Script(), scenario)


@pytest.mark.parametrize(("code", "reason"), [(3, 136), (4, 134), (5, 135)])
def test_refused_connection_has_its_reason(code: int, reason: int) -> None:
    async def scenario(session: PahoSession, address: BrokerAddress) -> None:
        assert (await session.open(address)).code == reason
        assert not session.alive
        with pytest.raises(NotConnected):
            await session.publish("a", b"x", 1, False, Lane.CONTROL)

    script = Script()
    script.connack = bytes([0x20, 2, 0, code])
    play(script, scenario)


def test_goodbye_is_a_disconnect() -> None:
    script = Script()

    async def scenario(session: PahoSession, address: BrokerAddress) -> None:
        await session.open(address)
        await session.close()
        assert (await session.ended) == End("Normal disconnection")

    play(script, scenario)
    assert script.packets == [0x10, 0xE0]


def test_client_that_cannot_send_frees_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(session: PahoSession, address: BrokerAddress) -> None:
        await session.open(address)
        client: Any = session._client  # pyright: ignore[reportPrivateUsage]
        failed = MQTTMessageInfo(1)
        failed.rc = MQTTErrorCode.MQTT_ERR_QUEUE_SIZE

        def publish(*_: object) -> MQTTMessageInfo:
            return failed

        def subscribe(*_: object) -> tuple[MQTTErrorCode, None]:
            return MQTTErrorCode.MQTT_ERR_NO_CONN, None

        monkeypatch.setattr(client, "publish", publish)
        monkeypatch.setattr(client, "subscribe", subscribe)
        for _ in range(1000):
            with pytest.raises(NotConnected, match="could not be sent"):
                await session.publish("a", b"x", 1, False, Lane.CONTROL)
        with pytest.raises(NotConnected, match="could not be sent"):
            await session.subscribe(("a",), 1)

    play(Script(), scenario)


def test_aborted_session_leaves_nobody_waiting() -> None:
    async def scenario(session: PahoSession, address: BrokerAddress) -> None:
        await session.open(address)
        waiting = asyncio.create_task(session.publish("a", b"x", 1, False, Lane.CONTROL))
        await asyncio.sleep(0)
        session.abort("the test is over")
        with pytest.raises(NotConnected, match="the test is over"):
            await waiting
        assert await session.ended == End("the test is over")
        session.abort("again")

    play(Script(), scenario)
