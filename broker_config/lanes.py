"""Bounds on what is sent and not yet acknowledged: one window a lane, so that control overtakes bulk."""

import asyncio
from collections import deque

from antiphon.broker_config.connection import Lane, Limits
from antiphon.codecs.errors import NotConnected


class Window:
    """So much may be under way at once; who wants more waits, first come, first served.

    A single thing larger than the window goes when the window is empty.
    """

    def __init__(self, bound: int) -> None:
        """``bound`` is in the unit of what `acquire` takes."""
        self._bound = bound
        self._held = 0
        self._closed = ""
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def acquire(self, amount: int) -> None:
        """Wait until ``amount`` fits. Cancelling gives back what was granted meanwhile.

        Raises:
            NotConnected: The window was closed.
        """
        if self._closed:
            raise NotConnected(self._closed)
        if not self._waiters and self._fits(amount):
            self._held += amount
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((amount, waiter))
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.release(amount)
            else:
                self._admit()
            raise

    def release(self, amount: int) -> None:
        """Give ``amount`` back."""
        self._held -= amount
        self._admit()

    def close(self, reason: str) -> None:
        """Send everybody who waits away with `NotConnected`, and everybody who comes."""
        self._closed = reason
        for _, waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(NotConnected(reason))
        self._waiters.clear()

    def _fits(self, amount: int) -> bool:
        return self._held == 0 or self._held + amount <= self._bound

    def _admit(self) -> None:
        while self._waiters:
            amount, waiter = self._waiters[0]
            if not waiter.done():
                if not self._fits(amount):
                    return
                self._held += amount
                waiter.set_result(None)
            self._waiters.popleft()


class Lanes:
    """The windows of one session: bulk counts bytes, control counts messages."""

    def __init__(self, limits: Limits) -> None:
        """New windows, empty."""
        self._windows = {
            Lane.BULK: Window(limits.bulk_unanswered),
            Lane.CONTROL: Window(limits.control_unanswered),
        }

    async def acquire(self, lane: Lane, size: int) -> None:
        """Wait until a message of ``size`` bytes may go; see `Window.acquire`."""
        await self._windows[lane].acquire(size if lane is Lane.BULK else 1)

    def release(self, lane: Lane, size: int) -> None:
        """The message was acknowledged, or nobody waits for that any more."""
        self._windows[lane].release(size if lane is Lane.BULK else 1)

    def close(self, reason: str) -> None:
        """The session is over."""
        for window in self._windows.values():
            window.close(reason)
