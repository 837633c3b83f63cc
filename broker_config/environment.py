"""What the services take from the world besides the connection: wall time, ids, chance, CPU and disk.

The services never ask the operating system themselves: they are handed an `Environment`, so that the same
code runs in real time and, with `antiphon.simulation.clock.virtual_environment`, in virtual time with every
draw decided by one seed. Monotonic time is not here: it is the event loop's own ``loop.time()``. Keys are not
drawn here either, see `antiphon.codecs.sealing`.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, TypeVarTuple

import numpy as np

from antiphon.broker_config.disk import Disk, RealDisk

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class Runner(Protocol):
    """Runs a plain function off the event loop."""

    def __call__(
        self, function: Callable[[*Arguments], Result], /, *arguments: *Arguments
    ) -> Awaitable[Result]:
        """Await the result of ``function(*arguments)``; what it raises comes out of the await."""
        ...


@dataclass(frozen=True, slots=True)
class Environment:
    """Everything that makes two runs of a service differ.

    Attributes:
        now: Wall time in seconds since 1970 (UTC).
        token: n random bytes for ids. Never for keys.
        rng: Chance for jitter, training and stochastic rounding. Only the event loop's thread draws from it;
            a job that needs chance gets a generator of its own (``rng.spawn``).
        run: CPU and disk work, off the event loop.
        disk: All files below a service's folder. It blocks: through ``run``.
    """

    now: Callable[[], float]
    token: Callable[[int], bytes]
    rng: np.random.Generator
    run: Runner
    disk: Disk = field(default_factory=RealDisk)


@contextmanager
def real_environment(workers: int | None = None) -> Generator[Environment]:
    """The environment of a real process; its threads end with the block.

    Args:
        workers: Threads for `Environment.run`; by default one a CPU, at least 2, at most 8, so that one long
            job (training, merging) does not hold up short ones (writing a file).

    Yields:
        The environment. Jobs that did not start when the block ends are cancelled, running ones are waited
        for.
    """
    count = workers or min(8, max(2, os.cpu_count() or 2))
    pool = ThreadPoolExecutor(max_workers=count, thread_name_prefix="antiphon")

    def run(function: Callable[[*Arguments], Result], /, *arguments: *Arguments) -> Awaitable[Result]:
        return asyncio.get_running_loop().run_in_executor(pool, function, *arguments)

    try:
        yield Environment(now=time.time, token=os.urandom, rng=np.random.default_rng(), run=run)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
