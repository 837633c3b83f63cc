"""What is known without asking the disk: open updates, marks, recent outcomes, the versions' digests.

Bounded by `Limits`, not by what agents send; outcomes that are older than `RECENT` are read from the tables.
Readers on the event loop see a commit's effects only when it is durable. Not done here: any of that.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from antiphon.codecs.messages import UpdateId
from antiphon.coordinator.ledger.records import Outcome

PREFIX = 16
"""Bytes of each version's digest that are kept to recognise it as a base."""

RECENT = 10_000
"""Outcomes that are remembered in memory."""

Name = tuple[str, UpdateId]


@dataclass(frozen=True, slots=True)
class Open:
    """An update that was received and is not settled; ``file`` None: its content is in the ledger."""

    admission: int
    digest: bytes
    file: str | None
    size: int


@dataclass(slots=True)
class Changes:
    """What a transaction does to the index, once it is committed."""

    opened: dict[Name, Open] = field(default_factory=dict[Name, Open])
    settled: dict[Name, Outcome] = field(default_factory=dict[Name, Outcome])
    marks: dict[tuple[str, bytes], int] = field(default_factory=dict[tuple[str, bytes], int])
    counts: dict[str, int] = field(default_factory=dict[str, int])
    schemas: set[bytes] = field(default_factory=set[bytes])
    received: int = 0
    applied: int = 0
    rejected: int = 0


class Index:
    """See the module."""

    def __init__(self, outcomes: int, incarnations: int) -> None:
        """``outcomes``: of each agent, kept on disk; ``incarnations``: of each agent, told apart."""
        self.most_outcomes, self.most_incarnations = outcomes, incarnations
        self.open: dict[Name, Open] = {}
        self.marks: dict[str, dict[bytes, int]] = {}
        self.counts: dict[str, int] = {}
        self.schemas: set[bytes] = set()
        self.digests = bytearray()
        self.received = self.applied = self.rejected = 0
        self._recent: OrderedDict[Name, Outcome] = OrderedDict()

    def known(self, name: Name) -> Outcome | None:
        """Return what is known here: received, or a recent outcome."""
        if (found := self.open.get(name)) is not None:
            return Outcome("received", found.digest)
        return self._recent.get(name)

    def below_mark(self, name: Name) -> bool:
        """Whether the update was settled, or cannot count any more because a later one was."""
        agent, update = name
        return 1 <= update.sequence <= self.marks.get(agent, {}).get(update.incarnation, 0)

    def may_be_settled(self, name: Name) -> bool:
        """Whether the tables must be asked: it is not above its mark, or its process start has no mark.

        A process start beyond the bound never gets one, although what became of its updates is written down.
        """
        agent, update = name
        mark = self.marks.get(agent, {}).get(update.incarnation)
        return mark is None or update.sequence <= mark

    def has_room(self, agent: str, incarnation: bytes) -> bool:
        """Whether the agent may have a mark for that process start."""
        marks = self.marks.get(agent, {})
        return incarnation in marks or len(marks) < self.most_incarnations

    def take(self, changes: Changes) -> None:
        """A transaction is committed."""
        self.open.update(changes.opened)
        for (agent, incarnation), mark in changes.marks.items():
            self.marks.setdefault(agent, {})[incarnation] = mark
        for name, outcome in changes.settled.items():
            self._recent[name] = outcome  # before it is closed: whoever asks meanwhile finds one or the other
            self.open.pop(name, None)
        while len(self._recent) > RECENT:
            self._recent.popitem(last=False)
        self.counts.update(changes.counts)
        self.schemas |= changes.schemas
        self.received += changes.received
        self.applied += changes.applied
        self.rejected += changes.rejected

    def add_version(self, digest: bytes) -> None:
        """The next version is committed."""
        self.digests += digest[:PREFIX]

    def is_base(self, number: int, digest: bytes) -> bool:
        """Whether this run committed that version."""
        at = number * PREFIX
        return 0 <= at < len(self.digests) and bytes(self.digests[at : at + PREFIX]) == digest[:PREFIX]
