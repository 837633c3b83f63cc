"""Simulated lines."""

import asyncio

from antiphon.simulation.clock import run
from antiphon.simulation.loop import VirtualLoop
from antiphon.simulation.pipe import Line, Pipe, Timetable


def arrivals(line: Line, sizes: list[int]) -> list[tuple[int, float]]:
    """(index, time) of everything sent at once."""
    found: list[tuple[int, float]] = []

    async def main() -> None:
        loop, pipe = asyncio.get_running_loop(), Pipe(line)
        for index, size in enumerate(sizes):
            pipe.send(size, lambda index=index: found.append((index, round(loop.time(), 6))))
        await asyncio.sleep(100)

    run(main)
    return found


def test_things_sent_together_keep_their_order() -> None:
    assert arrivals(Line(0.01), [1] * 50) == [(index, 0.01) for index in range(50)]


def test_bandwidth_spaces_them_out() -> None:
    assert arrivals(Line(0.5, bandwidth=100), [100, 200, 50]) == [(0, 1.5), (1, 3.5), (2, 4.0)]


def test_line_without_latency_still_lets_the_sender_go_on_first() -> None:
    assert arrivals(Line(0.0), [1, 1]) == [(0, 0.0), (1, 0.0)]


def test_paused_line_keeps_everything_until_it_is_resumed() -> None:
    async def main() -> None:
        pipe, found = Pipe(Line(1)), list[int]()
        pipe.send(1, lambda: found.append(1))
        pipe.send(1, pipe.pause)
        pipe.send(1, lambda: found.append(2))
        await asyncio.sleep(10)
        assert found == [1]
        pipe.send(1, lambda: found.append(3))
        await asyncio.sleep(10)
        assert found == [1]
        pipe.resume()
        await asyncio.sleep(0.1)
        assert found == [1, 2, 3]

    run(main)


def test_closed_line_loses_what_is_under_way() -> None:
    async def main() -> None:
        pipe, found = Pipe(Line(1)), list[int]()
        pipe.send(1, lambda: found.append(1))
        pipe.close()
        await asyncio.sleep(10)
        assert found == []

    run(main)


def test_pipes_of_one_timetable_let_out_in_the_order_of_sending_with_one_timer() -> None:
    async def main() -> None:
        timetable, found = Timetable(), list[str]()
        pipes = [Pipe(Line(1), timetable) for _ in range(3)]
        for name, pipe in zip("bca", pipes, strict=True):
            pipe.send(1, lambda name=name: found.append(name))
        pipes[1].send(1, lambda: found.append("second"))
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        assert len(loop.pending()) == 1
        await asyncio.sleep(1)
        assert found == ["b", "c", "second", "a"]

    run(main)


def test_pipe_that_was_paused_or_closed_meanwhile_is_left_out() -> None:
    async def main() -> None:
        timetable, found = Timetable(), list[int]()
        pipes = [Pipe(Line(1), timetable) for _ in range(3)]
        for number, pipe in enumerate(pipes):
            pipe.send(1, lambda number=number: found.append(number))
        pipes[0].pause()
        pipes[1].close()
        await asyncio.sleep(5)
        assert found == [2]
        pipes[0].resume()
        await asyncio.sleep(0.1)
        assert found == [2, 0]

    run(main)


def test_pipe_whose_receiver_raises_does_not_hold_up_the_others() -> None:
    async def main() -> None:
        timetable, found, said = Timetable(), list[int](), list[str]()
        pipes = [Pipe(Line(1), timetable) for _ in range(3)]

        def fail() -> None:
            raise ValueError("no")

        asyncio.get_running_loop().set_exception_handler(lambda _, more: said.append(str(more["exception"])))
        pipes[0].send(1, fail)
        pipes[0].send(1, lambda: found.append(0))
        for number in (1, 2):
            pipes[number].send(1, lambda number=number: found.append(number))
        await asyncio.sleep(5)
        assert sorted(found) == [0, 1, 2]
        assert said == ["no"]

    run(main)
