"""What became of each update: receipts settle what lies in the outbox, and open questions are asked again.

Guarantees: an update leaves the disk only by a final receipt, or with the run that it belongs to; an outcome
for other content under the same id gives the update a new id instead. What was rejected comes back through
error feedback; what was applied, or settled unseen, does not.
"""

import asyncio
import logging
from collections.abc import Callable

from antiphon.agents import update
from antiphon.agents.bell import OUTBOX
from antiphon.agents.entries import Entry
from antiphon.agents.line import Line
from antiphon.agents.outbox import Outbox
from antiphon.agents.status import Counters
from antiphon.codecs.errors import ConfigError, StateError, TransportError
from antiphon.codecs.messages import FINAL, Announcement, Asked, Note, Receipt, UpdateId

log = logging.getLogger("antiphon.agents")

ASKED = 64
"""Updates in one `ask` note, at most."""

FATAL = {
    "revoked": "the operator has taken this agent's admission back: ask for a new one",
    "schema": "the coordinator refuses this model: run the trainer that the federation agreed upon",
}
"""Reasons that trying again cannot change."""

JUDGED = frozenset({"malformed", "digest", "not-finite", "norm", "schema", "too-large"})
"""Reasons that lie in the numbers: with those added to the next update, that one would be rejected too."""


class Outcomes:
    """The settling half of an agent."""

    def __init__(self, line: Line, outbox: Outbox, counters: Counters) -> None:
        """Nothing has come yet."""
        self._line, self._outbox, self._counters = line, outbox, counters
        self._queue: asyncio.Queue[Receipt | None] = asyncio.Queue(1024)  # None: time to ask
        self._sequence = 0

    def next_id(self) -> UpdateId:
        """Return the id of the next update of this process."""
        self._sequence += 1
        return UpdateId(self._line.incarnation, self._sequence)

    def take(self, receipt: Receipt) -> None:
        """Queue a receipt; when the queue is full it is dropped, and asked for again later."""
        if receipt.incarnation and not self._queue.full():
            self._queue.put_nowait(receipt)

    def renewed(self, announcement: Announcement) -> None:
        """The coordinator has begun another term: ask it, but not all agents at once."""
        delay = float(self._line.environment.rng.random()) * announcement.spread
        asyncio.get_running_loop().call_later(delay, self._remind)

    async def run(self) -> None:
        """Work through receipts, as long as the agent lives.

        Raises:
            ConfigError: The coordinator refuses this agent for good, or the database is damaged.
        """
        while True:
            receipt = await self._queue.get()
            if receipt is None:
                try:
                    await self.ask()
                except TransportError as error:  # then the next connect asks
                    log.debug("ask was not sent: %s", error)
            elif (entry := self._find(receipt)) is not None:
                await self._take(entry, receipt)
                self._line.bell.ring(OUTBOX)

    async def _take(self, entry: Entry, receipt: Receipt) -> None:
        if receipt.digest and receipt.digest != entry.head.digest:
            await self._rename(entry, receipt)
        elif receipt.type in FINAL:
            await self._settle(entry, receipt)
        elif receipt.type == "received" and entry.state == "pending":
            await self._book(self._outbox.received, entry)
            log.info("update %d received", entry.head.sequence)
        elif receipt.type == "wait" and entry.state == "received":
            number = entry.head.sequence
            if await self._line.environment.run(self._outbox.again, entry):
                log.warning("the coordinator has lost update %d: offering it again", number)
            else:
                log.warning("the coordinator has lost update %d, which it had received", number)
                await self._book(self._outbox.settle, entry)

    async def ask(self) -> None:
        """Ask for the outcome of everything that was received.

        Raises:
            TransportError: Not every question was sent.
        """
        line = self._line
        asked = [
            Asked(incarnation=entry.head.incarnation, sequence=entry.head.sequence, digest=entry.head.digest)
            for entry in self._outbox.entries
            if entry.state == "received" and entry.head.run == line.run
        ]
        for start in range(0, len(asked), ASKED):
            await line.note(
                Note(
                    type="ask",
                    incarnation=line.incarnation,
                    counter=line.counter(),
                    updates=asked[start : start + ASKED],
                )
            )

    async def drop(self, run: bytes, *, pending: bool) -> None:
        """Settle what can never be applied: updates of other runs, and pending ones of a run that is over."""
        for entry in self._outbox.entries:
            if entry.head.run != run or (pending and entry.state == "pending"):
                log.info("update %d dropped: its run is over", entry.head.sequence)
                self._counters.rejected += 1
                await self._book(self._outbox.settle, entry)

    async def _book(self, change: Callable[[Entry], None], entry: Entry) -> None:
        """Change an entry's state: off the event loop where that takes the disk."""
        if entry.light:
            change(entry)
        else:
            await self._line.environment.run(change, entry)

    def _remind(self) -> None:
        if not self._queue.full():
            self._queue.put_nowait(None)

    def _find(self, receipt: Receipt) -> Entry | None:
        id = UpdateId(receipt.incarnation, receipt.sequence)
        return next((entry for entry in self._outbox.entries if entry.id == id), None)

    async def _settle(self, entry: Entry, receipt: Receipt) -> None:
        number = entry.head.sequence
        if receipt.type in ("applied", "settled"):
            await self._book(self._outbox.settle, entry)
            if receipt.type == "applied":
                self._counters.applied += 1
                log.info("update %d applied in version %d", number, receipt.version)
            else:
                log.info("update %d was settled earlier", number)
            return
        if not await self._reject(entry, receipt):
            return
        self._counters.rejected += 1
        level = logging.INFO if receipt.reason == "run-over" else logging.WARNING
        log.log(level, "update %d %s: %s %s", number, receipt.type, receipt.reason, receipt.detail[:200])
        if receipt.reason in FATAL:
            detail = f" ({receipt.detail[:200]})" if receipt.detail else ""
            raise ConfigError(FATAL[receipt.reason] + detail)

    async def _reject(self, entry: Entry, receipt: Receipt) -> bool:
        """Forget an update that did not count, and take its numbers back; False: the disk is full, later."""
        if entry.head.fed and receipt.reason not in JUDGED and receipt.reason != "run-over":
            try:
                await self._line.environment.run(update.take_back, self._outbox, entry)
                return True
            except OSError as error:
                log.warning("cannot take update %d back yet: %s", entry.head.sequence, error)
                entry.state = "received"  # asked about again, and answered the same
                return False
            except StateError as error:
                log.error("%s", error)
        await self._book(self._outbox.settle, entry)
        return True

    async def _rename(self, entry: Entry, receipt: Receipt) -> None:
        """Somebody used this id for other content: an older copy of this host, say."""
        if entry.state != "pending":
            await self._book(self._outbox.settle, entry)
            return
        new = self.next_id()
        log.warning(
            "update %d is known with other content: offering it as update %d", receipt.sequence, new.sequence
        )
        try:
            await self._line.environment.run(self._outbox.rename, entry, new.incarnation, new.sequence)
        except StateError as error:
            log.error("%s", error)
