"""Who is admitted, with keys, and who has been heard of lately.

An agent counts as there ("live") for a while after its last *sealed* frame; nothing here looks at status
topics.
Not done here: the folder is read by whoever calls `Roster.change`.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile

from antiphon.broker_config.folders import RosterEntry
from antiphon.codecs.errors import SealError
from antiphon.coordinator.keys import Identity, Peer, meet

COUNTERS = 8
"""Process starts of an agent whose note counters are remembered; notes are idempotent, older ones no harm."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a re-read of the roster brought; ids in order. ``refused``: keys that nobody may have."""

    added: tuple[str, ...] = ()
    removed: tuple[Peer, ...] = ()
    refused: tuple[str, ...] = ()


@dataclass(slots=True)
class _Activity:
    heard: float
    there: bool = False
    incarnation: bytes = b""
    counters: OrderedDict[bytes, int] = field(default_factory=OrderedDict[bytes, int])
    asked_at: float | None = None


class Roster:
    """The admitted agents by id."""

    def __init__(self, identity: Identity, live: float) -> None:
        """``live``: seconds for which an agent counts as there after its last sealed frame."""
        self._identity, self._live = identity, live
        self._entries: dict[str, RosterEntry] = {}
        self._activity: dict[str, _Activity] = {}
        self._there: OrderedDict[str, _Activity] = OrderedDict()  # by when they were heard of last
        self._trips: dict[str, float] = {}  # smoothed, of those who were told to send
        self.peers: dict[str, Peer] = {}
        self.removed: dict[str, Peer] = {}

    def change(self, entries: Mapping[str, RosterEntry]) -> Change:
        """Take over what the folder holds now. An agent with another key is another agent."""
        if entries == self._entries:
            return Change()
        removed: list[Peer] = []
        added: list[str] = []
        refused: list[str] = []
        for id in sorted(self.peers):
            entry = entries.get(id)
            if entry is None or entry.public != self._entries[id].public:
                removed.append(self.peers.pop(id))
                self.removed[id] = removed[-1]
                self._activity.pop(id, None)
                self._there.pop(id, None)
                self._trips.pop(id, None)
        for id, entry in sorted(entries.items()):
            if self._entries.get(id) == entry:
                continue
            try:
                peer = meet(self._identity, id, entry.public, entry.may_initialise)
            except SealError:
                refused.append(id)
                continue
            if id not in self.peers:
                added.append(id)
            self.peers[id] = peer
        self._entries = dict(entries)
        return Change(tuple(added), tuple(removed), tuple(refused))

    def heard(self, id: str, incarnation: bytes, now: float) -> bool:
        """A frame of the agent opened; returns whether it has just come (or come back).

        ``incarnation`` is that of its process, empty where the frame does not say: stored updates keep the
        incarnation of the process that trained them.
        """
        activity = self._activity.setdefault(id, _Activity(now))
        activity.heard = now
        came = not activity.there or incarnation not in (b"", activity.incarnation)
        activity.there, activity.incarnation = True, incarnation or activity.incarnation
        self._there[id] = activity
        self._there.move_to_end(id)
        return came

    def is_newer(self, id: str, incarnation: bytes, counter: int, now: float) -> bool:
        """Whether a note is newer than every other of its process start; then it is the newest now."""
        counters = self._activity.setdefault(id, _Activity(now)).counters
        if counter <= counters.get(incarnation, -1):
            return False
        counters[incarnation] = counter
        counters.move_to_end(incarnation)
        while len(counters) > COUNTERS:
            counters.popitem(last=False)
        return True

    def asked(self, id: str, now: float) -> None:
        """The agent was told to send: its next frame ends a round trip."""
        if id in self._activity:
            self._activity[id].asked_at = now

    def answered(self, id: str, now: float) -> None:
        """The agent sent what it was told to."""
        activity = self._activity.get(id)
        if activity is not None and activity.asked_at is not None:
            trip = now - activity.asked_at
            old = self._trips.get(id)
            self._trips[id] = trip if old is None else old + (trip - old) / 8
            activity.asked_at = None

    def slowest_round_trip(self, now: float) -> float | None:
        """Seconds: the longest smoothed round trip of a live agent; None before any was measured."""
        trips = (trip for id, trip in self._trips.items() if self._is_live(self._activity[id], now))
        return max(trips, default=None)

    def live(self, now: float) -> int:
        """How many agents are there."""
        return len(self._there) - sum(1 for _ in self._silent(now))

    def left(self, now: float) -> list[str]:
        """Return who has been silent for too long since the last call."""
        gone = sorted(self._silent(now))
        for id in gone:
            self._there.pop(id).there = False
        return gone

    def _silent(self, now: float) -> Iterator[str]:
        """Who has been silent for too long; they come first."""
        return takewhile(lambda id: not self._is_live(self._there[id], now), self._there)

    def _is_live(self, activity: _Activity, now: float) -> bool:
        return now - activity.heard <= self._live
