"""Waiting for something to change."""

import asyncio

from antiphon.agents.bell import FLIGHT, OUTBOX, SESSION, Bell
from antiphon.simulation import clock


def test_everybody_who_waits_is_woken_once() -> None:
    async def story() -> None:
        bell = Bell()
        bell.ring()  # nobody hears it, nothing is remembered
        waiting = [asyncio.create_task(bell.wait()) for _ in range(3)]
        await asyncio.sleep(1)
        bell.ring()
        bell.ring()
        assert await asyncio.gather(*waiting) == [True] * 3

    clock.run(story)


def test_waits_end_without_a_ring() -> None:
    async def story() -> None:
        bell, loop = Bell(), asyncio.get_running_loop()
        assert await bell.wait(5.0) is False
        assert loop.time() == 5.0
        assert await bell.wait(0.0) is False
        assert await bell.wait(-1.0) is False

    clock.run(story)


def test_a_waiter_that_is_cancelled_harms_no_other() -> None:
    async def story() -> None:
        bell = Bell()
        first, second = asyncio.create_task(bell.wait()), asyncio.create_task(bell.wait())
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(1)
        bell.ring()
        assert await second is True

    clock.run(story)


def test_only_those_who_wait_for_the_topic_are_woken() -> None:
    async def story() -> None:
        bell = Bell()
        line = asyncio.create_task(bell.wait(topics=SESSION | FLIGHT))
        books = asyncio.create_task(bell.wait(topics=OUTBOX))
        await asyncio.sleep(1)
        bell.ring(OUTBOX)
        assert await books is True
        await asyncio.sleep(1)
        assert not line.done()
        bell.ring(SESSION)
        assert await line is True

    clock.run(story)


def test_a_ring_at_the_end_of_the_time_counts_once() -> None:
    async def story() -> None:
        bell, loop = Bell(), asyncio.get_running_loop()
        waiting = asyncio.create_task(bell.wait(5.0))
        await asyncio.sleep(0)
        loop.call_at(5.0, bell.ring)
        assert await waiting in (True, False)
        bell.ring()
        assert loop.time() == 5.0

    clock.run(story)
