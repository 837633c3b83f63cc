"""Receipts in order, bounded, and not lost with the line."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from antiphon.codecs import frames, messages
from antiphon.codecs.messages import Receipt, UpdateId
from antiphon.codecs.sealing import SecretKey, SigningKey
from antiphon.coordinator.keys import Identity, meet
from antiphon.coordinator.receipts import SHARE, Newest, Receipts, receipt
from antiphon.simulation.clock import run
from antiphon.simulation.faults import Faults
from antiphon.simulation.memory_broker import MemoryBroker

IDENTITY = Identity("f", SecretKey.generate(), SigningKey.generate())
PEER = meet(IDENTITY, "a", SecretKey.generate().public, False)


def told(
    story: Callable[[Receipts, MemoryBroker], Coroutine[Any, Any, None]], most: int = 100
) -> list[Receipt]:
    """Run a story; returns what arrived at the agent, in order."""
    arrived: list[Receipt] = []

    async def main() -> None:
        broker = MemoryBroker()
        async with broker.connect("coordinator", None) as own, broker.connect("a", None) as other:
            receipts = Receipts(IDENTITY, b"r" * 16, lambda: Newest(5, 7), own, most)
            up = asyncio.Event()

            async def follow() -> None:
                async for event in own.events():
                    if type(event).__name__ == "Connected":
                        receipts.wake()

            async def listen() -> None:
                async for event in other.events():
                    if type(event).__name__ == "Connected":
                        asyncio.get_running_loop().create_task(other.subscribe("receipts/a"))
                        up.set()
                    elif type(event).__name__ == "Message":
                        frame = frames.read(event.payload, 1 << 20)  # pyright: ignore
                        arrived.append(
                            messages.decode(frames.open_frame(frame, PEER.receipt), Receipt, 1 << 20)
                        )

            tasks = [asyncio.create_task(work) for work in (receipts.run(), listen(), follow())]
            await up.wait()
            await asyncio.sleep(1)
            await story(receipts, broker)
            await asyncio.sleep(60)
            for task in tasks:
                task.cancel()

    run(main)
    return arrived


def update(n: int) -> UpdateId:
    return UpdateId(b"i" * 16, n)


def test_counters_grow_in_the_order_of_arrival_and_name_the_newest_version() -> None:
    async def story(receipts: Receipts, broker: MemoryBroker) -> None:
        for n in range(100):
            receipts.put(PEER, receipt("received", update(n)))

    arrived = told(story)
    assert [word.sequence for word in arrived] == list(range(100))
    assert [word.counter for word in arrived] == sorted(word.counter for word in arrived)
    assert {(word.newest_term, word.newest_number, word.term) for word in arrived} == {(5, 7, 5)}


def test_later_word_on_an_update_takes_the_earlier_ones_place() -> None:
    async def story(receipts: Receipts, broker: MemoryBroker) -> None:
        receipts.put(PEER, receipt("received", update(1)))
        receipts.put(PEER, receipt("applied", update(1), version=3))

    assert [word.type for word in told(story)] == ["applied"]


def test_without_a_line_outcomes_wait_and_windows_do_not_matter() -> None:
    async def story(receipts: Receipts, broker: MemoryBroker) -> None:
        receipts.put(PEER, receipt("applied", update(1), version=3))
        broker.kill("coordinator")
        await asyncio.sleep(5)

    assert [word.type for word in told(story)] == ["applied"]


def test_too_many_lose_the_oldest() -> None:
    async def story(receipts: Receipts, broker: MemoryBroker) -> None:
        for n in range(10):
            receipts.put(PEER, receipt("received", update(n)))
        assert (receipts.waiting, receipts.dropped) == (4, 6)

    assert [word.sequence for word in told(story, most=4)] == [6, 7, 8, 9]


def test_drain_ends_when_everything_left_or_time_is_up() -> None:
    async def story(receipts: Receipts, broker: MemoryBroker) -> None:
        receipts.put(PEER, receipt("received", update(1)))
        begin = asyncio.get_running_loop().time()
        await receipts.drain(5.0)
        assert receipts.waiting == 0
        assert asyncio.get_running_loop().time() - begin < 1
        broker.kill("coordinator")
        receipts.put(PEER, receipt("received", update(2)))
        await receipts.drain(5.0)

    assert [word.sequence for word in told(story)] == [1, 2]


def test_agent_that_asks_without_end_crowds_nobody_out() -> None:
    greedy = meet(IDENTITY, "greedy", SecretKey.generate().public, False)

    async def story(receipts: Receipts, broker: MemoryBroker) -> None:
        broker.stop()
        receipts.put(PEER, receipt("received", update(1)))
        for n in range(5000):
            receipts.put(greedy, receipt("wait", update(n)))
        assert receipts.waiting == 1 + SHARE
        assert receipts.dropped == 5000 - SHARE
        broker.start()

    assert [word.sequence for word in told(story, most=2000)] == [1]


def test_word_that_was_under_way_when_the_line_broke_is_said_again_unless_there_is_a_newer_one() -> None:
    async def story(receipts: Receipts, broker: MemoryBroker) -> None:
        receipts.put(PEER, receipt("received", update(1)))
        receipts.put(PEER, receipt("received", update(2)))
        receipts.put(PEER, receipt("granted", update(3), window=5))
        await asyncio.sleep(0.0005)  # the broker has none of them
        broker.cut("coordinator")
        receipts.put(PEER, receipt("applied", update(2), version=4))

    assert sorted((word.sequence, word.type) for word in told(story)) == [(1, "received"), (2, "applied")]


def test_of_two_words_that_were_under_way_the_later_one_is_said_again() -> None:
    async def story(receipts: Receipts, broker: MemoryBroker) -> None:
        receipts.put(PEER, receipt("received", update(1)))
        await asyncio.sleep(0.0002)
        receipts.put(PEER, receipt("applied", update(1), version=4))
        await asyncio.sleep(0.0002)  # the broker has neither of them
        broker.cut("coordinator")

    assert [(word.sequence, word.type) for word in told(story)] == [(1, "applied")]


def test_word_that_the_broker_refuses_is_counted_and_left() -> None:
    async def story(receipts: Receipts, broker: MemoryBroker) -> None:
        broker.faults = Faults(refuse=1.0)
        receipts.put(PEER, receipt("received", update(1)))
        await asyncio.sleep(1.0)
        assert (receipts.waiting, receipts.dropped) == (0, 1)
        broker.faults = Faults()
        receipts.put(PEER, receipt("received", update(2)))

    assert [word.sequence for word in told(story)] == [2]


def test_drain_does_not_wait_longer_than_it_is_told() -> None:
    async def story(receipts: Receipts, broker: MemoryBroker) -> None:
        broker.half_open("coordinator")
        receipts.put(PEER, receipt("received", update(1)))
        begin = asyncio.get_running_loop().time()
        await receipts.drain(2.0)
        assert asyncio.get_running_loop().time() - begin == pytest.approx(2.0)

    told(story)
