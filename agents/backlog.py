"""Trained updates that wait: is there room for another, may something older go for it, and what it says.

Guarantees: an update is stored with its mark and its residual, or not at all. When the bytes that an outbox
may hold would be exceeded, first kept copies of what the coordinator has go, then the oldest pending update
on a version that is no longer the newest, and a person hears of it.
"""

import logging
from collections.abc import Callable
from functools import partial

from antiphon.agents import update
from antiphon.agents.announcements import Announcements
from antiphon.agents.bell import COURSE, OUTBOX
from antiphon.agents.database import Mark
from antiphon.agents.entries import Entry, Head
from antiphon.agents.line import Line
from antiphon.agents.outbox import Outbox
from antiphon.agents.outcomes import Outcomes
from antiphon.agents.residual import is_lossy
from antiphon.agents.status import Counters
from antiphon.agents.training import Trained
from antiphon.codecs.errors import StateError
from antiphon.codecs.messages import NO_DIGEST, Announcement
from antiphon.codecs.schema import Schema

log = logging.getLogger("antiphon.agents")


class Backlog:
    """Puts updates into the outbox, and says when there is no room.

    Args:
        line: For settings and threads.
        outbox: Where updates go.
        outcomes: Names them.
        announcements: Remembers what was trained on.
        counters: Count them.
        under_way: Returns the update that is being sent: it is not dropped.
    """

    def __init__(
        self,
        line: Line,
        outbox: Outbox,
        outcomes: Outcomes,
        announcements: Announcements,
        counters: Counters,
        under_way: Callable[[], Entry | None],
    ) -> None:
        """Nothing is put yet."""
        self._line, self._outbox, self._outcomes = line, outbox, outcomes
        self._announcements, self._counters, self._under_way = announcements, counters, under_way

    async def full(self, own: Schema | None, version: Announcement) -> str:
        """Return why an update on ``version`` would be one too many, or ``""``; makes room if it may.

        Args:
            own: The model's schema, once it is known.
            version: The newest.
        """
        limits = self._line.settings.limits
        if len(self._outbox.pending) >= limits.backlog:
            return f"outbox full: {limits.backlog} updates wait for the coordinator (limits.backlog)"
        if own is None:
            return ""
        encoding = self._encoding(own)
        size = update.size(own, encoding)
        while reason := self._outbox.over(size):
            victim = self._victim(version, size)
            if victim is None or not await self._drop(victim):
                return f"outbox full: {reason}"
        if self._line.settings.error_feedback and is_lossy(encoding, own):
            # The old residual goes only after the new one has come.
            size += update.residual_spec(version.run, own).size
        reason = await self._line.environment.run(self._outbox.room, size)
        return f"disk full: {reason}" if reason else ""

    async def put(self, version: Announcement, own: Schema, trained: Trained, seconds: float) -> None:
        """Store what was trained on ``version`` in so many ``seconds``.

        Raises:
            StateError: The disk is full, say; nothing has changed.
        """
        id, initial = self._outcomes.next_id(), version.number < 0
        head = Head(
            run=version.run,
            incarnation=id.incarnation,
            sequence=id.sequence,
            base=NO_DIGEST if initial else version.digest,
            base_term=version.term,
            base_number=version.number,
            schema=b"",
            digest=NO_DIGEST,
            encoding=self._encoding(own, initial=initial),
            vector_bytes=0,
            exact_bytes=0,
            raw_bytes=0,
            examples=int(trained.result.examples),
            steps=int(trained.result.steps),
            seconds=seconds,
            metrics=dict(trained.metrics),
        )
        mark = Mark(version.run, version.started, version.term, version.number, version.digest)
        environment, feedback = self._line.environment, self._line.settings.error_feedback
        # Only that one rounds by chance; a generator of its own costs as much as encoding a small update.
        rng = environment.rng.spawn(1)[0] if head.encoding == "int8" else environment.rng
        store = partial(update.store, mark=mark, feedback=feedback)
        entry = await environment.run(store, self._outbox, head, own, trained.delta, trained.exact, rng)
        self._announcements.remember(mark)
        self._counters.sent += 1
        self._counters.bytes_raw += entry.head.raw_bytes
        now = self._announcements.current
        ended = now is None or now.run != version.run or now.state == "over"
        # What belongs to a run that ended in the meantime is dropped by whoever follows its course.
        self._line.bell.ring(OUTBOX | COURSE if ended else OUTBOX)

    def _encoding(self, own: Schema, *, initial: bool = False) -> str:
        return update.wire_encoding(self._line.settings.encoding, own, initial=initial)

    def _victim(self, version: Announcement, size: int) -> Entry | None:
        """Return what goes first, if anything may: copies of what was received, then the oldest stale one."""
        if size > self._line.settings.limits.outbox:
            return None
        for entry in self._outbox.entries:
            if entry.state == "received" and entry.whole:
                return entry
        for entry in self._outbox.pending:
            stale = entry.head.run != version.run or entry.head.base_number < version.number
            if stale and entry is not self._under_way():
                return entry
        return None

    async def _drop(self, victim: Entry) -> bool:
        """Drop one; says whether the disk let us."""
        run, head = self._line.environment.run, victim.head
        try:
            if victim.state == "received":
                await run(self._outbox.shed, victim)
                return True
            if victim.head.fed and not victim.shown:
                victim.state = "gone"  # at once: it must not be offered while its numbers come back
                await run(update.take_back, self._outbox, victim)
            else:  # it may count where we cannot see it: then it must not count here as well
                await run(self._outbox.settle, victim)
        except StateError as error:
            log.error("%s", error)
            await run(self._outbox.settle, victim)
        except OSError as error:
            log.warning("cannot make room in the outbox: %s", error)
            if victim.state == "gone":
                victim.state = "pending"
            return False
        finally:
            self._line.bell.ring(OUTBOX)  # whoever delivers has waited for this one
        self._counters.dropped += 1
        log.warning(
            "update %d on version %d dropped: it was not delivered, and the outbox is full (limits.outbox)",
            head.sequence,
            head.base_number,
        )
        return True
