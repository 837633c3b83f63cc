"""Processes that die at any await, and come back over the same disk."""

import asyncio
import gc
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from antiphon.broker_config.connection import Connected, Message, Will
from antiphon.broker_config.environment import Environment
from antiphon.simulation.clock import EPOCH, Deadlock, run
from antiphon.simulation.crash import Party
from antiphon.simulation.disk import Crashed, MemoryDisk
from antiphon.simulation.memory_broker import MemoryBroker

STATE = Path("/state")


async def never(log: list[str]) -> None:
    """Says whatever it hears."""
    try:
        async with asyncio.timeout(5):
            await asyncio.Event().wait()
    except BaseException as error:
        log.append(type(error).__name__)
        raise
    finally:
        log.append("finally")


def test_nothing_of_a_dead_party_runs_not_even_its_finally_blocks() -> None:
    log: list[str] = []

    @asynccontextmanager
    async def manager() -> AsyncGenerator[None]:
        try:
            yield
        finally:
            log.append("manager")

    async def program() -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(3, log.append, "timer without code of ours")
        loop.call_later(3, lambda: log.append("timer"))
        async with asyncio.TaskGroup() as group, manager():
            group.create_task(never(log), name="child")
            child = asyncio.create_task(never(log), name="shielded")
            child.add_done_callback(lambda _: log.append("callback"))
            await asyncio.shield(child)

    async def main() -> None:
        party = Party("a", MemoryDisk())
        task = party.run(program())
        await asyncio.sleep(1)
        party.crash()
        party.crash()
        await asyncio.sleep(100)
        assert not task.done()

    run(main)
    gc.collect()
    assert log == []


def test_cancelling_the_task_of_the_dead_runs_nothing_of_it() -> None:
    log: list[str] = []

    async def main() -> None:
        party = Party("a", MemoryDisk())
        task = party.run(never(log))
        await asyncio.sleep(1)
        party.crash()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)
    assert log == []


def test_task_that_died_before_its_first_step_never_begins() -> None:
    log: list[str] = []

    async def main() -> None:
        party = Party("a", MemoryDisk())
        party.run(never(log))
        party.crash()
        await asyncio.sleep(10)

    run(main)
    assert log == []


def test_result_that_comes_for_the_dead_wakes_nobody() -> None:
    log: list[str] = []

    async def wait(future: "asyncio.Future[int]") -> None:
        try:
            log.append(f"got {await future}")
        finally:
            log.append("finally")

    async def main() -> None:
        party, loop = Party("a", MemoryDisk()), asyncio.get_running_loop()
        first: asyncio.Future[int] = loop.create_future()
        second: asyncio.Future[int] = loop.create_future()
        tasks = [party.run(wait(first)), party.run(wait(second))]
        await asyncio.sleep(1)
        party.crash()
        first.set_result(1)
        second.set_exception(OSError())
        await asyncio.sleep(1)
        assert not any(task.done() for task in tasks)

    run(main)
    assert log == []


def test_party_that_ends_by_itself_returns_its_result_or_its_error() -> None:
    async def fine() -> int:
        await asyncio.sleep(1)
        return 7

    async def fails() -> None:
        await asyncio.sleep(1)
        raise ZeroDivisionError

    async def main() -> None:
        party = Party("a", MemoryDisk())
        assert await party.run(fine(), "fine") == 7
        with pytest.raises(ZeroDivisionError):
            await party.run(fails())
        task = party.run(never(log := []))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert log == ["CancelledError", "finally"]
        with pytest.raises(TimeoutError):
            await party.run(never(log))

    run(main)


def test_others_live_on() -> None:
    async def count(log: list[float]) -> None:
        while True:
            await asyncio.sleep(1)
            log.append(asyncio.get_running_loop().time())

    async def main() -> None:
        one, two = Party("a", MemoryDisk()), Party("b", MemoryDisk())
        logs: tuple[list[float], list[float], list[float]] = ([], [], [])
        tasks = [one.run(count(logs[0])), two.run(count(logs[1])), asyncio.create_task(count(logs[2]))]
        await asyncio.sleep(5.5)
        one.crash()
        await asyncio.sleep(5)
        assert [len(log) for log in logs] == [5, 10, 10]
        for task in tasks:
            task.cancel()

    run(main)


async def append_three(environment: Environment) -> str:
    """A small program: three values, one after the other, each synced; goes on where it stopped."""

    def begin() -> int:
        environment.disk.make(STATE)
        return (environment.disk.size(STATE / "a") or 0) // 4

    def put(n: int) -> None:
        environment.disk.append(STATE / "a", 4 * n, n.to_bytes(4, "big"))
        environment.disk.sync([STATE / "a"])

    try:
        for n in range(await environment.run(begin), 3):
            await asyncio.sleep(0.5)
            await environment.run(put, n)
    finally:
        environment.disk.write(STATE / "finally", [], sync=True)
    return "done"


@pytest.mark.parametrize("power", [False, True])
def test_program_survives_a_crash_at_each_of_its_awaits(power: bool) -> None:
    async def main(step: int) -> None:
        disk = MemoryDisk(step)
        party = Party("a", disk)
        party.at(step, lambda: party.crash(power))
        task = party.run(append_three(party.environment()))
        await asyncio.sleep(10)
        assert not task.done()
        assert disk.size(STATE / "finally") is None
        again = Party("a", disk)
        assert await again.run(append_three(again.environment(life=1))) == "done"
        assert disk.read(STATE / "a") == bytes(3) + b"\0\0\0\0\1\0\0\0\2"

    async def undisturbed() -> int:
        party = Party("a", MemoryDisk())
        await party.run(append_three(party.environment()))
        return party.steps

    steps = run(undisturbed)
    assert steps >= 10
    for step in range(1, steps + 1):
        run(lambda step=step: main(step))


def test_job_that_died_half_way_returns_to_nobody() -> None:
    log: list[str] = []

    async def program(environment: Environment) -> None:
        def job() -> None:
            environment.disk.write(STATE / "a", [b"x"], sync=True)
            environment.disk.write(STATE / "b", [b"x"], sync=True)

        try:
            await environment.run(job)
        finally:
            log.append("finally")

    async def main() -> None:
        disk = MemoryDisk()
        disk.make(STATE)
        party = Party("a", disk)
        disk.trip(disk.operations + 4, party.crash)
        party.run(program(party.environment()))
        await asyncio.sleep(1)
        assert party.over
        assert disk.names(STATE) == ["a"]
        assert log == []

    run(main)


def test_job_can_be_done_on_disk_and_not_known_of() -> None:
    async def program(environment: Environment, log: list[str]) -> None:
        await environment.run(environment.disk.make, STATE)
        log.append("known")

    async def main(step: int) -> tuple[bool, bool]:
        disk, log = MemoryDisk(), list[str]()
        party = Party("a", disk)
        party.at(step, party.crash)
        party.run(program(party.environment(), log))
        await asyncio.sleep(1)
        return disk.names(Path("/")) == ["state"], bool(log)

    outcomes = [run(lambda step=step: main(step)) for step in (1, 2, 3, 4)]
    assert outcomes == [(False, False), (False, False), (True, False), (True, True)]


def test_crash_from_within_takes_effect_at_the_next_await() -> None:
    log: list[str] = []

    async def program(party: Party) -> None:
        try:
            party.crash()
            with pytest.raises(Crashed):
                party.disk.names(STATE)
            log.append("before")
            await asyncio.sleep(0)
            log.append("after")
        finally:
            log.append("finally")

    async def ends(party: Party) -> None:
        party.crash()

    async def main() -> None:
        one, two = Party("a", MemoryDisk()), Party("b", MemoryDisk())
        tasks = [one.run(program(one)), two.run(ends(two))]
        await asyncio.sleep(1)
        assert not any(task.done() for task in tasks)
        late = one.run(never(log))
        await asyncio.sleep(10)
        assert not late.done()

    run(main)
    assert log == ["before"]


def test_un_synced_is_lost_with_the_power_and_kept_without() -> None:
    async def program(environment: Environment) -> None:
        environment.disk.make(STATE)
        environment.disk.append(STATE / "a", 0, b"x" * 100)
        await asyncio.Event().wait()

    async def main(seed: int, power: bool) -> int | None:
        disk = MemoryDisk(seed)
        party = Party("a", disk)
        party.run(program(party.environment()))
        await asyncio.sleep(1)
        party.crash(power)
        return disk.size(STATE / "a")

    assert {run(lambda seed=seed: main(seed, False)) for seed in range(20)} == {100}
    assert len({run(lambda seed=seed: main(seed, True)) for seed in range(20)}) > 3


def test_wall_clock_jumps_alone() -> None:
    async def main() -> None:
        party, other = Party("a", MemoryDisk()), Party("b", MemoryDisk())
        environment = party.environment()
        await asyncio.sleep(10)
        party.jump(-3600)
        assert environment.now() == EPOCH + 10 - 3600
        assert other.environment().now() == EPOCH + 10
        assert asyncio.get_running_loop().time() == 10

    run(main)


def test_each_life_draws_other_ids_and_the_same_again_with_the_same_seed() -> None:
    async def main() -> list[bytes]:
        party = Party("a", MemoryDisk())
        return [party.environment(life=life).token(8) for life in (0, 1)]

    one, two = run(main, 5), run(main, 5)
    assert one == two
    assert one[0] != one[1]


def test_parties_live_in_virtual_time_only() -> None:
    async def main() -> None:
        program = asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="virtual time"):
            Party("a", MemoryDisk()).run(program)
        program.close()

    asyncio.run(main())


def test_deadlock_says_where_a_partys_task_waits() -> None:
    async def main() -> None:
        await Party("a", MemoryDisk()).run(asyncio.Event().wait(), "stuck")

    with pytest.raises(Deadlock, match=r"stuck at .*locks\.py"):
        run(main)


def test_line_of_the_dead_vanishes_and_its_successor_gets_a_new_one() -> None:
    async def serve(broker: MemoryBroker, log: list[str], name: str) -> None:
        async with broker.connect("agent", Will("status/agent", b"lost")) as connection:
            async for event in connection.events():
                if isinstance(event, Connected):
                    await connection.subscribe("receipts/agent")
                elif isinstance(event, Message):
                    log.append(f"{name} {event.payload!r}")

    async def main() -> None:
        broker, log = MemoryBroker(), list[str]()
        disk = MemoryDisk()
        party = Party("agent", disk)
        party.run(serve(broker, log, "first"))
        async with broker.connect("coordinator") as connection:
            await asyncio.sleep(1)
            await connection.publish("receipts/agent", b"1")
            await asyncio.sleep(1)
            party.crash()
            broker.abandon("agent")
            await connection.publish("receipts/agent", b"2")
            await asyncio.sleep(1)
            assert broker.retained == {"status/agent": b"lost"}
            again = Party("agent", disk)
            task = again.run(serve(broker, log, "second"))
            await asyncio.sleep(1)
            await connection.publish("receipts/agent", b"3")
            await asyncio.sleep(1)
        assert log == ["first b'1'", "second b'3'"]
        task.cancel()

    run(main)
