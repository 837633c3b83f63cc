"""Retained messages that go out when the line allows: keys, repeated chunks, deleted leftovers.

Each topic at most once in the queue, so that its length is bounded by how many topics there are, and sent
again at most every `Limits.resend` seconds however often it is asked for. What does not get out is
forgotten: it is asked for again, or sent at the next connect.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from antiphon.broker_config.connection import Connection, Lane
from antiphon.broker_config.environment import Environment
from antiphon.codecs.errors import TransportError

REMEMBERED = 100_000
"""Topics whose last time is remembered."""


WORKERS = 8
"""Messages under way at once: keys for a thousand agents take seconds on a line of 100 ms."""


@dataclass(frozen=True, slots=True)
class Item:
    """What to publish: ``read`` returns the payload (off the event loop), None if it is gone."""

    read: Callable[[], bytes | None]
    lane: Lane


class Outgoing:
    """See the module."""

    def __init__(self, connection: Connection, environment: Environment, every: float) -> None:
        """``every``: seconds between two copies."""
        self._connection, self._environment, self._every = connection, environment, every
        self._items: dict[str, Item] = {}
        self._queue: asyncio.Queue[str] = asyncio.Queue()  # bounded by the topics: each is in it once at most
        self._jobs: deque[Callable[[], None]] = deque()
        self._last: OrderedDict[str, float] = OrderedDict()
        self.sent_bytes = 0
        self.failed = 0

    def put(self, topic: str, read: Callable[[], bytes | None], lane: Lane = Lane.CONTROL) -> None:
        """Publish it soon."""
        if topic not in self._items:
            self._queue.put_nowait(topic)
        self._items[topic] = Item(read, lane)

    def put_again(self, topic: str, read: Callable[[], bytes | None], lane: Lane = Lane.CONTROL) -> bool:
        """Publish it once more, because somebody misses it, unless that was done just now."""
        now = asyncio.get_running_loop().time()
        if now - self._last.get(topic, float("-inf")) < self._every:
            return False
        self._last[topic] = now
        self._last.move_to_end(topic)
        while len(self._last) > REMEMBERED:
            self._last.popitem(last=False)
        self.put(topic, read, lane)
        return True

    def later(self, job: Callable[[], None]) -> None:
        """Do some disk work when there is nothing better to do."""
        self._jobs.append(job)
        self._queue.put_nowait("")

    async def run(self) -> None:
        """Publish what is put, for ever."""
        async with asyncio.TaskGroup() as group:
            for n in range(WORKERS):
                group.create_task(self._work(), name=f"outgoing-{n}")

    async def _work(self) -> None:
        while True:
            topic = await self._queue.get()
            try:
                if topic:
                    await self._send(topic, self._items.pop(topic))
                else:
                    await self._environment.run(self._jobs.popleft())
            except (TransportError, OSError):
                # Whoever misses it asks again; a file that cannot be deleted goes with the next start.
                self.failed += 1

    async def _send(self, topic: str, item: Item) -> None:
        payload = await self._environment.run(item.read)
        if payload is not None:
            await self._connection.publish(topic, payload, retain=True, lane=item.lane)
            self.sent_bytes += len(payload)
