"""Disk jobs that nobody abandons."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from antiphon.coordinator.steady import Steady
from antiphon.simulation.clock import run


async def slowly(function: Callable[..., Any], /, *arguments: Any) -> Any:
    await asyncio.sleep(1.0)
    return function(*arguments)


def test_jobs_run_one_at_a_time_in_order_of_asking() -> None:
    async def main() -> None:
        steady, seen = Steady(slowly), list[tuple[int, float]]()

        def job(n: int) -> int:
            seen.append((n, asyncio.get_running_loop().time()))
            return n

        assert await asyncio.gather(*(steady(job, n) for n in range(3))) == [0, 1, 2]
        assert seen == [(0, 1.0), (1, 2.0), (2, 3.0)]

    run(main)


def test_job_whose_task_is_cancelled_is_finished_before_it_counts_as_settled() -> None:
    async def main() -> None:
        steady, done = Steady(slowly), list[str]()
        waiting = [asyncio.create_task(steady(done.append, name)) for name in ("one", "two")]
        await asyncio.sleep(0.5)
        for task in waiting:
            task.cancel()
        await asyncio.sleep(0)
        assert done == []
        await steady.settled()
        assert done == ["one", "two"]

    run(main)


def test_error_reaches_whoever_asked_and_nobody_else() -> None:
    async def main() -> None:
        steady = Steady(slowly)

        def broken() -> None:
            raise OSError(28, "No space left on device")

        with pytest.raises(OSError, match="No space"):
            await steady(broken)
        lost = asyncio.create_task(steady(broken))
        await asyncio.sleep(0.5)
        lost.cancel()
        await steady.settled()
        assert await steady(int, "7") == 7

    run(main)
