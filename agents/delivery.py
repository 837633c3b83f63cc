"""Brings updates from the outbox to the coordinator: offer, chunks within the window, probes; for ever.

Guarantees: updates go in order, one transfer at a time; nothing larger than the granted window is under way;
every wait has a bound that grows with jitter. An update that the coordinator has `received` makes room for
the next. A transfer is remembered on disk before its first chunk goes, so that after a restart only what is
missing travels. Outcomes are not this module's business (`antiphon.agents.outcomes`).
"""

import asyncio
import logging
from dataclasses import replace

from antiphon.agents import transfer as transfers
from antiphon.agents.announcements import GLANCE, Announcements
from antiphon.agents.bell import ANNOUNCED, COURSE, FLIGHT, OUTBOX, REPORT, SESSION
from antiphon.agents.entries import Entry, Record
from antiphon.agents.flight import Flight, OfferNow, ProbeNow, WaitUntil
from antiphon.agents.line import Line
from antiphon.agents.outbox import Outbox
from antiphon.agents.pace import backoff
from antiphon.agents.sender import Sent
from antiphon.agents.transfer import Transfer
from antiphon.broker_config.connection import Lane
from antiphon.codecs.errors import PacketTooLarge, PeerError, StateError, TransportError
from antiphon.codecs.frames import Kind
from antiphon.codecs.messages import Announcement, Note, Receipt

log = logging.getLogger("antiphon.agents")

CARRYING = FLIGHT | OUTBOX | SESSION | ANNOUNCED | COURSE
"""Topics that may change what a transfer does next."""

UNDER_WAY = 3
"""Chunk frames handed to the connection at once: enough to seal the next while the last is on the line."""

RESERVE = 1024
"""Send numbers that are reserved on disk at a time, at least."""


class Delivery:
    """The sending half of an agent."""

    def __init__(self, line: Line, outbox: Outbox, announcements: Announcements) -> None:
        """Nothing to send yet."""
        self._line, self._outbox, self._announcements = line, outbox, announcements
        self._flight: Flight | None = None
        self._transfer: Transfer | None = None
        self._anew = False
        self._tries = 0
        self._under_way = 0
        self._life = (0, -1)  # (session, term) of the last offer

    @property
    def sending(self) -> bool:
        """Whether an update is on its way."""
        return self._transfer is not None and self._transfer.entry.state == "pending"

    @property
    def under_way(self) -> Entry | None:
        """The update whose chunks the coordinator has asked for."""
        flight, transfer = self._flight, self._transfer
        return transfer.entry if flight is not None and transfer is not None and flight.granted else None

    async def run(self) -> None:
        """Deliver what is in the outbox, as long as the agent lives."""
        while True:
            if not self._outbox.pending:
                await self._line.bell.wait(topics=OUTBOX)
                continue
            announcement = await self._announcements.refresh()
            entry = self._next(announcement)
            if entry is None or announcement is None:
                await self._line.bell.wait(topics=OUTBOX | SESSION | ANNOUNCED | COURSE)
                continue
            try:
                await self._carry(entry, announcement)
            except* StateError as group:
                # Its outcome may have come, and the file gone, while the next frame was being made.
                if entry.state == "pending":
                    # One unreadable file must not hold up the updates behind it.
                    log.error("%s", group.exceptions[0])
                    await self._line.environment.run(self._outbox.settle, entry)
            except* OSError as group:
                log.error("cannot read update %d now: %s", entry.head.sequence, group.exceptions[0])
                await self._back_off()
            except* PeerError as group:
                log.error("the announcement cannot be used: %s", group.exceptions[0])
                await self._back_off()

    def take(self, receipt: Receipt) -> None:
        """Take a receipt about the current transfer in; others are ignored."""
        flight, transfer = self._flight, self._transfer
        if flight is None or transfer is None or receipt.transfer != transfer.id:
            return
        if receipt.type in ("granted", "progress", "wait"):
            self._tries = 0
            flight.answered(receipt, self._line.now)
        elif receipt.type == "refused" and receipt.reason == "unknown-key":
            self._anew = True
        else:
            flight.ended(self._line.now)
            return  # whoever takes the outcome in rings once the update's state has changed
        self._line.bell.ring(FLIGHT)

    def hurry(self) -> None:
        """The coordinator seems to be back."""
        if self._flight is not None:
            self._flight.hurry(self._line.now + self._spread())
            self._line.bell.ring(FLIGHT)

    def _next(self, announcement: Announcement | None) -> Entry | None:
        """Return the update to carry now: the oldest that the coordinator has not got."""
        if (
            announcement is None
            or not announcement.epoch
            or announcement.state == "over"
            or not self._line.ready
        ):
            return None
        for entry in self._outbox.entries:
            if entry.state == "gone":
                return None  # it is being taken back, or comes back itself: what is overtaken counts no more
            if entry.state == "pending" and entry.head.run == announcement.run:
                return entry
        return None

    async def _carry(self, entry: Entry, announcement: Announcement) -> None:
        """Work on one transfer until the coordinator has the update, or another transfer is needed."""
        line = self._line
        header = line.header(Kind.OFFER, entry.head.run, line.environment.token(16))
        largest = line.largest_frame

        def begin() -> tuple[Transfer, bytes]:
            transfer = transfers.begin(entry, header, announcement, largest, line.transfer_key)
            # In the same job, as it is what most transfers send next; one that goes on has had its first.
            return transfer, b"" if transfer.record.reserved else transfer.offer(0)

        transfer, opening = await line.environment.run(begin)
        used = await self._remember(transfer) if transfer.sizes else 0
        if used < 0:
            return
        flight = Flight(transfer.sizes, line.trip, line.environment.rng, line.patience, line.now, used)
        self._transfer, self._flight, self._anew = transfer, flight, False
        line.bell.ring(REPORT)
        try:
            async with asyncio.TaskGroup() as group:
                while entry.state == "pending":
                    await self._announcements.glance()
                    if not self._goes_on(transfer):
                        break
                    await self._step(transfer, flight, opening, group)
        finally:
            self._transfer = self._flight = None
        if self._anew and entry.state == "pending":
            entry.record = None
            await self._back_off()

    async def _remember(self, transfer: Transfer) -> int:
        """Reserve send numbers on disk; returns the last that may have been used, -1: begin another transfer.

        On a full disk a transfer goes on unremembered: updates must get away.
        """
        entry, used = transfer.entry, transfer.record.reserved
        record = replace(transfer.record, reserved=used + max(RESERVE, 4 * len(transfer.cuts)))
        try:
            await self._line.environment.run(self._outbox.keep, entry, record)
        except OSError as error:
            log.warning(
                "the transfer of update %d starts over if this agent does: %s", entry.head.sequence, error
            )
            forgotten = entry.record is not None
            entry.record = None
            return -1 if forgotten else 0
        return used

    def _goes_on(self, transfer: Transfer) -> bool:
        line, now = self._line, self._announcements.current
        return (
            transfer.entry.state == "pending"
            and not self._anew
            and now is not None
            and transfer.fits(min(line.largest_frame, now.frame))
            and now.run == transfer.entry.head.run
            and now.state != "over"
        )

    async def _step(
        self, transfer: Transfer, flight: Flight, opening: bytes, group: asyncio.TaskGroup
    ) -> None:
        """Do what is due next, or wait for it; ``opening`` is the frame of the first offer."""
        line = self._line
        flight.longest = line.patience
        if not line.ready:
            await line.bell.wait(topics=SESSION | OUTBOX | COURSE)
            return
        self._notice_new_life(flight)
        if self._under_way >= UNDER_WAY:
            await line.bell.wait(topics=CARRYING)
            return
        record = transfer.entry.record
        if transfer.sizes and record is not None and flight.sender.send >= record.reserved:
            if not await self._reserve(transfer.entry, record):
                await line.bell.wait(line.trip.rto, CARRYING)
            return
        match flight.decide(line.now, busy=self._under_way > 0):
            case Sent(index, send):
                transfer.entry.shown = True
                frame = await line.environment.run(transfer.chunk, index, send)
                self._under_way += 1
                group.create_task(self._send_chunk(frame, flight), name=f"chunk {index}")
            case OfferNow(send):
                transfer.entry.shown |= bool(transfer.inline)
                frame = await line.environment.run(transfer.offer, send) if send else opening
                await self._send("offer", frame)
            case ProbeNow(send):
                await self._probe(transfer, send)
            case WaitUntil(until):
                rest = until - line.now
                await line.bell.wait(min(rest, GLANCE) if self._announcements.unseen else rest, CARRYING)

    async def _reserve(self, entry: Entry, record: Record) -> bool:
        try:
            more = replace(record, reserved=record.reserved + RESERVE)
            await self._line.environment.run(self._outbox.keep, entry, more)
        except OSError as error:
            log.warning("cannot go on sending update %d: %s", entry.head.sequence, error)
            return False
        return True

    def _notice_new_life(self, flight: Flight) -> None:
        """After a reconnect or a coordinator's start everybody offers again, spread over time."""
        current = self._announcements.current
        life = (self._line.session, current.term if current else -1)
        if life != self._life:
            self._life = life
            flight.interrupted(self._line.now + self._spread())

    def _spread(self) -> float:
        current = self._announcements.current
        return float(self._line.environment.rng.random()) * (current.spread if current else 0.0)

    async def _send_chunk(self, frame: bytes, flight: Flight) -> None:
        try:
            await self._send("chunk", frame, Lane.BULK)
        finally:
            self._under_way -= 1
            flight.left(self._line.now)
            self._line.bell.ring(FLIGHT)

    async def _probe(self, transfer: Transfer, send: int) -> None:
        line = self._line
        note = Note(
            type="probe",
            incarnation=line.incarnation,
            counter=line.counter(),
            transfer=transfer.id,
            send=send,
        )
        try:
            await line.note(note)
        except TransportError as error:
            log.debug("a probe was not sent: %s", error)

    async def _send(self, what: str, frame: bytes, lane: Lane = Lane.CONTROL) -> None:
        """Send a frame; what fails is asked for again by the flight's timers, so nothing is lost here."""
        try:
            await self._line.send(frame, lane)
        except PacketTooLarge as error:
            log.warning("the broker takes smaller packets now: %s", error)
            self._anew = True
        except TransportError as error:
            log.debug("%s of %d bytes was not sent: %s", what, len(frame), error)

    async def _back_off(self) -> None:
        """The next transfer is another one, in other pieces or under another epoch key; not at once."""
        line = self._line
        seconds = backoff(line.trip.rto, line.patience, self._tries, line.environment.rng)
        self._tries += 1
        log.info("offering the update anew in %.0f s", seconds)
        await asyncio.sleep(seconds)
