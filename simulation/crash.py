"""The death of a process at any await: nothing of it ever runs again, and its disk does not listen to it.

Guaranteed: a dead party's tasks are never stepped again, whatever they wait for and whoever cancels them: no
``finally`` block, no ``except``, no timer. Its coroutines stay referenced until the real process ends,
because Python would run their ``finally`` blocks when it drops them; a program that stages many crashes ends
with ``os._exit``. Not done here: the line of the dead, see
`antiphon.simulation.memory_broker.MemoryBroker.abandon`; and death in the middle of a job, see
`antiphon.simulation.disk.MemoryDisk.trip`.
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextvars import ContextVar, copy_context
from dataclasses import replace
from types import FrameType, FunctionType, MethodType
from typing import Any, TypeVar

from antiphon.broker_config.environment import Environment
from antiphon.simulation.clock import VirtualLoop, run_mortal, virtual_environment
from antiphon.simulation.disk import MemoryDisk

Result = TypeVar("Result")

_PARTY: ContextVar["Party | None"] = ContextVar("party", default=None)
_ABANDONED: list[object] = []
"""What the dead were doing."""


class Party:
    """One process of a simulated run, until it ends or is killed.

    Attributes:
        name: Names it in what `environment` draws.
        disk: The disk as this process sees it: its calls raise once the process is dead.
        steps: How many times one of its tasks went on so far: between two of them it can die.
        ahead: Seconds by which its clock is wrong.
        over: Whether it is dead.
    """

    def __init__(self, name: str, disk: MemoryDisk) -> None:
        """Nothing runs yet. ``disk`` outlives it."""
        self.name, self.disk = name, disk.mount()
        self.steps = 0
        self.ahead = 0.0
        self.over = False
        self._medium = disk
        self._plans: dict[int, Callable[[], None]] = {}
        self._coroutines: dict[_Steps, None] = {}
        self._loop: VirtualLoop | None = None

    def environment(self, seed: int | None = None, life: int = 0) -> Environment:
        """Return what a service of this party takes from the world, its disk and its clock among it.

        Args:
            seed: As of `antiphon.simulation.clock.virtual_environment`.
            life: Give each process on the same host another number, otherwise they draw the same ids.
        """
        environment = virtual_environment(seed, f"{self.name} {life}", self.disk)
        return replace(environment, now=lambda: environment.now() + self.ahead, run=run_mortal)

    def run(self, main: Coroutine[Any, Any, Result], name: str | None = None) -> asyncio.Task[Result]:
        """Run a program as this party, in a virtual loop that runs already.

        Returns:
            Its task, which is never done if the party is killed. What is created in it belongs to the party.
        """
        loop = asyncio.get_running_loop()
        if not isinstance(loop, VirtualLoop):
            raise RuntimeError("parties live in virtual time: see antiphon.simulation.clock.run")
        self._loop = loop
        loop.set_task_factory(_make_task)
        context = copy_context()
        context.run(_PARTY.set, self)
        return loop.create_task(main, name=name or self.name, context=context)

    def at(self, step: int, do: Callable[[], None]) -> None:
        """Call ``do``, `crash` for instance, when `steps` becomes this number, before that step is taken."""
        self._plans[step] = do

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward, or back; the event loop's does not notice."""
        self.ahead += seconds

    def crash(self, power: bool = False) -> None:
        """Kill the process: from now on nothing of it happens.

        Code of its own that calls this runs on to its next await.

        Args:
            power: The machine dies with it; what it did not sync may be lost.
        """
        if self.over:
            return
        self.over = True
        self._medium.fence(power)
        for each in self._coroutines:
            _abandon(each)
        self._coroutines.clear()
        if self._loop is not None:
            self._loop.abandoned = True
            self._still(self._loop)

    def _still(self, loop: VirtualLoop) -> None:
        """Cancel timers and callbacks; steps of tasks come to nothing by themselves."""
        for each in loop.pending():
            handle: Any = each
            timed = isinstance(handle, asyncio.TimerHandle)
            if not timed and not isinstance(handle._callback, FunctionType | MethodType):
                continue
            if handle._context is not None and handle._context.get(_PARTY) is self:
                handle.cancel()

    # What its tasks call.

    def _step(self) -> bool:
        """Count a step; returns whether it may be taken."""
        if not self.over:
            self.steps += 1
            if self._plans and (plan := self._plans.pop(self.steps, None)) is not None:
                plan()
        return not self.over


class _Steps(Coroutine[Any, Any, Any]):
    """A coroutine of a party: goes on only while that lives."""

    __slots__ = ("_inner", "_party", "task")

    def __init__(self, inner: Coroutine[Any, Any, Any], party: Party) -> None:
        self._inner, self._party = inner, party
        self.task: asyncio.Task[Any] | None = None
        party._coroutines[self] = None  # pyright: ignore[reportPrivateUsage]

    @property
    def cr_frame(self) -> FrameType | None:
        """Where it stands: for descriptions of a deadlock."""
        return getattr(self._inner, "cr_frame", None)

    def send(self, value: Any, /) -> Any:
        """Go on."""
        return self._go(self._inner.send, value)

    def throw(self, error: Any, value: Any = None, trace: Any = None, /) -> Any:
        """Go on with an error. The task of a dead one may be cancelled by others."""
        if self._party.over and isinstance(error, asyncio.CancelledError):
            raise error
        return self._go(self._inner.throw, error)

    def close(self) -> None:
        """Close it, unless it is dead: that would run its ``finally`` blocks."""
        if not self._party.over:
            self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        raise TypeError("it belongs to a task")

    def _go(self, how: Callable[[Any], Any], what: Any) -> Any:
        party = self._party
        if not party._step():  # pyright: ignore[reportPrivateUsage]
            return _never()
        try:
            return how(what)
        except BaseException:
            if party.over:  # it died in this very step: nobody shall hear how that went on
                return _never()
            del party._coroutines[self]  # pyright: ignore[reportPrivateUsage]
            raise


def _abandon(steps: _Steps) -> None:
    """Keep what a dead task held, and hide the task from the end of the loop, which would cancel it."""
    _ABANDONED.append(steps)
    if steps.task is not None:
        asyncio.tasks._unregister_task(steps.task)  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]


def _never() -> "asyncio.Future[Any]":
    """What a task gets that shall not go on."""
    future = asyncio.get_running_loop().create_future()
    future._asyncio_future_blocking = True
    return future


def _make_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> "asyncio.Future[Any]":
    """The virtual loop's task factory: a task belongs to the party in whose context it runs."""
    context = options.get("context")
    party = _PARTY.get() if context is None else context.get(_PARTY)
    if party is None:
        return asyncio.Task(coroutine, loop=loop, **options)
    steps = _Steps(coroutine, party)
    steps.task = asyncio.Task(steps, loop=loop, **options)
    if party.over:
        _abandon(steps)
    return steps.task
