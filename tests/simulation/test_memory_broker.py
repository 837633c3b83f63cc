"""What the broker in memory does beyond the contract: its line, its switches, its order."""

import asyncio

import pytest
from stages import take, until_connected

from antiphon.broker_config.connection import Connected, Connection, Lane, Limits, Lost, Message, Will
from antiphon.codecs.errors import NotConnected
from antiphon.simulation.clock import run
from antiphon.simulation.memory_broker import INVALID_FILTER, MemoryBroker
from antiphon.simulation.pipe import Line


def test_a_message_takes_a_hop_to_the_broker_and_one_to_the_client() -> None:
    async def main() -> None:
        broker = MemoryBroker(latency=0.25)
        async with broker.connect("a") as one, broker.connect("b") as other:
            await until_connected(one)
            await until_connected(other)
            await other.subscribe("topic")
            start = asyncio.get_running_loop().time()
            await one.publish("topic", b"x", qos=0)
            assert asyncio.get_running_loop().time() == start
            await take(other, 1)
            assert asyncio.get_running_loop().time() == pytest.approx(start + 0.5)
            await one.publish("topic", b"x")
            assert asyncio.get_running_loop().time() == pytest.approx(start + 1.0)

    run(main)


def test_bandwidth_makes_bulk_slow() -> None:
    async def main() -> None:
        broker = MemoryBroker(latency=0, bandwidth=1e6)
        async with broker.connect("a") as one:
            await until_connected(one)
            start = asyncio.get_running_loop().time()
            await one.publish("topic", bytes(2_000_000), lane=Lane.BULK)
            assert asyncio.get_running_loop().time() - start == pytest.approx(2, rel=0.01)

    run(main)


def test_slow_client_has_a_line_of_its_own() -> None:
    async def main() -> None:
        broker = MemoryBroker(latency=0)
        broker.lines["slow"] = Line(latency=0.5, bandwidth=1e5)
        async with broker.connect("slow") as slow, broker.connect("fast") as fast:
            await until_connected(slow)
            await until_connected(fast)
            start = asyncio.get_running_loop().time()
            await fast.publish("topic", bytes(1_000_000), lane=Lane.BULK)
            assert asyncio.get_running_loop().time() == start
            await slow.publish("topic", bytes(1_000_000), lane=Lane.BULK)
            assert asyncio.get_running_loop().time() - start == pytest.approx(11, rel=0.01)

    run(main)


def test_two_runs_deliver_in_the_same_order() -> None:
    async def main() -> list[Message]:
        broker = MemoryBroker()
        clients = [broker.connect(f"agent-{number}") for number in range(5)]
        async with broker.connect("watcher") as watcher:
            await until_connected(watcher)
            await watcher.subscribe("#")
            async with asyncio.TaskGroup() as group:
                for client in clients:
                    group.create_task(talk(client))
            return await take(watcher, 25)

    async def talk(client: Connection) -> None:
        async with client as connection:
            await until_connected(connection)
            for number in range(5):
                await connection.publish("topic", bytes([number]))

    assert run(main) == run(main)


def test_slow_consumer_holds_the_broker_up_and_loses_nothing() -> None:
    async def main() -> None:
        broker = MemoryBroker(limits=Limits(queue_messages=10))
        async with broker.connect("a") as one, broker.connect("b") as other:
            await until_connected(one)
            await until_connected(other)
            await other.subscribe("topic")
            for number in range(100):
                await one.publish("topic", bytes([number]))
            await asyncio.sleep(60)
            assert [message.payload[0] for message in await take(other, 100)] == list(range(100))
            assert other.dropped == 0

    run(main)


def test_slow_consumer_that_reconnects_starts_paused() -> None:
    async def main() -> None:
        broker = MemoryBroker(limits=Limits(queue_messages=2, longest_pause=50))
        async with broker.connect("a") as one, broker.connect("b") as other:
            await until_connected(one)
            await until_connected(other)
            await other.subscribe("topic")
            for number in range(5):
                await one.publish("topic", bytes([number]))
            broker.kill("b")
            await asyncio.sleep(10)
            assert len(await take(other, 2)) == 2
            assert isinstance(await anext(other.events()), Lost)
            assert isinstance(await anext(other.events()), Connected)

    run(main)


def test_client_killed_before_its_connack_tries_again() -> None:
    async def main() -> None:
        broker = MemoryBroker(latency=1)
        async with broker.connect("a", Will("status/a", b"lost")) as one:
            await asyncio.sleep(1.5)
            broker.kill("a")
            assert not one.connected
            assert (await until_connected(one)).session == 1
            assert broker.retained == {"status/a": b"lost"}

    run(main)


def test_killing_a_stranger_is_nothing() -> None:
    async def main() -> None:
        MemoryBroker().kill("nobody")

    run(main)


def test_stopped_broker_may_remember_what_was_retained() -> None:
    async def main() -> None:
        broker = MemoryBroker()
        async with broker.connect("a") as one:
            await until_connected(one)
            await one.publish("topic", b"x", retain=True)
            broker.stop(forget=False)
            await asyncio.sleep(100)
            assert not one.connected
            broker.start()
            await until_connected(one)
            await one.subscribe("topic")
            assert await take(one, 1) == [Message("topic", b"x", True)]
            assert list(broker.sessions) == ["a"]

    run(main)


def test_filter_that_slips_through_is_refused() -> None:
    async def main() -> None:
        broker = MemoryBroker()
        async with broker.connect("a") as one:
            await until_connected(one)
            assert broker.subscribe(broker.sessions["a"], "a/#/b") == INVALID_FILTER

    run(main)


def test_broker_that_never_answers_is_given_up_on() -> None:
    async def main() -> None:
        broker = MemoryBroker()
        async with broker.connect("a") as one:
            await until_connected(one)
            broker.sessions["a"].down.pause()
            start = asyncio.get_running_loop().time()
            with pytest.raises(NotConnected, match="no answer"):
                await one.publish("topic", b"x")
            assert asyncio.get_running_loop().time() - start == pytest.approx(30)

    run(main)


def test_leaving_before_connecting_leaves_nothing_at_the_broker() -> None:
    async def main() -> None:
        broker = MemoryBroker()
        async with broker.connect("a"):
            await asyncio.sleep(0.0015)
            assert list(broker.sessions) == ["a"]
        await asyncio.sleep(1)
        assert broker.sessions == {}
        await broker.connect("b").__aexit__(None, None, None)

    run(main)


def test_unreachable_broker_is_found_again_once_there_is_a_way() -> None:
    async def main() -> None:
        broker = MemoryBroker()
        async with broker.connect("a") as one:
            await until_connected(one)
            broker.unreachable.add("a")
            broker.cut("a")
            await asyncio.sleep(300)
            assert not one.connected
            broker.unreachable.discard("a")
            await asyncio.sleep(120)
            assert one.connected

    run(main)


def test_bytes_down_each_line_are_counted() -> None:
    async def main() -> None:
        broker = MemoryBroker()
        async with broker.connect("a") as one, broker.connect("b") as other:
            await until_connected(one)
            await until_connected(other)
            await other.subscribe("topic")
            await one.publish("topic", bytes(100))
            await take(other, 1)
            assert set(broker.sent) == {"b"}
            assert 105 <= broker.sent["b"] < 130

    run(main)
