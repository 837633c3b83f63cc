"""Is it time for a new version? A pure decision that says why.

It knows the trigger, not the slots of the broadcast: a flush also needs a free one, and takes all that waits
then.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter

from antiphon.coordinator.aggregation.history import Arrival, RuleState
from antiphon.coordinator.aggregation.rule import Rule
from antiphon.coordinator.aggregation.trigger import Every, buffer_size, deadline_seconds

_ADMITTED_AT: Callable[[Arrival], float] = attrgetter("admitted_at")


@dataclass(frozen=True, slots=True)
class Decision:
    """An answer and its reason.

    Attributes:
        flush: merge the buffer now.
        reason: a sentence for logs and people.
        next_at: when the answer changes although nothing arrives, seconds of the caller's clock; None if it
            does not.
        k: K at this moment, to be recorded with the flush and handed to `plan`.
    """

    flush: bool
    reason: str
    next_at: float | None
    k: int


def first_of_each(waiting: Sequence[Arrival]) -> tuple[int, ...]:
    """Positions of the updates that form the buffer: the first of each agent, in order.

    A second update of an agent waits for the next buffer.
    """
    if len({arrival.agent for arrival in waiting}) == len(waiting):
        return tuple(range(len(waiting)))
    seen: dict[str, int] = {}
    for position, arrival in enumerate(waiting):
        seen.setdefault(arrival.agent, position)
    return tuple(seen.values())


def should_flush(rule: Rule, state: RuleState, waiting: Sequence[Arrival], now: float, live: int) -> Decision:
    """Decide whether the waiting updates become a version now.

    Args:
        rule: the rule.
        state: its memory, all waiting updates admitted.
        waiting: admitted updates not yet merged, in ledger order; more than one of an agent may be there.
        now: seconds, on the clock of ``admitted_at``.
        live: agents that are live; 0 when nobody knows. Only the size of an automatic quorum depends on it.
    """
    size = buffer_size(rule.trigger, state.agents, live)
    first = first_of_each(waiting)
    buffer = waiting if len(first) == len(waiting) else [waiting[position] for position in first]
    if not buffer:
        return Decision(False, "the buffer is empty", None, size)
    have = f"{len(buffer)} of {size} updates"
    if len(buffer) >= size or isinstance(rule.trigger, Every):
        return Decision(True, f"{have} are here", None, size)
    # An update left over from the last buffer begins this one when that was flushed, not when it came.
    since = max(min(map(_ADMITTED_AT, buffer)), state.flushed_at)
    wait = deadline_seconds(rule.trigger.deadline, state.recent_gaps)
    if now >= since + wait:
        return Decision(True, f"{have} at the deadline of {wait:.3g} s", None, size)
    if now < since:
        return Decision(True, f"{have}, and the clock went back by {since - now:.3g} s", None, size)
    return Decision(False, f"{have}, {now - since:.3g} s of {wait:.3g} s waited", since + wait, size)
