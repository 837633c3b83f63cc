"""Versions become durable, and memory follows."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from antiphon.codecs.schema import infer
from antiphon.coordinator.aggregation.history import init_step
from antiphon.coordinator.aggregation.presets import build_rule
from antiphon.coordinator.buffer import Accepted, Buffer
from antiphon.coordinator.commits import Commits
from antiphon.coordinator.committing import Committing, Context, Head, Made
from antiphon.coordinator.ledger.ledger import Ledger
from antiphon.coordinator.ledger.records import Operation, PutState, VersionRecord
from antiphon.coordinator.remembered import Remembered
from antiphon.coordinator.settings import Limits
from antiphon.coordinator.steady import Steady
from antiphon.simulation.clock import run, virtual_environment
from tests.coordinator.made import accepted, update, version

SCHEMA = infer({"w": np.zeros(3, np.float32)})
RULE = build_rule("fedbuff", {})


@dataclass
class Desk:
    """A ledger that takes a second for each commit, and says what it took."""

    folder: Path
    taken: list[Any] = field(default_factory=list[Any])
    rejected: list[tuple[Accepted, str]] = field(default_factory=list[tuple[Accepted, str]])
    troubles: int = 0
    full: bool = False
    head: Head = field(default_factory=Head)
    buffer: Buffer = field(default_factory=Buffer)
    term: int = 7

    def commit(self, operations: Sequence[Operation]) -> None:
        self.taken += operations

    def commit_version(self, record: VersionRecord) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.taken.append(record.model.number)

    def make(self) -> Committing:
        async def slowly(function: Callable[..., Any], /, *arguments: Any) -> Any:
            await asyncio.sleep(1.0)
            return function(*arguments)

        self.steady = Steady(slowly)
        self.commits = Commits(self.commit, self.steady, self.trouble)
        self.task = asyncio.create_task(self.commits.run())
        environment, remembered = virtual_environment(), Remembered(Limits())
        ledger = cast(Ledger, self)
        context = Context(
            RULE, environment, ledger, self.steady, self.commits, self.buffer, remembered, self.trouble
        )
        return Committing(context, self.head, lambda each, reason, _: self.rejected.append((each, reason)))

    def trouble(self, _: OSError) -> None:
        self.troubles += 1

    def waiting(self, agent: str) -> Accepted:
        found = accepted(update(self.folder, SCHEMA, np.ones(3, np.float32), agent=agent))
        self.buffer.add(found)
        return found


def made(number: int, *batch: Accepted) -> Made:
    model = version(SCHEMA, np.full(3, number, np.float32), number=number)
    return Made(model, init_step(RULE, 3, "float32"), batch)


def test_memory_follows_the_ledger_and_the_batch_waits_no_longer(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        committing, one, two = desk.make(), desk.waiting("a"), desk.waiting("b")
        assert await committing.commit(made(0, one)) is True
        assert desk.head.model is not None
        assert (desk.head.model.number, desk.taken, desk.buffer.all()) == (0, [0], [two])
        desk.task.cancel()

    run(main)


def test_what_was_put_before_goes_first_and_nothing_goes_in_between(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        committing = desk.make()
        desk.commits.put(PutState(over=True))
        task = asyncio.create_task(committing.commit(made(0)))
        await asyncio.sleep(1.5)
        desk.commits.put(PutState(over=False))
        await task
        await desk.commits.barrier()
        assert desk.taken == [PutState(over=True), 0, PutState(over=False)]
        desk.task.cancel()

    run(main)


def test_update_that_was_rejected_while_its_version_was_made_stops_it(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        committing, one = desk.make(), desk.waiting("a")
        desk.buffer.remove([one])
        assert await committing.commit(made(0, one)) is None
        assert desk.taken == []
        desk.task.cancel()

    run(main)


@pytest.mark.parametrize("full", [False, True])
def test_rejection_in_the_moment_of_the_commit_waits_for_what_comes_of_it(tmp_path: Path, full: bool) -> None:
    async def main() -> None:
        desk = Desk(tmp_path, full=full)
        committing, one, two = desk.make(), desk.waiting("a"), desk.waiting("b")
        assert not committing.postpone(one, "revoked", "")
        task = asyncio.create_task(committing.commit(made(0, one)))
        await asyncio.sleep(0.5)
        assert committing.postpone(one, "revoked", "")
        assert not committing.postpone(two, "revoked", "")
        assert await task is not full
        assert desk.rejected == ([(one, "revoked")] if full else [])
        assert desk.troubles == full
        desk.task.cancel()

    run(main)


def test_commit_whose_maker_was_stopped_is_waited_for_and_counts(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        committing = desk.make()
        await committing.leave(1.0)
        task = asyncio.create_task(committing.commit(made(0)))
        await asyncio.sleep(0.5)
        task.cancel()
        await committing.leave(5.0)
        assert desk.taken == [0]
        assert desk.head.model is not None
        desk.task.cancel()

    run(main)


def test_commit_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        committing = desk.make()
        task = asyncio.create_task(committing.commit(made(0)))
        await asyncio.sleep(0.5)
        task.cancel()
        await committing.leave(0.1)
        assert desk.head.model is None
        await desk.steady.settled()
        desk.task.cancel()

    run(main)
