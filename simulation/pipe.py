"""One direction of a simulated line: things come out later, in the order in which they went in."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Line:
    """What a simulated line is like, in each direction.

    Attributes:
        latency: Seconds from one end to the other.
        bandwidth: Bytes a second; None for no limit.
    """

    latency: float = 0.001
    bandwidth: float | None = None


class Pipe:
    """A first-in, first-out delay.

    A deque with one timer for its head, not a timer for each item: the loop's heap does not keep the order of
    timers that are due at the same time.
    """

    def __init__(self, line: Line) -> None:
        """Nothing is under way yet."""
        self._line = line
        self._items: deque[tuple[float, Callable[[], None]]] = deque()
        self._free_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False

    def send(self, size: int, arrive: Callable[[], None]) -> None:
        """Call ``arrive`` when ``size`` bytes are through."""
        loop = asyncio.get_running_loop()
        taken = size / self._line.bandwidth if self._line.bandwidth else 0.0
        self._free_at = max(self._free_at, loop.time()) + taken
        self._items.append((self._free_at + self._line.latency, arrive))
        self._arm()

    def pause(self) -> None:
        """Let nothing out until `resume`."""
        self._paused = True
        self._disarm()

    def resume(self) -> None:
        """Let out again what is due."""
        self._paused = False
        self._arm()

    def close(self) -> None:
        """Drop what is under way."""
        self._items.clear()
        self._disarm()

    def _arm(self) -> None:
        if self._timer is None and self._items and not self._paused:
            self._timer = asyncio.get_running_loop().call_at(self._items[0][0], self._let_out)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _let_out(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        while self._items and not self._paused and self._items[0][0] <= now:
            self._items.popleft()[1]()
        self._arm()
