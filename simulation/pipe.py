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


class Timetable:
    """One timer for all pipes that let something out at the same time.

    A message to a thousand clients is due at each of them at once. The pipes are called in the order in which
    they asked. Timers run in a context of their own: a line belongs to neither end, and what is under way
    arrives although its sender has died.
    """

    def __init__(self) -> None:
        """Nothing is due."""
        self._due: dict[float, deque[Pipe]] = {}
        self._context = Context()

    def call(self, when: float, pipe: "Pipe") -> None:
        """Call the pipe's `Pipe.let_out` at ``when`` (loop time)."""
        pipes = self._due.get(when)
        if pipes is None:
            pipes = self._due[when] = deque()
            asyncio.get_running_loop().call_at(when, self._arrive, when, context=self._context)
        pipes.append(pipe)

    def _arrive(self, when: float) -> None:
        pipes = self._due.pop(when)
        try:
            while pipes:
                pipes.popleft().let_out(when)
        finally:
            for pipe in pipes:  # one of them raised, which is no reason to forget the others
                self.call(when, pipe)


class Pipe:
    """A first-in, first-out delay.

    A deque with one call for its head, not a timer for each item: the loop's heap does not keep the order of
    timers that are due at the same time.

    Args:
        line: Latency and bandwidth.
        timetable: Shared by pipes that belong together.
    """

    def __init__(self, line: Line, timetable: Timetable | None = None) -> None:
        """Nothing is under way yet."""
        self._line, self._timetable = line, timetable or Timetable()
        self._items: deque[tuple[float, Callable[[], object]]] = deque()
        self._free_at = 0.0
        self._last = 0.0
        self._next: float | None = None  # when the timetable calls
        self._held: dict[int, asyncio.TimerHandle] = {}
        self._numbers = 0
        self._paused = self._closed = False
        self._context = Context()

    def send(self, size: int, arrive: Callable[[], object], *, delay: float = 0.0) -> None:
        """Call ``arrive`` when ``size`` bytes are through, ``delay`` seconds later than the line needs."""
        if self._closed:
            return
        line, free, now = self._line, self._free_at, asyncio.get_running_loop().time()
        if free < now:
            free = now
        if line.bandwidth:
            free += size / line.bandwidth
        self._free_at = free
        due = free + line.latency + delay
        if due < self._last:
            due = self._last
        self._last = due
        self._items.append((due, arrive))
        if self._next is None:
            self._arm()

    def hold(self, seconds: float, size: int, arrive: Callable[[], object]) -> None:
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
        self._next = None

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
        self._next = None

    def let_out(self, when: float) -> None:
        """Let out what is due at ``when``; does nothing if that call was given up meanwhile."""
        if self._next != when:
            return
        items = self._items
        try:
            while items and not self._paused and items[0][0] <= when:
                items.popleft()[1]()
        finally:
            self._next = None
            if items:
                self._arm()

    def _arm(self) -> None:
        if self._next is None and self._items and not self._paused:
            self._next = self._items[0][0]
            self._timetable.call(self._next, self)
