"""Frames on ``updates/<client>`` become complete, sealed spool files; what is not as it must be is dropped.

Guaranteed: only an offer that opened creates state; a frame is bound to its topic's client before anything is
opened; nothing that a peer sends raises out of `Intake.take`. Complete updates wait in a bounded queue,
`Intake.complete`, for their check; while it is full nothing more is taken.
Not done here: windows and chunks (`transfers`), contents (`checking`), what notes ask for (`notes`).
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from antiphon.broker_config.connection import Message
from antiphon.broker_config.topics import COORDINATOR, Topics
from antiphon.codecs import frames, messages, sealing
from antiphon.codecs.chunks import Assembly
from antiphon.codecs.errors import MalformedError, PeerError, Rejected
from antiphon.codecs.frames import Frame, Kind
from antiphon.codecs.messages import Note, Offer, Receipt, UpdateId
from antiphon.coordinator.admission import Situation, admit
from antiphon.coordinator.keys import EpochKeys, Identity, Peer
from antiphon.coordinator.ledger import Ledger, Outcome
from antiphon.coordinator.receipts import Receipts, receipt
from antiphon.coordinator.reporting import Events
from antiphon.coordinator.roster import Roster
from antiphon.coordinator.settings import Limits
from antiphon.coordinator.spool import Update
from antiphon.coordinator.transfers import PATIENCE, Transfers
from antiphon.coordinator.uploads import Upload

ALL_SENT = 1 << 53
"""A send number that no agent reaches: whatever was sent is answered for."""

UNKNOWN_KEY_EVERY = 1.0
"""Seconds between two answers to an agent whose offers do not name a key that we hold."""


@dataclass(frozen=True, slots=True)
class Complete:
    """An update whose chunks are all here, to be checked; ``frame``: an inline one's offer, not on disk."""

    update: Update
    frame: bytes = b""


@dataclass(frozen=True, slots=True)
class Desk:
    """What the intake works with, and whom it tells.

    Attributes:
        identity, run, epochs, limits, roster, ledger, receipts, events, transfers: See their modules.
        folder: The spool.
        situation: What offers are judged against, now.
        waiting: How many updates of an agent wait to be merged.
        hold: An update with that base was let in: its values must stay.
        note: A note came.
        settled: An update that never waited has its outcome.
    """

    identity: Identity
    run: bytes
    epochs: EpochKeys
    limits: Limits
    folder: Path
    roster: Roster
    ledger: Ledger
    receipts: Receipts
    events: Events
    transfers: Transfers
    situation: Callable[[], Situation]
    waiting: Callable[[str], int]
    hold: Callable[[int], None]
    note: Callable[[Peer, Note], None]
    settled: Callable[[Outcome], None]


class Intake:
    """See the module."""

    def __init__(self, desk: Desk) -> None:
        """The spool folder must be there and empty."""
        self._desk = desk
        self._topics = Topics(desk.identity.prefix)
        self._checking: dict[tuple[str, UpdateId], int] = {}
        self._unknown_key: dict[str, float] = {}
        self._last: dict[str, tuple[bytes, UpdateId, bytes]] = {}
        self._files = 0
        self.complete: asyncio.Queue[Complete] = asyncio.Queue(desk.limits.checks)
        self.spooled = 0
        self.received_bytes = 0
        self.dropped = 0

    async def take(self, message: Message) -> None:
        """Take one message from ``updates/+``; whatever is wrong with it is counted and dropped."""
        self.received_bytes += len(message.payload)
        client = self._topics.client_of(message.topic)
        if message.retain or not message.payload or client is None:
            self.dropped += 1
            return
        peer = self._desk.roster.peers.get(client)
        if peer is None:
            self._drop("rejected", client, "unknown-sender", "nobody of that name is admitted")
            return
        try:
            frame = frames.read(message.payload, self._desk.limits.frame)
            self._check_header(frame, peer)
            match frame.header.kind:
                case Kind.OFFER:
                    await self._offer(frame, message.payload, peer)
                case Kind.UPDATE_CHUNK:
                    update = await self._desk.transfers.chunk(frame, message.payload, peer)
                    if update is not None:
                        await self._finish(Complete(update))
                case _:
                    self._note(frame, peer)
        except PeerError as error:
            self._drop("dropped", peer.id, "malformed", str(error))

    def _drop(self, event: str, agent: str, reason: str, detail: str) -> None:
        self.dropped += 1
        self._desk.events.add_rarely(event, agent, reason, detail)

    def _check_header(self, frame: Frame, peer: Peer) -> None:
        header = frame.header
        expected = (self._desk.identity.federation, peer.id, COORDINATOR)
        if (header.federation, header.sender, header.recipient) != expected:
            raise MalformedError("a frame of another federation, sender or recipient")
        if header.kind not in (Kind.OFFER, Kind.UPDATE_CHUNK, Kind.NOTE):
            raise MalformedError(f"no agent sends frames of kind {header.kind.name}")
        if header.run != self._desk.run and not (header.kind is Kind.NOTE and header.run == frames.NO_ID):
            raise MalformedError("a frame of another run")

    def _heard(self, peer: Peer, incarnation: bytes) -> None:
        if self._desk.roster.heard(peer.id, incarnation, _now()):
            self._desk.events.add("joined", agent=peer.id)

    def _note(self, frame: Frame, peer: Peer) -> None:
        plain = frames.open_frame(frame, peer.note)
        note = messages.decode(plain, Note, self._desk.limits.frame)
        if not self._desk.roster.is_newer(peer.id, note.incarnation, note.counter, _now()):
            self.dropped += 1
            return
        self._heard(peer, note.incarnation)
        self._desk.note(peer, note)

    async def _offer(self, frame: Frame, data: bytes, peer: Peer) -> None:
        header, limits = frame.header, self._desk.limits
        if len(data) > limits.offer:
            raise MalformedError(f"an offer of {len(data)} bytes, the limit is {limits.offer}")
        epoch = self._desk.epochs.get(header.key_id)
        if epoch is None:
            self._refuse_unknown_key(peer, header.transfer)
            return
        key = sealing.update_key(peer.pair, header.transfer, epoch, header.one_time)
        offer = messages.decode(frames.open_frame(frame, key), Offer, limits.offer)
        self._heard(peer, b"")
        id = UpdateId(offer.incarnation, offer.sequence)
        if self.answer_known(peer, id, offer.digest, header.transfer):
            return
        try:
            schema = admit(offer, peer.id, peer.may_initialise, self._desk.situation(), limits)
        except Rejected as error:
            self.settle_against(peer, offer, error, "refused", header.transfer)
            return
        self._files += 1
        upload = Upload(
            agent=peer.id,
            transfer=header.transfer,
            offer=msgspec.structs.replace(offer, inline=[], schema_body=b""),
            schema=schema,
            # A name of ours: two updates under one transfer id must not share a file.
            path=self._desk.folder / f"{peer.id}-{self._files}.update",
            key=key,
            frame_limit=limits.frame,
            touched=_now(),
            assembly=Assembly(offer.chunks),
            places=[None] * offer.chunks,
            highest=offer.send,
        )
        if self._must_wait(upload):
            self._desk.receipts.put(peer, upload.wait(PATIENCE))
        elif offer.inline:
            # It may be of this very update, which would be complete twice.
            await self._desk.transfers.forget(peer.id)
            self._desk.hold(offer.base_number)
            await self._finish(Complete(upload.inline(len(data)), data))
        elif await self._desk.transfers.open(peer, upload):
            self._desk.hold(offer.base_number)

    def _refuse_unknown_key(self, peer: Peer, transfer: bytes) -> None:
        self._drop("rejected", peer.id, "unknown-key", "an offer under an epoch key that is not held")
        if _now() - self._unknown_key.get(peer.id, float("-inf")) >= UNKNOWN_KEY_EVERY:
            self._unknown_key[peer.id] = _now()
            self._desk.receipts.put(peer, receipt("refused", transfer=transfer, reason="unknown-key"))

    def answer_known(self, peer: Peer, id: UpdateId, digest: bytes, transfer: bytes = b"") -> bool:
        """Answer about an update that is settled, received, or being checked; False if it is none of that."""
        if (peer.id, id) in self._checking:
            count = self._checking[(peer.id, id)]
            word = receipt("progress", id, digest=digest, transfer=transfer, upto=count, send=ALL_SENT)
        elif (known := self._desk.ledger.outcome(peer.id, id)) is not None:
            word = outcome_receipt(id, known, digest, transfer)
        else:
            return False
        self._desk.receipts.put(peer, word)
        return True

    def answer_transfer(self, peer: Peer, transfer: bytes) -> bool:
        """Answer about the agent's last complete transfer; False if it is another one."""
        last, id, digest = self._last.get(peer.id, (b"", UpdateId(b"", 0), b""))
        return last == transfer and self.answer_known(peer, id, digest, transfer)

    def settle_against(
        self, peer: Peer, offer: Offer, error: Rejected, word: str, transfer: bytes = b""
    ) -> None:
        """Settle an update against its agent, and say so. ``word``: refused or rejected."""
        id = UpdateId(offer.incarnation, offer.sequence)
        type = "refused" if word == "refused" else "rejected"
        outcome = Outcome(type, offer.digest, -1, error.reason, error.detail)
        outcome = self._desk.ledger.settle(peer.id, id, outcome)
        self._desk.settled(outcome)
        self._desk.receipts.put(peer, outcome_receipt(id, outcome, offer.digest, transfer))
        self._desk.events.add("rejected", agent=peer.id, reason=error.reason, detail=error.detail[:300])

    def _must_wait(self, upload: Upload) -> bool:
        """Whether the agent has too many updates waiting, or the spool is full."""
        limits, agent = self._desk.limits, upload.agent
        mine = self._desk.waiting(agent) + sum(name == agent for name, _ in self._checking)
        total = self.spooled + self._desk.transfers.reserved(agent) + upload.size
        return mine >= limits.waiting_updates or total > limits.spool_bytes

    async def _finish(self, complete: Complete) -> None:
        update = complete.update
        self._last[update.agent] = (update.transfer, update.id, update.offer.digest)
        self._checking[(update.agent, update.id)] = update.chunks
        self.spooled += update.spooled
        await self.complete.put(complete)

    def checked(self, update: Update) -> None:
        """The update's check is done, one way or the other."""
        self._checking.pop((update.agent, update.id), None)

    def unspooled(self, update: Update) -> None:
        """The update's file is gone."""
        self.spooled -= update.spooled


def outcome_receipt(id: UpdateId, outcome: Outcome, digest: bytes, transfer: bytes = b"") -> Receipt:
    """Return the receipt of an outcome; a forgotten digest is taken to be the one asked about."""
    return receipt(
        outcome.type,
        id,
        digest=outcome.digest or digest,
        transfer=transfer,
        version=outcome.version,
        reason=outcome.reason,
        detail=outcome.detail[:300],
    )


def _now() -> float:
    return asyncio.get_running_loop().time()
