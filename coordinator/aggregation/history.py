"""What a rule remembers between versions, and what it is told of each update.

`RuleState` is a frozen value of plain fields (strings, numbers, tuples of them), so that it can be stored
with a version and read back. Times are seconds of one clock of the caller's that outlives restarts.
"""

from bisect import bisect_left
from dataclasses import dataclass, field
from operator import attrgetter

import msgspec
import numpy as np

from antiphon.coordinator.aggregation.rule import Rule
from antiphon.coordinator.aggregation.step import StepState, vector_count

RECENT_AGENTS = 200
"""Admitted updates among which the agents at work are counted."""
RECENT_GAPS = 31
"""Gaps between admissions, of the last 32, whose median sets the deadline."""
PATIENCE = 100
"""An agent that sent none of the last 100·C admitted updates has left. C <= 200 bounds the memory."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """An admitted update as a plan sees it: numbers, not values.

    Attributes:
        agent: the sender.
        base_number: number of the published version it was trained from.
        examples: examples it was trained on, as the agent says.
        admitted_at: when it was admitted, seconds.
        sumsq: squared norm of Δ. The mean does not need it; norm-based combines will.
    """

    agent: str
    base_number: int
    examples: int
    admitted_at: float
    sumsq: float = 0.0


class Presence(msgspec.Struct, frozen=True):
    """An agent that is at work: what its rate is observed from.

    Attributes:
        agent: its id.
        updates: n, its admitted updates since it joined.
        turns: the sum over them of gap / N: the admitted updates of everybody since its one before, by the
            agents then at work. The first, which has no gap, counts 1: one turn in N.
        last: the run's number of admitted updates when its latest was admitted, itself included.
    """

    agent: str
    updates: int
    turns: float
    last: int


@dataclass(frozen=True, slots=True)
class RuleState:
    """The memory of a rule.

    Attributes:
        admissions: admitted updates of the run.
        presences: the agents at work, sorted by agent. One that sent none of the last 100·C admitted updates
            has left and is forgotten; if it comes back, it joins anew.
        recent_agents: senders of the last 200 admitted updates, oldest first.
        recent_gaps: the 31 gaps before the last 32 admissions, seconds, oldest first.
        admitted_at: time of the last admission, seconds.
        flushes: versions planned.
        flushed_at: when the last one was planned, seconds: no buffer began before.
        nobody_before: no presence has a smaller ``last``. Follows from the others; spares looking through all
            of them at every update for who has left.
    """

    admissions: int = 0
    presences: tuple[Presence, ...] = ()
    recent_agents: tuple[str, ...] = ()
    recent_gaps: tuple[float, ...] = ()
    admitted_at: float = float("-inf")
    flushes: int = 0
    flushed_at: float = float("-inf")
    nobody_before: int = field(default=0, compare=False)

    @property
    def agents(self) -> int:
        """C: distinct agents among the last 200 admitted updates."""
        return len(set(self.recent_agents))


def init_state() -> RuleState:
    """The memory before the first update."""
    return RuleState()


def init_step(rule: Rule, size: int, dtype: str) -> StepState:
    """The optimiser's state before the first step: zeros.

    Args:
        rule: the rule whose step it is.
        size: elements in the model's vector.
        dtype: "float32" or "float64", the model's.
    """
    zeros = tuple(np.zeros(size, dtype=np.dtype(dtype)) for _ in range(vector_count(rule.step)))
    return StepState(vectors=zeros, t=0)


def admitted(rule: Rule, state: RuleState, agent: str, now: float) -> RuleState:
    """The memory after one more update was admitted.

    Call it once for every update that may count, when it is admitted and not when it is merged: rates and
    gaps are the agents', and must not show how long the coordinator let an update wait.

    Args:
        rule: the rule; all of today's remember the same.
        state: the memory before.
        agent: the sender.
        now: seconds.
    """
    del rule
    # Agents begin after a flush, so what a buffer waited before it is not their time: counted as a gap, a
    # deadline of ten gaps would grow tenfold again and again while a lone agent lives on deadlines.
    gap = now - max(state.admitted_at, state.flushed_at)
    gaps = (*state.recent_gaps, max(0.0, gap))[-RECENT_GAPS:] if state.recent_agents else ()
    recent = (*state.recent_agents, agent)[-RECENT_AGENTS:]
    admissions = state.admissions + 1
    here, bound, oldest = state.presences, state.nobody_before, admissions - PATIENCE * len(set(recent))
    if bound < oldest:
        here = tuple(presence for presence in here if presence.last >= oldest)
        bound = min((presence.last for presence in here), default=admissions)
    return RuleState(
        admissions=admissions,
        presences=_seen(here, agent, admissions),
        recent_agents=recent,
        recent_gaps=gaps,
        admitted_at=now,
        flushes=state.flushes,
        flushed_at=state.flushed_at,
        nobody_before=bound,
    )


def _seen(here: tuple[Presence, ...], agent: str, now: int) -> tuple[Presence, ...]:
    """Count admission number ``now`` for ``agent``."""
    at = bisect_left(here, agent, key=_NAME)
    mine = here[at] if at < len(here) else None
    if mine is None or mine.agent != agent:
        return (*here[:at], Presence(agent, updates=1, turns=1.0, last=now), *here[at:])
    turns = mine.turns + (now - mine.last) / len(here)
    changed = list(here)
    changed[at] = Presence(agent, updates=mine.updates + 1, turns=turns, last=now)
    return tuple(changed)


_NAME = attrgetter("agent")
