"""Virtual time: an event loop whose clock jumps to the next timer whenever nothing is ready.

Guaranteed: an hour of waiting costs nothing; two runs of the same program with the same seed do the same
things in the same order; a program that can never go on raises `Deadlock` instead of hanging, and one that
spins without time passing raises `Livelock`. Not for code that talks to real sockets or threads: there is
nothing to wait for here but timers.
"""

import asyncio
import math
import selectors
import time
import zlib
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, NoReturn, TypeVar, TypeVarTuple

import numpy as np

from antiphon.broker_config.disk import Disk, RealDisk
from antiphon.broker_config.environment import Environment
from antiphon.simulation.database import Crashed

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")

EPOCH = 1_700_000_000.0
"""Wall time (seconds since 1970) at which every virtual run starts."""

STALL = 1_000_000
"""Turns of the loop without time passing until it counts as a livelock: some ten seconds of a CPU."""


TICK = time.get_clock_info("monotonic").resolution
"""Seconds: what asyncio takes for the clock's resolution."""


class Deadlock(RuntimeError):
    """Nothing is ready and no timer is set: the program would wait for ever."""


class Livelock(RuntimeError):
    """The program keeps itself busy and time stands still."""


class _JumpingSelector(selectors.BaseSelector):
    """Stands where the loop asks the operating system to wait, and moves the clock instead."""

    def __init__(self) -> None:
        self.now = 0.0
        self.turns = 0
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Deadlock(_describe(f"at {self.now:.3f} s nothing is ready and no timer is set"))
        if timeout > 0:
            self.now += timeout
            if self.now + TICK == self.now:
                # asyncio runs the timers due before now + 1 ns; after some 90 days that sum is now itself
                self.now = math.nextafter(self.now, math.inf)
            self.turns = 0
        else:
            self.turns += 1
            if self.turns > STALL:
                raise Livelock(_describe(f"at {self.now:.3f} s time stands still"))
        return []

    # The loop registers its own wake-up pipe here; nobody ever writes to it.
    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = selectors.SelectorKey(fileobj, 0, events, data)
        self._keys[fileobj] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys


def _describe(what: str) -> str:
    """Name the tasks that wait, and where."""
    lines = [what]
    for task in sorted(asyncio.all_tasks(), key=lambda task: task.get_name()):
        frames = task.get_stack(limit=1)
        place = f"{frames[-1].f_code.co_filename}:{frames[-1].f_lineno}" if frames else "not started"
        lines.append(f"{task.get_name()} at {place}")
    return "; ".join(lines)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time; ``time()`` starts at 0."""

    def __init__(self, seed: int = 0) -> None:
        """``seed`` is what `virtual_environment` draws from unless it is given its own."""
        self._jumping = _JumpingSelector()
        self.seed = seed
        self.abandoned = False
        """Whether a party died in it, whose open generators nobody shall close."""
        super().__init__(self._jumping)

    def time(self) -> float:
        """Virtual seconds since the run began."""
        return self._jumping.now

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


def run(main: Callable[[], Coroutine[Any, Any, Result]], seed: int = 0) -> Result:
    """Run a program in virtual time, like ``asyncio.run``.

    Args:
        main: Called without arguments; its coroutine is the program.
        seed: See `virtual_environment`.

    Returns:
        What the coroutine returns.

    Raises:
        Deadlock: Nothing can ever happen any more; names the tasks that wait.
        Livelock: Time stands still.
    """
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(seed)) as runner:
        return runner.run(main())


def virtual_environment(seed: int | None = None, party: str = "", disk: Disk | None = None) -> Environment:
    """An environment for virtual time, every draw of which is decided by ``(seed, party)``.

    Args:
        seed: By default the running loop's.
        party: Give each service of a run its own name, otherwise they draw the same ids.
        disk: By default this machine's own.

    Returns:
        ``run`` works inline (after one turn of the loop), ``now`` is `EPOCH` plus the loop's time.
    """
    if seed is None:
        loop = asyncio.get_running_loop()
        seed = loop.seed if isinstance(loop, VirtualLoop) else 0
    ids, chance = np.random.SeedSequence([seed, zlib.crc32(party.encode())]).spawn(2)
    tokens = np.random.default_rng(ids)
    return Environment(
        now=_now,
        token=tokens.bytes,
        rng=np.random.default_rng(chance),
        run=run_inline,
        disk=disk or RealDisk(),
    )


def _now() -> float:
    return EPOCH + asyncio.get_running_loop().time()


async def run_inline(function: Callable[[*Arguments], Result], /, *arguments: *Arguments) -> Result:
    """Do a job after one turn of the loop: a job in a thread lets other tasks run as well."""
    await asyncio.sleep(0)
    return function(*arguments)


async def run_mortal(function: Callable[[*Arguments], Result], /, *arguments: *Arguments) -> Result:
    """Do a job as a process does that may die before, in the middle of, and after it."""
    await asyncio.sleep(0)
    try:
        result = function(*arguments)
    except Crashed:  # in the middle of the job: the process is dead, and nobody there learns how it ended
        await asyncio.get_running_loop().create_future()
        raise
    await asyncio.sleep(0)  # here the job is done and its process does not know yet: it can die in between
    return result
