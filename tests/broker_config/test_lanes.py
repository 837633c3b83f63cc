"""Bounds on what is not yet acknowledged."""

import asyncio

import pytest

from antiphon.broker_config.connection import Lane, Limits
from antiphon.broker_config.lanes import Lanes, Window
from antiphon.codecs.errors import NotConnected
from antiphon.simulation.clock import run


async def settle() -> None:
    """Let every task go as far as it can."""
    await asyncio.sleep(1)


def test_window_admits_what_fits_in_order_of_arrival() -> None:
    async def main() -> None:
        window, admitted = Window(100, 10), list[str]()

        async def want(name: str, size: int) -> None:
            await window.acquire(size)
            admitted.append(name)

        async with asyncio.TaskGroup() as group:
            for name, size in (("a", 60), ("b", 60), ("c", 10)):
                group.create_task(want(name, size))
            await settle()
            assert admitted == ["a"]  # c would fit, but b came first
            window.release(60)
            await settle()
            assert admitted == ["a", "b", "c"]

    run(main)


def test_message_larger_than_the_window_goes_alone() -> None:
    async def main() -> None:
        window = Window(100, 10)
        await window.acquire(1000)
        second = asyncio.create_task(window.acquire(1))
        await settle()
        assert not second.done()
        window.release(1000)
        await second

    run(main)


def test_count_is_bounded_too() -> None:
    async def main() -> None:
        window = Window(100, 2)
        await window.acquire(1)
        await window.acquire(1)
        third = asyncio.create_task(window.acquire(1))
        await settle()
        assert not third.done()
        window.release(1)
        await third

    run(main)


@pytest.mark.parametrize("granted", [False, True])
def test_cancelled_wait_leaves_room_for_the_others(granted: bool) -> None:
    async def main() -> None:
        window = Window(100, 10)
        await window.acquire(100)
        first, second = (asyncio.create_task(window.acquire(80)) for _ in range(2))
        await settle()
        if granted:
            window.release(100)  # the first one's, who is cancelled before it learns of it
        first.cancel()
        await settle()
        if not granted:
            window.release(100)
        await second
        assert first.cancelled()

    run(main)


def test_cancelled_giant_lets_small_ones_behind_it_go() -> None:
    async def main() -> None:
        window = Window(100, 10)
        await window.acquire(50)
        giant = asyncio.create_task(window.acquire(90))
        small = asyncio.create_task(window.acquire(10))
        await settle()
        giant.cancel()
        await small

    run(main)


def test_closed_window_sends_everybody_away() -> None:
    async def main() -> None:
        window = Window(1, 1)
        await window.acquire(1)
        waiting, cancelled = (asyncio.create_task(window.acquire(1)) for _ in range(2))
        await settle()
        cancelled.cancel()
        window.close("the line broke")
        with pytest.raises(NotConnected, match="the line broke"):
            await waiting
        with pytest.raises(NotConnected, match="the line broke"):
            await window.acquire(1)

    run(main)


def test_full_bulk_lane_does_not_hold_up_control() -> None:
    async def main() -> None:
        lanes = Lanes(Limits(bulk_unanswered=10, control_unanswered=2), receive_maximum=20)
        await lanes.acquire(Lane.BULK, 10)
        bulk = asyncio.create_task(lanes.acquire(Lane.BULK, 10))
        await lanes.acquire(Lane.CONTROL, 10)
        await lanes.acquire(Lane.CONTROL, 10)
        third = asyncio.create_task(lanes.acquire(Lane.CONTROL, 10))
        await settle()
        assert not bulk.done()
        assert not third.done()
        lanes.release(Lane.CONTROL, 10)
        await third
        lanes.close("over")
        with pytest.raises(NotConnected):
            await bulk

    run(main)


def test_broker_that_takes_few_messages_gets_few() -> None:
    async def main() -> None:
        lanes = Lanes(Limits(), receive_maximum=4)
        for _ in range(2):
            await lanes.acquire(Lane.BULK, 1)
        third = asyncio.create_task(lanes.acquire(Lane.BULK, 1))
        await settle()
        assert not third.done()
        lanes.release(Lane.BULK, 1)
        await third

    run(main)
