"""One direction of a simulated line: things come out later, in the order in which they went in."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context
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
    timers that are due at the same time. Timers run in a context of their own: a line belongs to neither end,
    and what is under way arrives although its sender has died.
    """

    def __init__(self, line: Line) -> None:
        """Nothing is under way yet."""
        self._line = line
        self._items: deque[tuple[float, Callable[[], None]]] = deque()
        self._free_at = 0.0
        self._last = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._held: dict[int, asyncio.TimerHandle] = {}
        self._numbers = 0
        self._paused = self._closed = False
        self._context = Context()

    def send(self, size: int, arrive: Callable[[], None], *, delay: float = 0.0) -> None:
        """Call ``arrive`` when ``size`` bytes are through, ``delay`` seconds later than the line needs."""
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        taken = size / self._line.bandwidth if self._line.bandwidth else 0.0
        self._free_at = max(self._free_at, loop.time()) + taken
        self._last = max(self._last, self._free_at + self._line.latency + delay)
        self._items.append((self._last, arrive))
        self._arm()

    def hold(self, seconds: float, size: int, arrive: Callable[[], None]) -> None:
        """Send after so many seconds what later things may overtake."""
        if self._closed:
            return
        self._numbers += 1
        number = self._numbers

        def send() -> None:
            del self._held[number]
            self.send(size, arrive)

        loop = asyncio.get_running_loop()
        self._held[number] = loop.call_later(seconds, send, context=self._context)

    def pause(self) -> None:
        """Let nothing out until `resume`."""
        self._paused = True
        self._disarm()

    def resume(self) -> None:
        """Let out again what is due."""
        self._paused = False
        self._arm()

    def close(self) -> None:
        """Drop what is under way, and whatever is sent from now on."""
        self._closed = True
        self._items.clear()
        for timer in self._held.values():
            timer.cancel()
        self._held.clear()
        self._disarm()

    def _arm(self) -> None:
        if self._timer is None and self._items and not self._paused:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._items[0][0], self._let_out, context=self._context)

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
