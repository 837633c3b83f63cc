"""Wakes whoever waits for something to change."""

import asyncio


class Bell:
    """One bell for all tasks of an agent: state changes ring it, waiters look again.

    It remembers nothing: look at the state, then wait, without an await in between.
    """

    def __init__(self) -> None:
        """Silent."""
        self._rung: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """Wake everybody who waits now."""
        if self._rung is not None and not self._rung.done():
            self._rung.set_result(None)
        self._rung = None

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait for the next ring, at most ``seconds``; returns whether it rang."""
        if seconds is not None and seconds <= 0:
            await asyncio.sleep(0)
            return False
        if self._rung is None:
            self._rung = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(self._rung)
        except TimeoutError:
            return False
        return True
