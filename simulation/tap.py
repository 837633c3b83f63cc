"""What was really said: a witness at the broker who holds everybody's keys.

It hears each message that the broker takes, before any fault, opens announcements and receipts, and notes
whatever contradicts what was said before. A witness judges words alone: whether they are true is for
`antiphon.simulation.invariants` to find out.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from antiphon.broker_config.connection import Message
from antiphon.broker_config.topics import COORDINATOR, Topics
from antiphon.codecs import announcements, frames, messages
from antiphon.codecs.messages import FINAL, NO_DIGEST, Announcement, Receipt, UpdateId
from antiphon.coordinator.keys import Identity, Peer

LIMIT = 1 << 28
"""Bytes: everything that is said."""

BEFORE_RECEIVED = frozenset({"granted", "progress", "wait", "refused"})
"""What cannot be said of an update that was received."""


@dataclass(frozen=True, slots=True)
class Name:
    """An update: its run, its agent and its id."""

    run: bytes
    agent: str
    id: UpdateId

    def __str__(self) -> str:
        """For people."""
        return f"update {self.id.sequence} of {self.agent} ({self.id.incarnation.hex()[:8]})"


@dataclass(slots=True)
class Story:
    """What agents were told of one update, in words that must not contradict each other.

    Attributes:
        received: When it was first called received (loop seconds); None: never.
        final: The first final word; None: none yet.
        final_at: When.
    """

    received: float | None = None
    final: Receipt | None = None
    final_at: float = 0.0


@dataclass(slots=True)
class Tap:
    """See the module. Call `hear` with what the broker takes.

    Attributes:
        updates: What was said of each update.
        versions: Model digest of each announced version, by (run, number).
        newest: The last announcement.
        announced: (loop seconds, number) of each version, when it was first announced.
        contradictions: Sentences.
        messages: How many messages there were.
    """

    identity: Identity
    peers: Mapping[str, Peer]
    updates: dict[Name, Story] = field(default_factory=dict[Name, Story])
    versions: dict[tuple[bytes, int], bytes] = field(default_factory=dict[tuple[bytes, int], bytes])
    newest: Announcement | None = None
    announced: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])
    contradictions: list[str] = field(default_factory=list[str])
    messages: int = 0
    _orders: dict[str, tuple[bytes, int, int]] = field(default_factory=dict[str, tuple[bytes, int, int]])
    _heads: dict[str, tuple[bytes, int]] = field(default_factory=dict[str, tuple[bytes, int]])

    def hear(self, client_id: str, message: Message) -> None:
        """A message was taken by the broker."""
        self.messages += 1
        if client_id != COORDINATOR or not message.payload:
            return
        topics = Topics(self.identity.prefix)
        if message.topic == topics.broadcast:
            self._announcement(announcements.verify(message.payload, self.identity.signing.public, LIMIT))
        elif message.topic.startswith(topics.receipts("")):
            self._receipt(topics.client_of(message.topic) or "", message.payload)

    def _announcement(self, said: Announcement) -> None:
        last = self.newest
        if last is not None and said.run == last.run:
            if (said.term, said.number) < (last.term, last.number) or said.number < last.number:
                self._object(
                    f"version {said.number} (term {said.term}) was announced after version {last.number} "
                    f"(term {last.term})"
                )
            if last.state == "over" and said.state != "over":
                self._object(f"the run went on at version {said.number} after it was announced to be over")
        elif last is not None and said.started <= last.started:
            self._object("a run that did not start later was announced after another")
        self.newest = said
        if said.number < 0:
            return
        known = self.versions.setdefault((said.run, said.number), said.digest)
        if known != said.digest or said.digest == NO_DIGEST:
            self._object(f"version {said.number} was announced with two digests")
        if not self.announced or self.announced[-1][1] < said.number:
            self.announced.append((_now(), said.number))

    def _receipt(self, agent: str, payload: bytes) -> None:
        frame = frames.read(payload, LIMIT)
        word = messages.decode(frames.open_frame(frame, self.peers[agent].receipt), Receipt, LIMIT)
        run = frame.header.run
        self._order(agent, run, word)
        if word.sequence < 0 or (word.type == "refused" and word.reason == "unknown-key"):
            return
        name = Name(run, agent, UpdateId(word.incarnation, word.sequence))
        story = self.updates.setdefault(name, Story())
        if story.final is not None:
            self._after_final(name, story.final, word)
        elif word.type in FINAL:
            if word.type == "refused" and story.received is not None:
                self._object(f"{name} was refused after it was received")
            story.final, story.final_at = word, _now()
        elif word.type == "received":
            story.received = _now() if story.received is None else story.received
        elif story.received is not None and word.type in BEFORE_RECEIVED:
            self._object(f'{name} was received, and then "{word.type}" was said of it')

    def _order(self, agent: str, run: bytes, word: Receipt) -> None:
        before, now = self._orders.get(agent), (run, word.term, word.counter)
        if before is not None and before[0] == run and before[1:] >= now[1:]:
            self._object(f"receipt {now[1:]} to {agent} was said after {before[1:]}")
        self._orders[agent] = now
        head = self._heads.get(agent)
        if head is not None and head[0] == run and word.newest_number < head[1]:
            self._object(f"{agent} was told of version {word.newest_number} after version {head[1]}")
        self._heads[agent] = (run, word.newest_number)

    def _after_final(self, name: Name, final: Receipt, word: Receipt) -> None:
        same = (word.type, word.version, word.reason) == (final.type, final.version, final.reason)
        if word.type == "settled" or final.type == "settled" or same:
            return
        self._object(f"{name} was {_words(final)}, and then {_words(word)}")

    def _object(self, sentence: str) -> None:
        self.contradictions.append(f"at {_now():.3f} s {sentence}")


def _words(word: Receipt) -> str:
    more = (
        f" in version {word.version}" if word.type == "applied" else f" ({word.reason})" * bool(word.reason)
    )
    return f"{word.type}{more}"


def _now() -> float:
    return asyncio.get_running_loop().time()
