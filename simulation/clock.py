"""Virtual time: what a program runs in, and what its services take from the world.

Guaranteed: two runs of the same program with the same seed do the same things in the same order; time passes
as `antiphon.simulation.loop` says. Not for code that talks to real sockets or threads: there is nothing to
wait for here but timers.
"""

import asyncio
import random
import zlib
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar, TypeVarTuple

import numpy as np

from antiphon.broker_config.disk import Disk, RealDisk
from antiphon.broker_config.environment import Environment
from antiphon.simulation.database import Crashed
from antiphon.simulation.loop import Deadlock as Deadlock
from antiphon.simulation.loop import Livelock as Livelock
from antiphon.simulation.loop import VirtualLoop as VirtualLoop

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")

EPOCH = 1_700_000_000.0
"""Wall time (seconds since 1970) at which every virtual run starts."""


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
    tokens = random.Random(int(ids.generate_state(1, np.uint64)[0]))
    return Environment(
        now=_now,
        token=tokens.randbytes,
        rng=np.random.default_rng(chance),
        run=run_inline,
        disk=disk or RealDisk(),
    )


def _now() -> float:
    return EPOCH + asyncio.get_running_loop().time()


class _Turn:
    """Awaited, it lets everybody else run once; what ``asyncio.sleep(0)`` does, with less around it."""

    def __await__(self) -> Generator[None]:
        yield


TURN = _Turn()
"""To be awaited: see `_Turn`."""


async def run_inline(function: Callable[[*Arguments], Result], /, *arguments: *Arguments) -> Result:
    """Do a job after one turn of the loop: a job in a thread lets other tasks run as well."""
    await TURN
    return function(*arguments)


async def run_mortal(function: Callable[[*Arguments], Result], /, *arguments: *Arguments) -> Result:
    """Do a job as a process does that may die before, in the middle of, and after it."""
    await TURN
    try:
        result = function(*arguments)
    except Crashed:  # in the middle of the job: the process is dead, and nobody there learns how it ended
        await asyncio.get_running_loop().create_future()
        raise
    await TURN  # here the job is done and its process does not know yet: it can die in between
    return result
