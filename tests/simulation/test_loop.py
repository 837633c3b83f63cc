"""The event loop of virtual time."""

import asyncio
from contextvars import ContextVar, copy_context

import pytest

from antiphon.simulation.clock import run
from antiphon.simulation.loop import FEW, Deadlock, VirtualLoop


def the_loop() -> VirtualLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


def test_what_is_due_at_once_runs_in_the_order_of_asking() -> None:
    async def main() -> None:
        called: list[int] = []
        for number in range(50):
            the_loop().call_at(3.0, called.append, number)
        the_loop().call_at(1.0, called.append, -1)
        await asyncio.sleep(3.0)
        assert called == [-1, *range(50)]

    run(main)


def test_time_jumps_exactly_to_the_next_timer_however_late_it_is() -> None:
    async def main() -> None:
        times: list[float] = []
        for when in (1e-12, 0.1, 1e9, 1e9 + 1e-6):
            the_loop().call_at(when, lambda: times.append(the_loop().time()))
        await asyncio.sleep(2e9)
        assert times == [1e-12, 0.1, 1e9, 1e9 + 1e-6]

    run(main)


def test_cancelled_timers_do_not_run_and_do_not_pile_up() -> None:
    async def main() -> None:
        called: list[int] = []
        for _ in range(20):
            for number in range(FEW):
                the_loop().call_later(1e6, called.append, number).cancel()
            await asyncio.sleep(1)
        assert len(the_loop().pending()) <= 2 * FEW
        late = the_loop().call_later(1, called.append, 1)
        await asyncio.sleep(2)
        late.cancel()  # it has run: nothing is left to cancel
        assert called == [1]

    run(main)


def test_a_callback_that_is_cancelled_by_the_one_before_does_not_run() -> None:
    async def main() -> None:
        called: list[int] = []
        second = the_loop().call_later(1, called.append, 2)
        the_loop().call_at(0.5, lambda: None)
        the_loop().call_at(1.0, called.append, 3)
        the_loop().call_later(0.9, second.cancel)
        third = the_loop().call_soon(called.append, 0)
        third.cancel()
        await asyncio.sleep(2)
        assert called == [3]

    run(main)


def test_callbacks_run_in_the_context_of_whoever_asked_or_in_the_one_given() -> None:
    colour: ContextVar[str] = ContextVar("colour", default="none")

    async def main() -> None:
        seen: list[str] = []
        context = copy_context()
        colour.set("red")
        the_loop().call_soon(lambda: seen.append(colour.get()))
        the_loop().call_later(1, lambda: seen.append(colour.get()))
        the_loop().call_soon(lambda: seen.append(colour.get()), context=context)
        the_loop().call_later(1, lambda: seen.append(colour.get()), context=context)
        await asyncio.sleep(2)
        assert seen == ["red", "none", "red", "none"]

    run(main)


def test_a_callback_that_raises_is_reported_and_ends_nothing() -> None:
    async def main() -> None:
        said: list[str] = []
        the_loop().set_exception_handler(lambda _, more: said.append(str(more["exception"])))

        def fail() -> None:
            raise ValueError("no")

        the_loop().call_soon(fail)
        the_loop().call_later(1, fail)
        await asyncio.sleep(2)
        assert said == ["no", "no"]

    run(main)


def test_a_program_whose_timers_are_all_cancelled_is_stuck() -> None:
    async def main() -> None:
        the_loop().call_later(5, print).cancel()
        await the_loop().create_future()

    with pytest.raises(Deadlock, match="nothing is ready"):
        run(main)


def test_threads_have_no_place() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match=r"Environment\.run"):
            the_loop().run_in_executor(None, print)

    run(main)
