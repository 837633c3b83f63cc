"""What every implementation of the connection interface does, on every broker that we know."""

import asyncio
from collections.abc import Callable, Generator

import pytest
from embedded import EmbeddedBroker
from stages import LARGEST, Broker, MemoryStage, Scenario, Stage, real_stage, sweep, take, until_connected

from antiphon.broker_config.connection import Connected, Lane, Lost, Message, Will
from antiphon.codecs.errors import ConfigError, NotConnected, PacketTooLarge, PublishRefused
from antiphon.simulation.clock import run

Play = Callable[[Scenario], None]
ONE, OTHER, THIRD = "agent-0", "agent-1", "agent-2"


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Generator[EmbeddedBroker]:
    """The broker that pip installs."""
    broker = EmbeddedBroker(tmp_path_factory.mktemp("embedded") / "federation")
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture(params=["memory-5", "memory-4", "mosquitto-5", "mosquitto-4", "embedded-4"])
def play(request: pytest.FixtureRequest) -> Play:
    """Plays a scenario: in virtual time in memory, in real time elsewhere."""
    name, protocol = str(request.param).split("-")
    if name == "memory":

        def in_memory(scenario: Scenario) -> None:
            async def main() -> None:
                async with asyncio.timeout(3600):
                    await scenario(MemoryStage(int(protocol)))

            run(main)

        return in_memory
    broker: Broker = request.getfixturevalue(name)

    def for_real(scenario: Scenario) -> None:
        async def main() -> None:
            async with asyncio.timeout(30), real_stage(broker, int(protocol)) as stage:
                await scenario(stage)

        asyncio.run(main())

    return for_real


def test_first_event_tells_of_the_session(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        async with stage.connect(ONE) as one:
            event = await anext(one.events())
            assert isinstance(event, Connected)
            assert (event.session, event.protocol) == (1, stage.protocol)
            assert one.connected
            assert one.maximum_packet == event.maximum_packet
            assert one.dropped == 0

    play(scenario)


def test_messages_arrive_in_order(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        topic = stage.topic("a/b")
        async with stage.connect(ONE) as one, stage.connect(OTHER) as other:
            await until_connected(one)
            await until_connected(other)
            await other.subscribe(topic)
            payloads = [bytes([number]) * (1 + 100 * number) for number in range(200)]
            async with asyncio.TaskGroup() as group:
                for payload in payloads:
                    group.create_task(one.publish(topic, payload))
            assert await take(other, 200) == [Message(topic, payload, False) for payload in payloads]

    play(scenario)


def test_qos_0_arrives_on_an_idle_line(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        topic = stage.topic("metrics")
        async with stage.connect(ONE) as one, stage.connect(OTHER) as other:
            await until_connected(one)
            await until_connected(other)
            await other.subscribe(topic, qos=0)
            await one.publish(topic, b"1", qos=0)
            assert await take(other, 1) == [Message(topic, b"1", False)]

    play(scenario)


def test_retained_message_reaches_a_late_subscriber(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        topic = stage.topic("model")
        async with stage.connect(ONE) as one, stage.connect(OTHER) as other:
            await until_connected(one)
            await until_connected(other)
            await one.publish(topic, b"old", retain=True)
            await one.publish(topic, b"new", retain=True)
            await other.subscribe(topic)
            assert await take(other, 1) == [Message(topic, b"new", True)]
            await one.publish(topic, b"newest", retain=True)
            assert await take(other, 1) == [Message(topic, b"newest", False)]

    play(scenario)


def test_zero_length_retained_message_deletes(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        topic = stage.topic("model")
        async with stage.connect(ONE) as one, stage.connect(OTHER) as other:
            await until_connected(one)
            await until_connected(other)
            await one.publish(topic, b"here", retain=True)
            await one.publish(topic, b"", retain=True)
            await other.subscribe(topic)
            assert await sweep(other, topic) == []

    play(scenario)


@pytest.mark.parametrize(
    ("topic_filter", "taken"),
    [
        ("a/+", ["a/b", "a/"]),
        ("a/#", ["a", "a/b", "a/", "a/b/c"]),
        ("+/b", ["a/b"]),
        ("+/+/c", ["a/b/c"]),
    ],
)
def test_wildcards_take_what_mqtt_says(play: Play, topic_filter: str, taken: list[str]) -> None:
    async def scenario(stage: Stage) -> None:
        async with stage.connect(ONE) as one:
            await until_connected(one)
            await one.subscribe(stage.topic(topic_filter), stage.topic("end"))
            for topic in ("a", "a/b", "a/", "a/b/c", "b"):
                await one.publish(stage.topic(topic), b"live")
            found = await sweep(one, stage.topic("end"))
            assert [message.topic for message in found] == [stage.topic(topic) for topic in taken]

    play(scenario)


def test_wildcard_subscription_gets_what_is_retained(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        async with stage.connect(ONE) as one:
            await until_connected(one)
            for name in ("a", "b", "c"):
                await one.publish(stage.topic(f"status/{name}"), name.encode(), retain=True)
            await one.subscribe(stage.topic("status/+"))
            found = await take(one, 3)
            assert sorted(message.payload for message in found) == [b"a", b"b", b"c"]
            assert all(message.retain for message in found)

    play(scenario)


def test_many_filters_in_one_call_all_count(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        topics = [stage.topic(f"chunk/{number}") for number in range(20)]
        async with stage.connect(ONE) as one:
            await until_connected(one)
            await one.subscribe(*topics)
            for topic in topics:
                await one.publish(topic, b"x")
            assert [message.topic for message in await take(one, 20)] == topics

    play(scenario)


def test_unsubscribed_topic_falls_silent(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        async with stage.connect(ONE) as one:
            await until_connected(one)
            await one.subscribe(stage.topic("noise"), stage.topic("end"))
            await one.unsubscribe(stage.topic("noise"))
            await one.publish(stage.topic("noise"), b"x")
            assert await sweep(one, stage.topic("end")) == []

    play(scenario)


def test_cut_line_publishes_the_will_retained(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        topic = stage.topic("status/one")
        async with stage.connect(ONE, Will(topic, b"lost")) as one, stage.connect(OTHER) as other:
            await until_connected(one)
            await until_connected(other)
            await other.subscribe(topic)
            stage.cut(ONE)
            assert (await take(other, 1))[0].payload == b"lost"
        async with stage.connect(THIRD) as third:
            await until_connected(third)
            await third.subscribe(topic)
            assert await take(third, 1) == [Message(topic, b"lost", True)]

    play(scenario)


def test_clean_goodbye_publishes_no_will_and_ends_the_events(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        topic = stage.topic("status/one")
        async with stage.connect(OTHER) as other:
            await until_connected(other)
            await other.subscribe(topic)
            async with stage.connect(ONE, Will(topic, b"lost")) as one:
                await until_connected(one)
                await one.publish(topic, b"offline", qos=0)
            assert not one.connected
            assert [event async for event in one.events()] == []
            assert await take(other, 1) == [Message(topic, b"offline", False)]
            assert await sweep(other, topic) == []

    play(scenario)


def test_nothing_is_sent_without_a_session(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        topic = stage.topic("early")
        async with stage.connect(OTHER) as other:
            await until_connected(other)
            await other.subscribe(topic)
            async with stage.connect(ONE) as one:
                with pytest.raises(NotConnected):
                    await one.publish(topic, b"too early")
                with pytest.raises(NotConnected):
                    await one.subscribe(topic)
                await one.unsubscribe(topic)
                await until_connected(one)
            with pytest.raises(NotConnected):
                await one.publish(topic, b"too late")
            assert await sweep(other, topic) == []

    play(scenario)


def test_line_lost_while_waiting_is_told_to_whoever_waits(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        async with stage.connect(ONE) as one:
            await until_connected(one)
            sends = [
                asyncio.create_task(one.publish(stage.topic("bulk"), bytes(1 << 19), lane=Lane.BULK))
                for _ in range(32)
            ]
            await asyncio.wait([sends[0]])
            stage.cut(ONE)
            results = await asyncio.gather(*sends, return_exceptions=True)
            assert isinstance(results[-1], NotConnected)
            assert isinstance(await anext(one.events()), Lost)

    play(scenario)


def test_new_session_has_no_subscriptions(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        topic, end = stage.topic("topic"), stage.topic("end")
        async with stage.connect(ONE) as one:
            await until_connected(one)
            await one.subscribe(topic)
            stage.cut(ONE)
            assert isinstance(await anext(one.events()), Lost)
            event = await anext(one.events())
            assert isinstance(event, Connected)
            assert event.session == 2
            await one.publish(topic, b"x")
            await one.subscribe(end)
            assert await sweep(one, end) == []

    play(scenario)


def test_broker_restart_is_survived(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        topic = stage.topic("model")
        async with stage.connect(ONE) as one:
            await until_connected(one)
            await one.publish(topic, b"gone", retain=True)
            await stage.stop()
            assert isinstance(await anext(one.events()), Lost)
            with pytest.raises(NotConnected):
                await one.publish(topic, b"nobody there")
            await stage.start()
            await until_connected(one)
            await one.subscribe(topic)
            assert await sweep(one, topic) == []

    play(scenario)


def test_second_client_with_the_same_id_stops_one_of_the_two(
    play: Play, request: pytest.FixtureRequest
) -> None:
    if "embedded" in request.node.name:
        pytest.skip("amqtt 0.12 lets both clients stay; it is for trying out")

    async def scenario(stage: Stage) -> None:
        async def live(client: str) -> None:
            async with stage.connect(client) as connection:
                first.set()
                async for _ in connection.events():
                    pass

        first = asyncio.Event()
        one = asyncio.create_task(live(ONE))
        await first.wait()
        other = asyncio.create_task(live(ONE))
        done, waiting = await asyncio.wait([one, other], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            with pytest.raises(ConfigError, match="took over"):
                task.result()
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    play(scenario)


def test_bad_credentials_end_in_a_sentence(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        async with stage.connect_badly(ONE) as one:
            with pytest.raises(ConfigError, match="check user name and password"):
                await anext(one.events())

    play(scenario)


def test_packet_beyond_the_brokers_limit_is_not_sent(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        async with stage.connect(ONE) as one:
            connected = await until_connected(one)
            if connected.maximum_packet > LARGEST:
                return  # a 3.1.1 broker does not say
            with pytest.raises(PacketTooLarge) as caught:
                await one.publish(stage.topic("large"), bytes(LARGEST))
            assert caught.value.limit == LARGEST
            await one.publish(stage.topic("large"), bytes(LARGEST - 100), lane=Lane.BULK)
            assert one.connected

    play(scenario)


def test_refused_message_is_told_where_the_protocol_can(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        async with stage.connect(ONE) as one:
            await until_connected(one)
            if stage.protocol == 5:
                with pytest.raises(PublishRefused):
                    await one.publish("forbidden/topic", b"x")
            else:
                await one.publish("forbidden/topic", b"x")
            await one.publish(stage.topic("allowed"), b"x")

    play(scenario)


def test_topics_and_filters_that_mqtt_forbids_are_the_callers_error(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        async with stage.connect(ONE) as one:
            await until_connected(one)
            with pytest.raises(ValueError):
                await one.publish(stage.topic("a/+"), b"x")
            with pytest.raises(ValueError):
                await one.subscribe(stage.topic("a/#/b"))
            await one.publish(stage.topic("fine"), b"x")

    play(scenario)


def test_cancelled_publish_harms_nothing_else(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        topic = stage.topic("bulk")
        async with stage.connect(ONE) as one:
            await until_connected(one)
            sends = [
                asyncio.create_task(one.publish(topic, bytes(1 << 19), lane=Lane.BULK)) for _ in range(16)
            ]
            await one.publish(topic, b"first")
            for send in sends[1::2]:
                send.cancel()
            results = await asyncio.gather(*sends, return_exceptions=True)
            assert results[::2] == [None] * 8
            for _ in range(8):
                await one.publish(topic, bytes(1 << 19), lane=Lane.BULK)

    play(scenario)


def test_control_overtakes_bulk(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        topic = stage.topic("lanes")
        async with stage.connect(ONE) as one:
            await until_connected(one)
            await one.subscribe(topic)
            async with asyncio.TaskGroup() as group:
                for _ in range(16):
                    group.create_task(one.publish(topic, bytes(1 << 19), lane=Lane.BULK))
                await asyncio.sleep(0)
                group.create_task(one.publish(topic, b"urgent"))
                sizes = [len(message.payload) for message in await take(one, 17)]
            assert sizes.index(6) <= 3

    play(scenario)
