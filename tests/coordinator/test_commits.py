"""Group commit: order, batches, a disk that is full, and versions that must not overtake."""

import asyncio
import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from antiphon.codecs.errors import StateError
from antiphon.coordinator.commits import CROWDED, MOST, RETRY, Commits
from antiphon.coordinator.ledger.records import DropEpoch, Operation
from antiphon.simulation.clock import run, virtual_environment


@dataclass
class Book:
    """Stands where the ledger stands; ``seconds`` is how long a commit takes."""

    seconds: float = 0.1
    full: bool = False
    batches: list[list[int]] = field(default_factory=list[list[int]])
    tries: int = 0
    told: list[Any] = field(default_factory=list[Any])
    damage: Exception | None = None

    def commits(self) -> Commits:
        environment = virtual_environment()

        async def run(function: Any, *arguments: Any) -> Any:
            await asyncio.sleep(self.seconds)
            return await environment.run(function, *arguments)

        return Commits(self.commit, run, self.told.append)

    def commit(self, operations: Sequence[Operation]) -> None:
        self.tries += 1
        if self.damage is not None:
            raise self.damage
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.batches.append([number(operation) for operation in operations])


def operation(number: int) -> DropEpoch:
    return DropEpoch(number.to_bytes(8, "big"))


def number(operation: Operation) -> int:
    assert isinstance(operation, DropEpoch)
    return int.from_bytes(operation.id, "big")


def staged(book: Book, story: Any) -> None:
    """Run ``story(commits)`` while the commits run."""

    async def main() -> None:
        commits = book.commits()
        task = asyncio.create_task(commits.run(), name="commits")
        try:
            await story(commits)
        finally:
            task.cancel()

    run(main)


def test_what_is_put_while_a_commit_runs_shares_the_next_one() -> None:
    book, done = Book(), list[int]()

    async def story(commits: Commits) -> None:
        commits.put(operation(0), lambda: done.append(0))
        await asyncio.sleep(0.05)
        for n in range(1, 50):
            commits.put(operation(n), lambda n=n: done.append(n))
        assert done == []  # nobody is told before it is durable
        await commits.barrier()
        assert done == list(range(50))

    staged(book, story)
    assert book.batches == [[0], list(range(1, 50))]


def test_no_transaction_is_larger_than_its_bound() -> None:
    book = Book()

    async def story(commits: Commits) -> None:
        for n in range(MOST + 7):
            commits.put(operation(n))
        assert await commits.drain(10.0)

    staged(book, story)
    assert [len(batch) for batch in book.batches] == [MOST, 7]


def test_full_disk_gives_back_what_peers_sent_and_keeps_the_rest_in_order() -> None:
    book, given, done = Book(full=True), list[int](), list[int]()

    def give_back(number: int) -> Callable[[OSError], None]:
        return lambda _: given.append(number)

    async def story(commits: Commits) -> None:
        for n in range(6):
            commits.put(operation(n), lambda n=n: done.append(n), give_back(n) if n % 2 else None)
        await asyncio.sleep(5.0)
        assert (given, done, len(commits)) == ([1, 3, 5], [], 3)
        assert len(book.told) == book.tries >= 3
        commits.put(operation(6), lambda: done.append(6))
        book.full = False
        assert not await commits.drain(0.0)
        await commits.barrier()
        assert done == [0, 2, 4, 6]

    staged(book, story)
    assert [number for batch in book.batches for number in batch] == [0, 2, 4, 6]


def test_what_is_put_while_a_commit_fails_comes_after_what_is_tried_again() -> None:
    book = Book(full=True)

    async def story(commits: Commits) -> None:
        commits.put(operation(0))
        await asyncio.sleep(book.seconds / 2)
        commits.put(operation(1))
        await asyncio.sleep(book.seconds)
        book.full = False
        await commits.barrier()

    staged(book, story)
    assert book.batches == [[0, 1]]


def test_full_disk_is_not_asked_all_the_time() -> None:
    book = Book(seconds=0.0, full=True)

    async def story(commits: Commits) -> None:
        commits.put(operation(0))
        await asyncio.sleep(60.0)

    staged(book, story)
    assert book.tries <= 60.0 / RETRY + 1


def test_barrier_does_not_wait_for_what_is_put_later() -> None:
    book = Book(seconds=1.0)

    async def story(commits: Commits) -> None:
        async def others() -> None:
            n = 100
            while True:
                commits.put(operation(n))
                await asyncio.sleep(0.3)
                n += 1

        commits.put(operation(1))
        task = asyncio.create_task(others())
        try:
            async with asyncio.timeout(3.0):
                await commits.barrier()
        finally:
            task.cancel()

    staged(book, story)
    assert 1 in book.batches[0]


def test_version_does_not_overtake_what_was_put_before_it_and_is_alone() -> None:
    book = Book()

    async def story(commits: Commits) -> None:
        for n in range(3):
            commits.put(operation(n))
        async with commits.exclusive():
            assert book.batches == [[0, 1, 2]]
            commits.put(operation(3))
            await asyncio.sleep(5.0)
            assert len(book.batches) == 1
        await commits.barrier()
        assert book.batches[1] == [3]

    staged(book, story)


def test_whoever_brings_more_waits_while_the_ledger_is_behind() -> None:
    book = Book(seconds=1.0)

    async def story(commits: Commits) -> None:
        await commits.room()
        for n in range(CROWDED):
            commits.put(operation(n))
        room = asyncio.create_task(commits.room())
        await asyncio.sleep(0.5)
        assert not room.done()
        await asyncio.sleep(1.0)
        assert room.done()

    staged(book, story)


def test_what_a_callback_puts_is_committed_too() -> None:
    book = Book()

    async def story(commits: Commits) -> None:
        commits.put(operation(0), lambda: commits.put(operation(1)))
        await commits.barrier()
        await commits.barrier()

    staged(book, story)
    assert book.batches == [[0], [1]]


def test_damaged_ledger_ends_the_service() -> None:
    book = Book(damage=StateError("ledger.db is damaged"))

    async def main() -> None:
        commits = book.commits()
        commits.put(operation(0))
        with pytest.raises(StateError):
            await commits.run()

    run(main)
