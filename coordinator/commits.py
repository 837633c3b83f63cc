"""Group commit: whatever must be on disk before somebody is told of it, many at once.

Guaranteed: operations become durable in the order of `Commits.put`, and ``done`` is called in that order,
on the event loop, only afterwards; everything that is put while a commit runs goes into the next one, so
that a hundred small updates cost one fsync. What cannot be written because the disk is full or broken
either comes back to whoever put it (``failed``), or is tried again until it works: nothing is forgotten
without a word. Bounded by `Commits.room`, for which whoever takes things in from outside waits.
Not done here: what an operation means (`antiphon.coordinator.ledger`).
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice

from antiphon.broker_config.environment import Runner
from antiphon.coordinator.ledger.records import Operation

RETRY = 1.0
"""Seconds between two tries while the disk takes nothing."""

MOST = 1000
"""Operations of one transaction: some tens of milliseconds, during which nothing else is committed."""

CROWDED = 2000
"""Operations that wait before `Commits.room` holds up whoever brings more."""


@dataclass(frozen=True, slots=True)
class _Entry:
    number: int
    operation: Operation
    done: Callable[[], None] | None
    failed: Callable[[OSError], None] | None


class Commits:
    """The operations that wait to be durable."""

    def __init__(
        self,
        commit: Callable[[Sequence[Operation]], None],
        run: Runner,
        trouble: Callable[[OSError], None],
    ) -> None:
        """Nothing waits yet.

        Args:
            commit: Makes operations durable, all or none; called off the event loop. An OSError says that
                nothing of it happened.
            run: Runs it.
            trouble: Told of every commit that failed.
        """
        self._commit, self._run, self._trouble = commit, run, trouble
        self._waiting: deque[_Entry] = deque()
        self._some = asyncio.Event()
        self._moved = asyncio.Event()
        self._exclusive = asyncio.Lock()
        self._count = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(
        self,
        operation: Operation,
        done: Callable[[], None] | None = None,
        failed: Callable[[OSError], None] | None = None,
    ) -> None:
        """Make it durable soon.

        Args:
            operation: What is to be written down.
            done: Called once it is durable.
            failed: Called instead if the disk does not take it, which is then forgotten; without it the
                operation is tried again until it works.
        """
        self._count += 1
        self._waiting.append(_Entry(self._count, operation, done, failed))
        self._some.set()

    async def run(self) -> None:
        """Commit what is put, for ever.

        Raises:
            StateError: The ledger is damaged.
        """
        while True:
            await self._some.wait()
            self._some.clear()
            while self._waiting:
                async with self._exclusive:
                    worked = await self._commit_some()
                if not worked:
                    await asyncio.sleep(RETRY)

    async def _commit_some(self) -> bool:
        """Commit the oldest that wait; returns whether the disk took them."""
        batch = list(islice(self._waiting, MOST))
        failure: OSError | None = None
        try:
            await self._run(self._commit, [entry.operation for entry in batch])
        except OSError as error:
            failure = error
        for _ in batch:
            self._waiting.popleft()
        if failure is not None:
            # In front of what was put meanwhile: the order is the ledger's.
            self._waiting.extendleft(entry for entry in reversed(batch) if entry.failed is None)
            self._trouble(failure)
        for entry in batch:
            if failure is None and entry.done is not None:
                entry.done()
            elif failure is not None and entry.failed is not None:
                entry.failed(failure)
        self._moved.set()
        return failure is None

    async def barrier(self) -> None:
        """Return when everything that is put so far is durable, or was given back."""
        last = self._count
        while self._waiting and self._waiting[0].number <= last:
            self._moved.clear()
            await self._moved.wait()

    @asynccontextmanager
    async def exclusive(self) -> AsyncGenerator[None]:
        """Enter after everything that is put so far; until the block ends nothing else is committed."""
        await self.barrier()
        async with self._exclusive:
            yield

    async def room(self) -> None:
        """Return when there is room for more. What peers can cause goes through here."""
        while len(self._waiting) >= CROWDED:
            self._moved.clear()
            await self._moved.wait()

    async def drain(self, timeout: float) -> bool:
        """Wait until nothing is left to do, at most ``timeout`` seconds; returns whether that is so."""
        try:
            async with asyncio.timeout(timeout):
                await self.barrier()
        except TimeoutError:
            return False
        return True
