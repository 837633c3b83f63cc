"""Bounds on what is sent and not yet acknowledged: one window a lane, so that control overtakes bulk."""

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any

from antiphon.broker_config.connection import Lane, Limits
from antiphon.codecs.errors import NotConnected


class Window:
    """Bounds messages under way and their bytes; who wants more waits, first come, first served.

    A single message larger than the window goes when the window is empty.
    """

    def __init__(self, size: int, count: int) -> None:
        """Bounds: ``size`` in bytes, ``count`` in messages."""
        self._size, self._count = size, count
        self._held_size, self._held_count = 0, 0
        self._closed = ""
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def acquire(self, size: int) -> None:
        """Wait until a message of ``size`` bytes fits. Cancelling gives back what was granted meanwhile.

        Raises:
            NotConnected: The window was closed.
        """
        if self._closed:
            raise NotConnected(self._closed)
        if not self._waiters and self._fits(size):
            self._take(size)
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((size, waiter))
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.release(size)
            else:
                self._admit()
            raise

    def release(self, size: int) -> None:
        """Give back what `acquire` took."""
        self._held_size -= size
        self._held_count -= 1
        self._admit()

    def close(self, reason: str) -> None:
        """Send everybody who waits away with `NotConnected`, and everybody who comes."""
        self._closed = reason
        for _, waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(NotConnected(reason))
        self._waiters.clear()

    def _fits(self, size: int) -> bool:
        room = self._held_size + size <= self._size and self._held_count < self._count
        return room or self._held_count == 0

    def _take(self, size: int) -> None:
        self._held_size += size
        self._held_count += 1

    def _admit(self) -> None:
        while self._waiters:
            size, waiter = self._waiters[0]
            if not waiter.done():
                if not self._fits(size):
                    return
                self._take(size)
                waiter.set_result(None)
            self._waiters.popleft()


class Lanes:
    """The windows of one session."""

    def __init__(self, limits: Limits, receive_maximum: int = 65_535) -> None:
        """New windows, empty.

        Args:
            limits: Bounds by our own choice.
            receive_maximum: Messages that the broker takes without having acknowledged any; each lane gets
                half.
        """
        half = max(1, receive_maximum // 2)
        self._bulk = Window(limits.bulk_unanswered, half)
        self._control = Window(limits.control_bytes, min(limits.control_unanswered, half))

    def acquire(self, lane: Lane, size: int) -> Coroutine[Any, Any, None]:
        """Wait until a message of ``size`` bytes may go; see `Window.acquire`."""
        return self._window(lane).acquire(size)

    def release(self, lane: Lane, size: int) -> None:
        """The message was acknowledged."""
        self._window(lane).release(size)

    def close(self, reason: str) -> None:
        """The session is over."""
        self._bulk.close(reason)
        self._control.close(reason)

    def _window(self, lane: Lane) -> Window:
        return self._bulk if lane is Lane.BULK else self._control
