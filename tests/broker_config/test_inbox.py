"""The hand-over of events."""

import asyncio

import pytest

from antiphon.broker_config.connection import Connected, Limits, Lost, Message
from antiphon.broker_config.inbox import Inbox
from antiphon.codecs.errors import ConfigError
from antiphon.simulation.clock import run

LIMITS = Limits(queue_messages=4, queue_bytes=1000, hard_factor=2, longest_pause=5)


class Gate:
    """Records pauses."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def inbox(self, limits: Limits = LIMITS) -> Inbox:
        """A new inbox that asks this gate."""
        return Inbox(limits, lambda: self.calls.append("pause"), lambda: self.calls.append("resume"))


def message(number: int, size: int = 1) -> Message:
    """A message on topic ``number``."""
    return Message(f"{number}", bytes(size), False)


def test_events_come_out_in_order_and_waiting_ends_when_one_comes() -> None:
    async def main() -> None:
        inbox = Gate().inbox()
        waiting = asyncio.create_task(anext(inbox))
        await asyncio.sleep(1)
        inbox.put(message(1))
        inbox.put(message(2))
        assert await waiting == message(1)
        assert await anext(inbox) == message(2)

    run(main)


def test_cancelled_wait_loses_no_event() -> None:
    async def main() -> None:
        inbox = Gate().inbox()
        waiting = asyncio.create_task(anext(inbox))
        await asyncio.sleep(1)
        inbox.put(message(1))
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert await anext(inbox) == message(1)

    run(main)


def test_full_inbox_pauses_until_half_is_taken() -> None:
    async def main() -> None:
        gate = Gate()
        inbox = gate.inbox()
        for number in range(4):
            inbox.put(message(number))
        assert gate.calls == ["pause"]
        assert inbox.paused
        await anext(inbox)
        assert gate.calls == ["pause"]
        await anext(inbox)
        assert gate.calls == ["pause", "resume"]
        assert not inbox.paused
        await asyncio.sleep(100)
        assert gate.calls == ["pause", "resume"]

    run(main)


def test_bytes_count_as_well_as_messages() -> None:
    async def main() -> None:
        gate = Gate()
        inbox = gate.inbox()
        inbox.put(message(1, 2000))
        assert gate.calls == ["pause"]
        await anext(inbox)
        assert gate.calls == ["pause", "resume"]

    run(main)


def test_pause_ends_in_time_for_pings_and_then_messages_are_dropped() -> None:
    async def main() -> None:
        gate = Gate()
        inbox = gate.inbox()
        for number in range(4):
            inbox.put(message(number))
        await asyncio.sleep(5.1)
        assert gate.calls == ["pause", "resume"]
        for number in range(4, 20):
            inbox.put(message(number))
        assert gate.calls == ["pause", "resume"]
        assert inbox.dropped == 12
        assert [await anext(inbox) for _ in range(8)] == [message(number) for number in range(8)]

    run(main)


def test_news_of_the_line_is_never_dropped() -> None:
    async def main() -> None:
        inbox = Gate().inbox()
        for number in range(20):
            inbox.put(message(number))
        inbox.put(Lost("cut"))
        inbox.put(Connected(2, 5, 100))
        found = [await anext(inbox) for _ in range(10)]
        assert found[-2:] == [Lost("cut"), Connected(2, 5, 100)]

    run(main)


def test_end_comes_after_what_is_here() -> None:
    async def main() -> None:
        gate = Gate()
        inbox = gate.inbox()
        for number in range(5):
            inbox.put(message(number))
        inbox.close()
        inbox.close(ConfigError("too late to matter"))
        assert [event async for event in inbox] == [message(number) for number in range(5)]
        assert gate.calls == ["pause", "resume"]

    run(main)


def test_error_ends_a_wait_and_every_later_one() -> None:
    async def main() -> None:
        inbox = Gate().inbox()
        waiting = asyncio.create_task(anext(inbox))
        await asyncio.sleep(1)
        inbox.close(ConfigError("taken over"))
        for _ in range(2):
            with pytest.raises(ConfigError, match="taken over"):
                await waiting
            waiting = asyncio.create_task(anext(inbox))
        with pytest.raises(ConfigError):
            await waiting

    run(main)
