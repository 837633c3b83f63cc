"""Simulated lines."""

import asyncio

from antiphon.simulation.clock import run
from antiphon.simulation.pipe import Line, Pipe


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
