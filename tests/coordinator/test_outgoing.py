"""Retained messages that go out when the line allows."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from antiphon.coordinator.outgoing import Outgoing
from antiphon.simulation.clock import run, virtual_environment
from antiphon.simulation.memory_broker import MemoryBroker


def told(story: Callable[[Outgoing], Coroutine[Any, Any, None]]) -> dict[str, bytes]:
    """Run a story; returns what is retained at its end."""
    broker = MemoryBroker()

    async def main() -> None:
        async with broker.connect("coordinator", None) as connection:
            async for _ in connection.events():
                break
            outgoing = Outgoing(connection, virtual_environment(), 10.0)
            task = asyncio.create_task(outgoing.run())
            await story(outgoing)
            await asyncio.sleep(1)
            task.cancel()

    run(main)
    return broker.retained


def test_newest_payload_of_a_topic_is_sent_once() -> None:
    async def story(outgoing: Outgoing) -> None:
        outgoing.put("a", lambda: b"old")
        outgoing.put("a", lambda: b"new")
        await asyncio.sleep(1)
        assert outgoing.sent_bytes == 3

    assert told(story) == {"a": b"new"}


def test_empty_payload_deletes_and_none_sends_nothing() -> None:
    async def story(outgoing: Outgoing) -> None:
        outgoing.put("a", lambda: b"x")
        await asyncio.sleep(1)
        outgoing.put("a", bytes)
        outgoing.put("b", lambda: None)

    assert told(story) == {}


def test_asked_again_too_soon_is_not_sent_again() -> None:
    async def story(outgoing: Outgoing) -> None:
        assert outgoing.put_again("a", lambda: b"1")
        assert not outgoing.put_again("a", lambda: b"2")
        await asyncio.sleep(11)
        assert outgoing.put_again("a", lambda: b"3")

    assert told(story) == {"a": b"3"}


def test_file_that_cannot_be_read_is_counted_and_the_rest_goes_on() -> None:
    def broken() -> bytes:
        raise OSError(5, "Input/output error")

    def job() -> None:
        raise PermissionError(13, "Permission denied")

    async def story(outgoing: Outgoing) -> None:
        outgoing.put("a", broken)
        outgoing.later(job)
        outgoing.put("b", lambda: b"fine")
        await asyncio.sleep(1)
        assert outgoing.failed == 2

    assert told(story) == {"b": b"fine"}
