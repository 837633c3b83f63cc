"""Lines and brokers that break: cut, half-open, abandoned, restarted."""

import asyncio
from contextvars import ContextVar

import pytest
from stages import take, until_connected

from antiphon.broker_config.connection import Connected, Lost, Message, Will
from antiphon.codecs.errors import NotConnected
from antiphon.simulation.clock import run
from antiphon.simulation.faults import Faults
from antiphon.simulation.memory_broker import MemoryBroker

STATUS = "status/a"
WILL = Will(STATUS, b"lost")


def test_cut_line_is_told_without_a_reason_and_taken_up_again() -> None:
    async def main() -> None:
        broker = MemoryBroker()
        async with broker.connect("a", WILL) as one:
            await until_connected(one)
            broker.cut("a")
            assert broker.retained == {STATUS: b"lost"}
            assert isinstance(await anext(one.events()), Lost)
            assert isinstance(await anext(one.events()), Connected)
        broker.cut("nobody")

    run(main)


def test_half_open_line_passes_nothing_until_the_keepalive_notices() -> None:
    async def main() -> None:
        broker = MemoryBroker()
        async with broker.connect("a", WILL) as one, broker.connect("b") as other:
            await until_connected(one)
            await until_connected(other)
            await one.subscribe("topic")
            start = asyncio.get_running_loop().time()
            broker.half_open("a")
            broker.half_open("a")
            await other.publish("topic", b"lost on its way")
            with pytest.raises(NotConnected, match="no answer"):
                await one.publish("other", b"lost too", retain=True)
            assert one.connected
            assert broker.retained == {}
            assert isinstance(await anext(one.events()), Lost)
            assert asyncio.get_running_loop().time() - start == pytest.approx(90)
            assert isinstance(await anext(one.events()), Connected)
            assert broker.retained == {STATUS: b"lost"}
        broker.half_open("nobody")

    run(main)


def test_half_open_line_that_is_cut_is_told_at_once() -> None:
    async def main() -> None:
        broker = MemoryBroker()
        async with broker.connect("a") as one:
            await until_connected(one)
            broker.half_open("a")
            broker.kill("a")
            assert isinstance(await anext(one.events()), Lost)
            assert (await until_connected(one)).session == 2
            await asyncio.sleep(300)
            assert one.connected
            assert broker.sessions.keys() == {"a"}

    run(main)


def test_broker_restarted_behind_a_half_open_line_is_noticed_by_the_keepalive() -> None:
    async def main() -> None:
        broker = MemoryBroker()
        async with broker.connect("a") as one:
            await until_connected(one)
            broker.half_open("a")
            broker.restart(1)
            await asyncio.sleep(80)
            assert one.connected
            assert isinstance(await anext(one.events()), Lost)
            assert asyncio.get_running_loop().time() == pytest.approx(90, abs=1)
            assert (await until_connected(one)).session == 2

    run(main)


def test_new_process_displaces_the_half_open_line_of_the_dead_one() -> None:
    async def main() -> None:
        broker = MemoryBroker()
        dead = broker.connect("a", WILL)
        await dead.__aenter__()
        await until_connected(dead)
        broker.abandon("a", silent=True)
        await asyncio.sleep(5)
        assert broker.retained == {}
        async with broker.connect("a") as one:
            await until_connected(one)
            assert broker.retained == {STATUS: b"lost"}
            assert dead.connected
            await asyncio.sleep(300)
            assert one.connected

    run(main)


def test_dead_process_leaves_its_will_and_what_it_had_sent() -> None:
    async def main() -> None:
        broker = MemoryBroker(latency=0.1)
        dead = broker.connect("a", WILL)
        await dead.__aenter__()
        await until_connected(dead)
        send = asyncio.create_task(dead.publish("last", b"words", retain=True))
        await asyncio.sleep(0.05)
        broker.abandon("a")
        broker.abandon("nobody")
        await asyncio.sleep(10)
        assert broker.retained == {"last": b"words", STATUS: b"lost"}
        assert broker.sessions == {}
        assert dead.connected
        assert not send.done()
        send.cancel()

    run(main)


def test_dead_host_loses_what_it_had_sent_and_the_broker_notices_late() -> None:
    async def main() -> None:
        broker = MemoryBroker(latency=0.1)
        dead = broker.connect("a", WILL)
        await dead.__aenter__()
        await until_connected(dead)
        send = asyncio.create_task(dead.publish("last", b"words", retain=True))
        await asyncio.sleep(0.05)
        broker.abandon("a", silent=True)
        await asyncio.sleep(89)
        assert broker.retained == {}
        await asyncio.sleep(2)
        assert broker.retained == {STATUS: b"lost"}
        assert dead.connected
        send.cancel()

    run(main)


def test_restart_loses_what_is_retained_and_what_is_under_way() -> None:
    async def main() -> None:
        broker = MemoryBroker(latency=0.1)
        async with broker.connect("a") as one:
            await until_connected(one)
            await one.publish("old", b"x", retain=True)
            send = asyncio.create_task(one.publish("new", b"x", retain=True))
            await asyncio.sleep(0.05)
            broker.restart(2.0)
            with pytest.raises(NotConnected):
                await send
            assert isinstance(await anext(one.events()), Lost)
            await until_connected(one)
            assert asyncio.get_running_loop().time() > 2
            assert broker.retained == {}

    run(main)


def test_publisher_whose_acknowledgement_is_lost_is_told_that_nobody_knows() -> None:
    async def main() -> None:
        broker = MemoryBroker(latency=0.1)
        async with broker.connect("a") as one:
            await until_connected(one)
            send = asyncio.create_task(one.publish("new", b"x", retain=True))
            await asyncio.sleep(0.15)
            broker.cut("a")
            with pytest.raises(NotConnected):
                await send
            assert broker.retained == {"new": b"x"}

    run(main)


def test_restart_that_somebody_overtook_starts_nothing_twice() -> None:
    async def main() -> None:
        broker = MemoryBroker()
        broker.restart(5)
        broker.start()
        broker.stop()
        await asyncio.sleep(10)
        assert not broker.running

    run(main)


def test_held_back_copies_die_with_the_line() -> None:
    async def main() -> None:
        broker = MemoryBroker(faults=Faults(duplicate=1.0, held=100.0))
        async with broker.connect("a") as one:
            await until_connected(one)
            await one.subscribe("topic")
            await one.publish("topic", b"x")
            assert await take(one, 1) == [Message("topic", b"x", False)]
            broker.cut("a")
            assert isinstance(await anext(one.events()), Lost)
            await until_connected(one)
            await asyncio.sleep(1000)
            await one.subscribe("end")
            await one.publish("end", b"y")
            assert await take(one, 1) == [Message("end", b"y", False)]

    run(main)


def test_tap_hears_what_was_really_said_the_last_will_too() -> None:
    heard: list[tuple[str, Message]] = []

    async def main() -> None:
        broker = MemoryBroker(
            faults=Faults(drop=1.0),
            tap=lambda client, message: heard.append((client, message)),
            may_publish=lambda client, topic: topic != "forbidden",
            protocol=4,
        )
        async with broker.connect("a", WILL) as one:
            await until_connected(one)
            await one.publish("topic", b"x")
            await one.publish("forbidden", b"x")
            broker.cut("a")

    run(main)
    assert heard == [("a", Message("topic", b"x", False)), ("a", Message(STATUS, b"lost", True))]


def test_what_is_under_way_does_not_belong_to_its_sender() -> None:
    party: ContextVar[str] = ContextVar("party", default="")
    seen: list[str] = []

    async def main() -> None:
        broker = MemoryBroker(tap=lambda client, message: seen.append(party.get()))
        party.set("a")
        async with broker.connect("a", WILL) as one:
            await until_connected(one)
            await one.publish("topic", b"x")
            broker.half_open("a")
            await asyncio.sleep(100)

    run(main)
    assert seen == ["", ""]
