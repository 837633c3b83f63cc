"""Wakes whoever waits for something to change, and nobody else.

Guarantees: a ring wakes exactly those who wait for its topic; a wait with a bound ends. Not done here:
remembering. Look at the state, then wait, without an await in between. A thousand agents in one process are
why there are topics: with one for everything, every receipt woke seven tasks to find nothing to do.
"""

import asyncio

SESSION = 1
"""The line: a session began, ended, or has its subscriptions; the coordinator came or went."""
ANNOUNCED = 2
"""An announcement, perhaps not verified yet, or the group keys."""
COURSE = 4
"""The course of the run: another run or term, its end, or something that may be one."""
OUTBOX = 8
"""An update was stored, received, or settled."""
FLIGHT = 16
"""The transfer under way: a receipt came that does not end it, a chunk has left, or a wait is over early."""
PULL = 32
"""The model under way: a message of its slot."""
REPORT = 64
"""What monitors are told."""

EVERYTHING = 127


class Bell:
    """The bell of one agent: state changes ring it by topic, waiters look again."""

    def __init__(self) -> None:
        """Silent."""
        self._waiting: dict[asyncio.Future[bool], int] = {}
        self._wanted = 0  # at least the topics that somebody waits for: most rings find nobody

    def ring(self, topics: int = EVERYTHING) -> None:
        """Wake everybody who waits now for one of ``topics`` (a sum of this module's constants)."""
        if not topics & self._wanted:
            return
        self._wanted = 0
        for waiter, wanted in self._waiting.items():
            if not wanted & topics:
                self._wanted |= wanted
            elif not waiter.done():
                waiter.set_result(True)

    async def wait(self, seconds: float | None = None, topics: int = EVERYTHING) -> bool:
        """Wait for the next ring of one of ``topics``, at most ``seconds``; returns whether it rang."""
        if seconds is not None and seconds <= 0:
            await asyncio.sleep(0)
            return False
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiting[waiter] = topics
        self._wanted |= topics
        timer = None if seconds is None else loop.call_later(seconds, _end, waiter)
        try:
            return await waiter
        finally:
            del self._waiting[waiter]
            if timer is not None:
                timer.cancel()


def _end(waiter: asyncio.Future[bool]) -> None:
    if not waiter.done():
        waiter.set_result(False)
