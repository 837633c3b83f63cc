"""The environment of a real process."""

import asyncio
import threading
import time

import pytest

from antiphon.broker_config.environment import real_environment


def test_jobs_run_off_the_event_loop_and_their_errors_come_back() -> None:
    async def main() -> None:
        with real_environment() as environment:
            assert await environment.run(threading.get_ident) != threading.get_ident()
            assert await environment.run(divmod, 7, 2) == (3, 1)
            with pytest.raises(ZeroDivisionError):
                await environment.run(divmod, 1, 0)

    asyncio.run(main())


def test_two_jobs_run_side_by_side() -> None:
    async def main() -> None:
        barrier = threading.Barrier(2, timeout=10)
        with real_environment(workers=2) as environment:
            await asyncio.gather(environment.run(barrier.wait), environment.run(barrier.wait))

    asyncio.run(main())


def test_no_job_starts_after_the_end() -> None:
    async def main() -> None:
        with real_environment(workers=1) as environment:
            pass
        with pytest.raises(RuntimeError):
            environment.run(int)

    asyncio.run(main())


def test_time_is_the_worlds_and_ids_differ() -> None:
    with real_environment() as environment:
        assert abs(environment.now() - time.time()) < 60
        assert len(environment.token(16)) == 16
        assert environment.token(16) != environment.token(16)
        assert environment.rng.random() != environment.rng.random()
