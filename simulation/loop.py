"""An event loop whose clock jumps to the next timer whenever nothing is ready.

Guaranteed: an hour of waiting costs nothing; what is due at the same time runs in the order in which it was
asked for; a program that can never go on raises `Deadlock` instead of hanging, and one that spins without
time passing raises `Livelock`. It waits for nothing but timers: no sockets, no threads.

It replaces asyncio's innermost loop, which spends most of its time on what cannot be here (files that are
ready, other threads, a debug mode) and keeps no order among timers that are due at once.
"""

import asyncio
import contextvars
import heapq
import selectors
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVarTuple

Arguments = TypeVarTuple("Arguments")
Context = contextvars.Context | None

STALL = 1_000_000
"""Turns of the loop without time passing until it counts as a livelock: some ten seconds of a CPU."""

FEW = 100
"""Cancelled timers that are not worth clearing away."""


class Deadlock(RuntimeError):
    """Nothing is ready and no timer is set: the program would wait for ever."""


class Livelock(RuntimeError):
    """The program keeps itself busy and time stands still."""


class _NoFiles(selectors.BaseSelector):
    """asyncio registers its own wake-up pipe; nobody ever looks at it."""

    def __init__(self) -> None:
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = selectors.SelectorKey(fileobj, 0, events, data)
        self._keys[fileobj] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> NoReturn:
        raise RuntimeError("nobody waits for files in virtual time")

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys


class _Handle(asyncio.Handle):
    """A callback that is ready; made without asking for the debug mode."""

    __slots__ = ()

    def __init__(self, callback: Any, args: Any, loop: Any, context: Context) -> None:
        inner: Any = self
        inner._context = contextvars.copy_context() if context is None else context
        inner._loop, inner._callback, inner._args = loop, callback, args
        inner._cancelled, inner._repr, inner._source_traceback = False, None, None


class _Timer(asyncio.TimerHandle):
    """A callback that is due later."""

    __slots__ = ()

    def __init__(self, when: float, callback: Any, args: Any, loop: Any, context: Context) -> None:
        inner: Any = self
        inner._context = contextvars.copy_context() if context is None else context
        inner._loop, inner._callback, inner._args = loop, callback, args
        inner._cancelled, inner._repr, inner._source_traceback = False, None, None
        inner._when, inner._scheduled = when, True


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time; ``time()`` starts at 0."""

    def __init__(self, seed: int = 0) -> None:
        """``seed`` is what `antiphon.simulation.clock.virtual_environment` draws from by default."""
        self.seed = seed
        self.abandoned = False
        """Whether a party died in it, whose open generators nobody shall close."""
        self._now = 0.0
        self._turns = 0
        self._timers: list[tuple[float, int, _Timer]] = []
        self._numbers = 0
        self._cancelled = 0
        super().__init__(_NoFiles())
        inner: Any = self
        self._soon: deque[asyncio.Handle] = inner._ready

    def time(self) -> float:
        """Virtual seconds since the run began."""
        return self._now

    def call_soon(
        self, callback: Callable[[*Arguments], object], *args: *Arguments, context: Context = None
    ) -> asyncio.Handle:
        """Call it in the next turn; see asyncio."""
        handle = _Handle(callback, args, self, context)
        self._soon.append(handle)
        return handle

    def call_at(
        self,
        when: float,
        callback: Callable[[*Arguments], object],
        *args: *Arguments,
        context: Context = None,
    ) -> asyncio.TimerHandle:
        """Call it at ``when``; see asyncio."""
        timer = _Timer(when, callback, args, self, context)
        self._numbers += 1
        heapq.heappush(self._timers, (when, self._numbers, timer))
        return timer

    def pending(self) -> list[asyncio.Handle]:
        """Everything that is ready or due later, in no order."""
        return [*self._soon, *(timer for _, _, timer in self._timers)]

    def run_in_executor(
        self, executor: Any, func: Callable[[*Arguments], Any], *args: *Arguments
    ) -> NoReturn:
        """Threads have no place in virtual time.

        Raises:
            RuntimeError: Always; CPU work goes through `Environment.run`.
        """
        raise RuntimeError("no threads in virtual time: use Environment.run")

    async def shutdown_asyncgens(self) -> None:
        """Close what generators are open at the end, unless some belong to the dead."""
        if not self.abandoned:
            await super().shutdown_asyncgens()

    # What asyncio calls inside.

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        inner: Any = handle
        self._cancelled += inner._scheduled

    def _run_once(self) -> None:
        """One turn: let time pass if nothing is ready, then call what is ready now."""
        soon: deque[Any] = self._soon
        inner: Any = self
        if soon or inner._stopping:
            self._turns += 1
            if self._turns > STALL:
                raise Livelock(_describe(f"at {self._now:.3f} s time stands still"))
        else:
            self._let_time_pass()
        timers = self._timers
        while timers and timers[0][0] <= self._now:
            timer: Any = heapq.heappop(timers)[2]
            timer._scheduled = False
            self._cancelled -= timer._cancelled
            soon.append(timer)
        for _ in range(len(soon)):
            handle = soon.popleft()
            if not handle._cancelled:
                handle._run()

    def _let_time_pass(self) -> None:
        if self._cancelled > FEW and self._cancelled > len(self._timers) // 2:
            self._timers = [entry for entry in self._timers if not entry[2].cancelled()]
            heapq.heapify(self._timers)
            self._cancelled = 0
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
            self._cancelled -= 1
        if not timers:
            raise Deadlock(_describe(f"at {self._now:.3f} s nothing is ready and no timer is set"))
        if timers[0][0] > self._now:
            self._now, self._turns = timers[0][0], 0


def _describe(what: str) -> str:
    """Name the tasks that wait, and where."""
    lines = [what]
    for task in sorted(asyncio.all_tasks(), key=lambda task: task.get_name()):
        frames = task.get_stack(limit=1)
        place = f"{frames[-1].f_code.co_filename}:{frames[-1].f_lineno}" if frames else "not started"
        lines.append(f"{task.get_name()} at {place}")
    return "; ".join(lines)
