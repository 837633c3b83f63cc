"""Disk jobs that must not be abandoned half way: one at a time, finished even if nobody waits any more.

A task that is cancelled while its job runs leaves the job running in its thread. For the ledger that would
mean a commit under way while it is closed; here whoever closes it can wait for that.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, TypeVarTuple

from antiphon.broker_config.environment import Runner

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class Steady:
    """A `antiphon.broker_config.environment.Runner` for one thing that takes one call at a time."""

    def __init__(self, run: Runner) -> None:
        """``run`` does the work off the event loop."""
        self._run = run
        self._turn = asyncio.Lock()
        self._jobs: dict[asyncio.Task[Any], None] = {}

    def __call__(
        self, function: Callable[[*Arguments], Result], /, *arguments: *Arguments
    ) -> Coroutine[Any, Any, Result]:
        """Await the result of ``function(*arguments)``, in order of asking."""
        return self._wait(function, *arguments)

    async def _wait(self, function: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        job = asyncio.get_running_loop().create_task(
            self._work(function, *arguments), name=f"disk {getattr(function, '__name__', 'job')}"
        )
        self._jobs[job] = None
        job.add_done_callback(self._done)
        return await asyncio.shield(job)

    async def _work(self, function: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
        async with self._turn:
            return await self._run(function, *arguments)

    def _done(self, job: asyncio.Task[Any]) -> None:
        self._jobs.pop(job, None)
        if not job.cancelled():
            job.exception()  # nobody may be there any more to hear of it

    async def settled(self) -> None:
        """Return when no job is under way."""
        while self._jobs:
            await asyncio.gather(*self._jobs, return_exceptions=True)
