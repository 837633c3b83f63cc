"""What the connection contract does not show: old, broken and silent brokers, other transports, slow
consumers."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from line import Line
from mosquitto import Mosquitto, running
from stages import take, until_connected

from antiphon.broker_config.connection import BrokerAddress, Connected, Lane, Limits, Lost
from antiphon.broker_config.paho_connection import PahoConnection, connector
from antiphon.codecs.errors import ConfigError, NotConnected

CERTIFICATES = Path(__file__).parents[1] / "certificates"
QUICK = Limits(first_delay=0.05, longest_delay=0.1)
USER = "agent-0"


def play(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run in real time, not for ever."""

    async def main() -> None:
        async with asyncio.timeout(30):
            await scenario()

    asyncio.run(main())


def address(broker: Mosquitto, url: str) -> BrokerAddress:
    """How the user connects through another url."""
    return replace(broker.address(USER), url=url)


async def round_trip(connection: PahoConnection, topic: str, size: int = 100_000) -> Connected:
    """Connect, and send ourselves a message."""
    connected = await until_connected(connection)
    await connection.subscribe(topic)
    await connection.publish(topic, bytes(size), lane=Lane.BULK)
    assert len((await take(connection, 1))[0].payload) == size
    return connected


@pytest.mark.parametrize("old", ["closes", "refuses"])
def test_broker_that_knows_no_mqtt_5_gets_3_1_1(mosquitto: Mosquitto, old: str) -> None:
    async def scenario() -> None:
        async with Line(mosquitto.host, mosquitto.port) as line:
            line.old = "closes" if old == "closes" else "refuses"
            where = address(mosquitto, f"mqtt://127.0.0.1:{line.port}")
            async with PahoConnection(where, USER, limits=QUICK) as connection:
                assert (await round_trip(connection, "old")).protocol == 4
                for _ in range(2):
                    line.cut()
                    assert (await until_connected(connection)).protocol == 4
            seen = {"closes": [5, 4, 5, 4, 4], "refuses": [5, 4, 4, 4]}
            assert line.protocols == seen[old]

    play(scenario)


def test_broker_that_was_only_starting_is_met_with_mqtt_5_in_the_end(mosquitto: Mosquitto) -> None:
    async def scenario() -> None:
        async with Line(mosquitto.host, mosquitto.port) as line:
            line.old = "closes"
            where = address(mosquitto, f"mqtt://127.0.0.1:{line.port}")
            async with PahoConnection(where, USER, limits=QUICK) as connection:
                assert (await until_connected(connection)).protocol == 4
                line.old = ""
                line.cut()
                assert (await until_connected(connection)).protocol == 5

    play(scenario)


def test_line_that_talks_rubbish_is_closed_and_tried_again(mosquitto: Mosquitto) -> None:
    async def scenario() -> None:
        async with Line(mosquitto.host, mosquitto.port) as line:
            line.old = "babbles"
            where = address(mosquitto, f"mqtt://127.0.0.1:{line.port}")
            async with PahoConnection(where, USER, limits=QUICK) as connection:
                await line.tried.wait()
                line.old = ""
                await round_trip(connection, "rubbish")

    play(scenario)


def test_nobody_there_is_tried_again_without_complaint_to_the_consumer(
    mosquitto: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with Line(mosquitto.host, mosquitto.port) as line:
            port = line.port
        where = address(mosquitto, f"mqtt://127.0.0.1:{port}")
        async with PahoConnection(where, USER, limits=QUICK) as connection:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await anext(connection.events())
            assert not connection.connected

    play(scenario)
    assert [record.message for record in caplog.records if "cannot connect" in record.message] == [
        caplog.records[0].message
    ]


def test_name_that_does_not_exist_does_not_hold_up_the_loop(mosquitto: Mosquitto) -> None:
    async def scenario() -> None:
        where = address(mosquitto, "mqtt://no-such-host.invalid")
        async with PahoConnection(where, USER, limits=QUICK) as connection:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await anext(connection.events())

    play(scenario)


def test_broker_that_accepts_and_says_nothing_is_given_up(mosquitto: Mosquitto) -> None:
    async def scenario() -> None:
        async with Line(mosquitto.host, mosquitto.port) as line:
            line.hold()
            where = address(mosquitto, f"mqtt://127.0.0.1:{line.port}")
            limits = replace(QUICK, connect_timeout=0.3)
            async with PahoConnection(where, USER, limits=limits) as connection:
                await line.tried.wait()
                line.tried.clear()
                await line.tried.wait()  # the second try
                line.release()
                await until_connected(connection)

    play(scenario)


def test_silent_line_ends_waits_and_then_the_session(mosquitto: Mosquitto) -> None:
    async def scenario() -> None:
        async with Line(mosquitto.host, mosquitto.port) as line:
            where = address(mosquitto, f"mqtt://127.0.0.1:{line.port}")
            limits = replace(QUICK, answer_timeout=0.2, silence_timeout=0.5)
            async with PahoConnection(where, USER, limits=limits) as connection:
                await until_connected(connection)
                line.hold()
                with pytest.raises(NotConnected, match="no answer"):
                    await connection.publish("silence", b"x")
                with pytest.raises(NotConnected, match="no answer"):
                    await connection.subscribe("silence")
                assert connection.connected
                event = await anext(connection.events())
                assert event == Lost("the broker does not answer")

    play(scenario)


def test_abandoned_messages_keep_their_place_in_the_lane(mosquitto: Mosquitto) -> None:
    async def scenario() -> None:
        async with Line(mosquitto.host, mosquitto.port) as line:
            where = address(mosquitto, f"mqtt://127.0.0.1:{line.port}")
            limits = replace(QUICK, answer_timeout=0.1, bulk_unanswered=100)
            async with PahoConnection(where, USER, limits=limits) as connection:
                await until_connected(connection)
                line.hold()
                with pytest.raises(NotConnected):
                    await connection.publish("lane", bytes(100), lane=Lane.BULK)
                second = asyncio.create_task(connection.publish("lane", bytes(100), lane=Lane.BULK))
                done, _ = await asyncio.wait([second], timeout=0.3)
                assert not done  # paho still holds the first
                line.release()
                await second

    play(scenario)


@pytest.mark.parametrize("protocol", [5, 4])
def test_unix_socket(mosquitto: Mosquitto, tmp_path: Path, protocol: int) -> None:
    async def scenario() -> None:
        path = tmp_path / "broker.sock"
        async with Line(mosquitto.host, mosquitto.port, path=path):
            where = address(mosquitto, f"unix://{path}")
            chosen = 5 if protocol == 5 else 4
            async with PahoConnection(where, USER, limits=QUICK, protocol=chosen) as connection:
                await round_trip(connection, "unix", 1_000_000)

    play(scenario)


def test_tls_with_a_client_certificate(mosquitto: Mosquitto) -> None:
    async def scenario() -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=CERTIFICATES / "ca.pem")
        context.load_cert_chain(CERTIFICATES / "server.pem", CERTIFICATES / "server.key")
        context.verify_mode = ssl.CERT_REQUIRED
        async with Line(mosquitto.host, mosquitto.port, tls=context) as line:
            where = replace(
                address(mosquitto, f"mqtts://localhost:{line.port}"),
                ca_file=str(CERTIFICATES / "ca.pem"),
                certificate_file=str(CERTIFICATES / "client.pem"),
                key_file=str(CERTIFICATES / "client.key"),
            )
            async with PahoConnection(where, USER, limits=QUICK) as connection:
                await round_trip(connection, "tls", 1_000_000)
                for _ in range(20):
                    await connection.publish("tls", bytes(70_000))
                await take(connection, 20)

    play(scenario)


def test_tls_with_an_unknown_authority_never_connects(
    mosquitto: Mosquitto, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(CERTIFICATES / "server.pem", CERTIFICATES / "server.key")
        async with Line(mosquitto.host, mosquitto.port, tls=context) as line:
            where = address(mosquitto, f"mqtts://localhost:{line.port}")
            async with PahoConnection(where, USER, limits=QUICK) as connection:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.5):
                        await anext(connection.events())

    play(scenario)
    assert "CERTIFICATE_VERIFY_FAILED" in caplog.text


@pytest.mark.parametrize("field", ["ca_file", "certificate_file"])
def test_missing_certificate_is_the_operators_to_mend(mosquitto: Mosquitto, field: str) -> None:
    async def scenario() -> None:
        where = replace(address(mosquitto, "mqtts://localhost"), **{field: "/nowhere/ca.pem"})
        async with PahoConnection(where, USER) as connection:
            with pytest.raises(ConfigError, match=r"/nowhere/ca\.pem"):
                await anext(connection.events())

    play(scenario)


def test_websockets(mosquitto: Mosquitto) -> None:
    async def scenario() -> None:
        where = address(mosquitto, f"ws://{mosquitto.host}:{mosquitto.web_port}/mqtt")
        async with PahoConnection(where, USER, limits=QUICK) as connection:
            await round_trip(connection, "websockets", 10_000)

    play(scenario)


def test_broker_without_retained_messages_is_of_no_use(
    mosquitto_kind: type[Mosquitto], tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with PahoConnection(broker.address(USER), USER, limits=QUICK) as connection:
            with pytest.raises(ConfigError, match="does not offer retained messages"):
                await anext(connection.events())

    with running(mosquitto_kind, tmp_path, "retain_available false") as broker:
        play(scenario)


def test_slow_consumer_stops_the_reading_and_loses_nothing(mosquitto: Mosquitto) -> None:
    async def scenario() -> None:
        slow = replace(QUICK, queue_messages=10)
        connect = connector(mosquitto.address("agent-1"), limits=slow)
        async with PahoConnection(mosquitto.address(USER), USER) as fast:
            await until_connected(fast)
            async with connect("agent-1", None) as other:
                await until_connected(other)
                await other.subscribe("slow/consumer")
                for number in range(200):
                    await fast.publish("slow/consumer", bytes([number]))
                assert [message.payload[0] for message in await take(other, 200)] == list(range(200))
                assert other.dropped == 0

    play(scenario)


def test_consumer_that_takes_nothing_costs_messages_but_not_the_line(mosquitto: Mosquitto) -> None:
    async def scenario() -> None:
        dead = replace(QUICK, queue_messages=10, longest_pause=0.05)
        async with (
            PahoConnection(mosquitto.address(USER), USER) as fast,
            PahoConnection(mosquitto.address("agent-1"), "agent-1", limits=dead) as other,
        ):
            await until_connected(fast)
            await until_connected(other)
            await other.subscribe("dead/consumer", qos=0)
            for number in range(200):
                await fast.publish("dead/consumer", bytes([number]))
            await other.publish("dead/elsewhere", b"its PUBACK lies behind all of them")
            assert other.dropped == 180
            assert [message.payload[0] for message in await take(other, 20)] == list(range(20))

    play(scenario)


def test_packet_that_would_fill_the_memory_is_withheld_and_the_line_stands(mosquitto: Mosquitto) -> None:
    async def scenario() -> None:
        small = replace(QUICK, largest_received=100_000)
        async with (
            PahoConnection(mosquitto.address(USER), USER) as giant,
            PahoConnection(mosquitto.address("agent-1"), "agent-1", limits=small) as other,
        ):
            await until_connected(giant)
            await until_connected(other)
            await other.subscribe("giant/packet")
            await giant.publish("giant/packet", bytes(200_000), lane=Lane.BULK)
            await giant.publish("giant/packet", b"small")
            assert [message.payload for message in await take(other, 1)] == [b"small"]

    play(scenario)


def test_topic_that_is_no_text_is_left_out(mosquitto: Mosquitto) -> None:
    async def scenario() -> None:
        async with Line(mosquitto.host, mosquitto.port) as line:
            where = address(mosquitto, f"mqtt://127.0.0.1:{line.port}")
            async with PahoConnection(where, USER, limits=QUICK, protocol=4) as connection:
                await until_connected(connection)
                await connection.subscribe("text")
                line.inject(b"\x30\x05\x00\x02\xff\xfe!")
                await connection.publish("text", b"next")
                assert (await take(connection, 1))[0].payload == b"next"

    play(scenario)


def test_leaving_while_connecting_is_quick(mosquitto: Mosquitto) -> None:
    async def scenario() -> None:
        async with Line(mosquitto.host, mosquitto.port) as line:
            line.hold()
            where = address(mosquitto, f"mqtt://127.0.0.1:{line.port}")
            async with asyncio.timeout(3):
                async with PahoConnection(where, USER) as connection:
                    await line.tried.wait()
                assert [event async for event in connection.events()] == []

    play(scenario)
