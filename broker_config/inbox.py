"""The bounded hand-over from a connection to the one task that reads its events."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from antiphon.broker_config.connection import Event, Limits, Message
from antiphon.codecs.errors import ConfigError


class Inbox(AsyncIterator[Event]):
    """Events in order, bounded in number and bytes.

    When it is full it asks for a pause and, when half of it is taken, for more. A pause ends after
    `Limits.longest_pause`
    in any case: the socket may not rest longer than the keepalive, and the acknowledgement that the reading
    task itself may wait for lies behind the messages. From then on, until half is taken, messages beyond
    `Limits.hard_factor` times the bounds are dropped and counted. Connected and Lost are never dropped.
    """

    def __init__(self, limits: Limits, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        """``pause`` and ``resume`` are called alternately."""
        self._limits = limits
        self._pause, self._resume = pause, resume
        self._events: deque[Event] = deque()
        self._bytes = 0
        self._wake: asyncio.Future[None] | None = None
        self._end: ConfigError | StopAsyncIteration | None = None
        self._pressed = False
        self._pausing: asyncio.TimerHandle | None = None
        self.dropped = 0

    @property
    def paused(self) -> bool:
        """Whether a pause was asked for and has not ended: a new line starts paused."""
        return self._pausing is not None

    def put(self, event: Event) -> None:
        """Hand over one event; never waits."""
        if isinstance(event, Message):
            if self._beyond(self._limits.hard_factor):
                self.dropped += 1
                return
            self._bytes += len(event.topic) + len(event.payload)
        self._events.append(event)
        self._notify()
        if not self._pressed and self._beyond(1):
            self._pressed = True
            self._pause()
            self._pausing = asyncio.get_running_loop().call_later(self._limits.longest_pause, self._end_pause)

    def close(self, error: ConfigError | None = None) -> None:
        """No more events: what is here is still handed out, then the iteration ends, or raises ``error``."""
        if self._end is None:
            self._end = error or StopAsyncIteration()
            self._end_pause()
            self._notify()

    async def __anext__(self) -> Event:
        """The next event."""
        while not self._events:
            if isinstance(self._end, ConfigError):
                raise self._end
            if self._end is not None:
                raise StopAsyncIteration
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
        event = self._events.popleft()
        if isinstance(event, Message):
            self._bytes -= len(event.topic) + len(event.payload)
        if self._pressed and self._half_empty():
            self._pressed = False
            self._end_pause()
        return event

    def _end_pause(self) -> None:
        if self._pausing is not None:
            self._pausing.cancel()
            self._pausing = None
            self._resume()

    def _beyond(self, factor: int) -> bool:
        full = len(self._events) >= factor * self._limits.queue_messages
        return full or self._bytes >= factor * self._limits.queue_bytes

    def _half_empty(self) -> bool:
        few = len(self._events) <= self._limits.queue_messages // 2
        return few and self._bytes <= self._limits.queue_bytes // 2

    def _notify(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None and not wake.done():
            wake.set_result(None)
