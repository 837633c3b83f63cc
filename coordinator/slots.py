"""Which slot the next version may take: not the newest, nor one still pulled or superseded a moment ago.

Pure bookkeeping with ``now`` as an argument.

Guaranteed: pins hold at most all slots but two, so that somebody who is asleep, or lies, delays a version by
one bounded pin at most and never for ever.
"""

from dataclasses import dataclass, field

FEWEST, MOST = 3, 16
"""Slots: one is the newest, one was just superseded, one is free; more than 16 help nobody."""

PIN_IDLE = 30.0
"""Seconds without a `pulling` note after which a pin ends."""

PULL_LIMIT = 3600.0
"""Seconds after which a pull has to start anew."""

HOLD_LEAST, HOLD_MOST, HOLD_TRIPS = 0.02, 2.0, 10
"""A superseded slot rests for so many round trips of the slowest live agent, within these seconds."""


def count_slots(size: int, budget: int) -> int:
    """How many slots there are for versions of ``size`` bytes within a budget in the broker."""
    return max(FEWEST, min(MOST, budget // max(1, size)))


def hold_seconds(slowest_round_trip: float | None) -> float:
    """How long a superseded slot rests; as long as can be before a round trip was measured."""
    if slowest_round_trip is None:
        return HOLD_MOST
    return max(HOLD_LEAST, min(HOLD_MOST, HOLD_TRIPS * slowest_round_trip))


@dataclass(slots=True)
class _Pin:
    since: float
    last: float


@dataclass(slots=True)
class _Slot:
    publication: bytes = b""
    superseded: float = float("-inf")
    age: int = 0  # which of those superseded at the same moment is the older one
    pins: dict[str, _Pin] = field(default_factory=dict[str, _Pin])


class Slots:
    """The slots of a run."""

    def __init__(self, count: int) -> None:
        """``count`` as from `count_slots`."""
        self._slots = [_Slot() for _ in range(count)]
        self._newest: int | None = None
        self._wishes: dict[str, float] = {}

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._slots)

    def free(self, now: float, hold: float) -> int | None:
        """Return the slot for the next version (the longest superseded), or None: see `free_at`."""
        ready = [n for n in self._others() if self._ready_at(n, now, hold) <= now]
        return min(ready, key=lambda n: (self._slots[n].superseded, self._slots[n].age, n), default=None)

    def free_at(self, now: float, hold: float) -> float:
        """When a slot is free at the latest, if nobody pins another; ``now`` if one is."""
        return max(now, min(self._ready_at(n, now, hold) for n in self._others()))

    def take(self, slot: int, publication: bytes, now: float) -> None:
        """The slot holds the newest version from now on."""
        if self._newest is not None and self._newest != slot:
            self._slots[self._newest].superseded = now
        if self._slots[slot].publication != publication:  # else it is announced again, after a restart
            self._slots[slot] = _Slot(publication)
        self._newest = slot
        for agent in self._wishes:
            self.pin(publication, agent, now)
        self._wishes.clear()

    def restore(self, slot: int, publication: bytes, number: int, now: float) -> None:
        """A slot that a former process filled with version ``number``; it counts as superseded just now."""
        self._slots[slot] = _Slot(publication, now, number)

    def restore_pin(self, publication: bytes, agent: str, since: float, now: float) -> None:
        """A pin from a former process: it lives as if a note had come now."""
        slot = self.slot_of(publication)
        if slot is not None:
            self._slots[slot].pins[agent] = _Pin(since, now)

    def pins(self, now: float) -> dict[tuple[str, bytes], float]:
        """Return since when each (agent, publication) is pinned, those that ended left out."""
        return {
            (agent, slot.publication): pin.since
            for slot in self._slots
            for agent, pin in sorted(slot.pins.items())
            if slot.publication and _ends(pin) > now
        }

    def empty(self, slot: int) -> None:
        """The slot's chunks are being replaced: what was in it cannot be pinned or sent again."""
        self._slots[slot].publication = b""
        self._slots[slot].pins.clear()

    def slot_of(self, publication: bytes) -> int | None:
        """Where a publication is, if it still is."""
        return next(
            (n for n, s in enumerate(self._slots) if publication and s.publication == publication), None
        )

    def pin(self, publication: bytes, agent: str, now: float) -> bool:
        """Keep a publication for an agent that pulls it; False if it is gone, or enough others are kept."""
        slot = self.slot_of(publication)
        if slot is None:
            return False
        pins = self._slots[slot].pins
        known = pins.get(agent)
        if known is not None:
            known.last = now
            return now - known.since < PULL_LIMIT
        pinned = [
            n for n, other in enumerate(self._slots) if n != slot and self._pinned_until(other, now) > now
        ]
        if len(pinned) >= self.count - 2:
            return False
        pins[agent] = _Pin(now, now)
        return True

    def wish(self, publication: bytes, agent: str, now: float) -> None:
        """An agent lost its slot twice: keep the newest if that is what it names, else the next one."""
        if (
            self._newest is None
            or self.slot_of(publication) != self._newest
            or not self.pin(publication, agent, now)
        ):
            self._wishes[agent] = now

    def forget(self, agent: str) -> None:
        """The agent pulls no more: it has a newer version, or is admitted no longer."""
        self._wishes.pop(agent, None)
        for slot in self._slots:
            slot.pins.pop(agent, None)

    def _others(self) -> list[int]:
        return [n for n in range(self.count) if n != self._newest]

    def _ready_at(self, slot: int, now: float, hold: float) -> float:
        state = self._slots[slot]
        return max(state.superseded + hold, self._pinned_until(state, now))

    @staticmethod
    def _pinned_until(slot: _Slot, now: float) -> float:
        ends = [_ends(pin) for pin in slot.pins.values()]
        return max((end for end in ends if end > now), default=float("-inf"))


def _ends(pin: _Pin) -> float:
    return min(pin.last + PIN_IDLE, pin.since + PULL_LIMIT)
