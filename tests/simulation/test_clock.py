"""Virtual time."""

import asyncio

import pytest

from antiphon.simulation import loop
from antiphon.simulation.clock import EPOCH, Deadlock, Livelock, VirtualLoop, run, virtual_environment


def test_a_year_of_waiting_passes_at_once() -> None:
    async def main() -> float:
        await asyncio.sleep(365 * 86400)
        return asyncio.get_running_loop().time()

    assert run(main) == pytest.approx(365 * 86400)


def test_sleepers_wake_in_order_of_their_times() -> None:
    async def main() -> list[float]:
        woken: list[float] = []

        async def sleeper(seconds: float) -> None:
            await asyncio.sleep(seconds)
            woken.append(seconds)

        await asyncio.gather(*(sleeper(seconds) for seconds in (3.0, 0.5, 2.0, 1e-6)))
        return woken

    assert run(main) == [1e-6, 0.5, 2.0, 3.0]


def test_timeout_expires_at_its_virtual_time() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(600):
                await asyncio.Event().wait()
        return asyncio.get_running_loop().time()

    assert run(main) == pytest.approx(600)


def test_waiting_for_nothing_names_who_waits() -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.Event().wait(), name="the one who waits")

    with pytest.raises(Deadlock, match=r"at 0\.000 s nothing is ready.*the one who waits at .*locks\.py"):
        run(main)


def test_deadlock_names_tasks_that_never_started() -> None:
    async def main() -> None:
        asyncio.current_task()
        await asyncio.sleep(1)
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock, match=r"at 1\.000 s"):
        run(main)


def test_spinning_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "STALL", 1000)

    async def main() -> None:
        while asyncio.get_running_loop().time() == 0:  # noqa: ASYNC110 - it spins on purpose
            await asyncio.sleep(0)

    with pytest.raises(Livelock, match="time stands still"):
        run(main)


def test_errors_come_out_and_finally_blocks_run() -> None:
    left: list[str] = []

    async def main() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(100))
                raise KeyError("inside")
        finally:
            left.append("main")

    with pytest.raises(ExceptionGroup):
        run(main)
    assert left == ["main"]


def test_threads_are_refused() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match=r"Environment\.run"):
            await asyncio.to_thread(int)

    run(main)


def test_environment_works_inline_and_follows_the_clock() -> None:
    async def main() -> None:
        environment = virtual_environment()
        await asyncio.sleep(10)
        assert environment.now() == EPOCH + 10
        assert await environment.run(divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await environment.run(divmod, 1, 0)
        assert asyncio.get_running_loop().time() == 10

    run(main)


def test_same_seed_same_draws_other_party_other_draws() -> None:
    def draws(seed: int, party: str = "") -> tuple[bytes, float]:
        environment = virtual_environment(seed, party)
        return environment.token(16), environment.rng.random()

    assert draws(1) == draws(1)
    assert draws(1) != draws(2)
    assert draws(1, "agent-a")[0] != draws(1, "agent-b")[0]
    assert draws(1, "agent-a")[1] != draws(1, "agent-b")[1]


def test_environment_takes_the_runs_seed() -> None:
    async def main() -> bytes:
        return virtual_environment().token(8)

    assert run(main, seed=5) == virtual_environment(5).token(8)
    with asyncio.Runner() as real:
        assert real.run(main()) == virtual_environment(0).token(8)


def test_loop_closes_cleanly() -> None:
    loop = VirtualLoop()
    loop.run_until_complete(asyncio.sleep(5))
    loop.close()
    assert loop.is_closed()
