"""The run's own clock: seconds that only grow, through restarts and whatever happens to the wall clock.

Rules remember when updates were admitted, and wait until a moment; a wall clock that is set back by a day
would make them wait for a day.
"""

import asyncio
import math
from collections.abc import Callable

from antiphon.coordinator.ledger.records import Recovered


class RunClock:
    """Call it for the time, in seconds: the wall clock's when the process began, the loop's from then on."""

    def __init__(self, wall: Callable[[], float], latest: float = -math.inf) -> None:
        """``latest``: the last moment that the run remembers; it goes on from there if the wall is behind."""
        self._offset = max(wall(), latest) - asyncio.get_running_loop().time()

    def __call__(self) -> float:
        """Return the time."""
        return self._offset + asyncio.get_running_loop().time()


def latest(found: Recovered) -> float:
    """Return the last moment that a former process wrote down; minus infinity if there is none."""
    moments = [admission.at for admission in found.admissions]
    moments += [received.admitted_at for received in found.waiting]
    if found.version is not None:
        moments += [found.version.rule_state.admitted_at, found.version.rule_state.flushed_at]
    return max(moments, default=-math.inf)
