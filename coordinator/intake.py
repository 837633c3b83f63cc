"""Frames on ``updates/<client>`` become complete, sealed spool files; what is not as it must be is dropped.

Guaranteed: only an offer that opened creates state; a frame is bound to its topic's client before anything is
opened; nothing that a peer sends raises out of `Intake.take`. Complete updates wait in a bounded queue,
`Intake.complete`, for their check; while it is full, or the ledger is behind, nothing more is taken. Until
the ledger holds what became of an update, it is answered like one that is being checked.
Not done here: windows and chunks (`transfers`), contents (`checking`), what notes ask for (`notes`).
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from antiphon.broker_config.connection import Message
from antiphon.broker_config.environment import Environment
from antiphon.broker_config.topics import COORDINATOR, Topics
from antiphon.codecs import frames, messages, sealing
from antiphon.codecs.errors import MalformedError, PeerError, Rejected
from antiphon.codecs.frames import Frame, Kind
from antiphon.codecs.messages import Note, Offer, UpdateId
from antiphon.codecs.sealing import SymmetricKey
from antiphon.coordinator import uploads
from antiphon.coordinator.admission import Situation, admit
from antiphon.coordinator.answers import Answers
from antiphon.coordinator.commits import Commits
from antiphon.coordinator.epochs import EpochKeys
from antiphon.coordinator.keys import Identity, Peer
from antiphon.coordinator.ledger import Ledger
from antiphon.coordinator.ledger.records import CloseUpload, OpenUpload
from antiphon.coordinator.receipts import Receipts, receipt
from antiphon.coordinator.reporting import Events
from antiphon.coordinator.roster import Roster
from antiphon.coordinator.settings import Limits
from antiphon.coordinator.spool import Update
from antiphon.coordinator.transfers import PATIENCE, Transfers
from antiphon.coordinator.uploads import Upload

UNKNOWN_KEY_EVERY = 1.0
"""Seconds between two answers to an agent whose offers do not name a key that we hold."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What the intake works with, and whom it tells.

    Attributes:
        identity, run, epochs, limits, environment, roster, ledger, commits, receipts, events, transfers,
            answers: See their modules.
        folder: The spool.
        situation: What offers are judged against, now.
        waiting: How many updates of an agent wait to be merged.
        hold: An update with that base was let in: its values must stay.
        note: A note came.
    """

    identity: Identity
    run: bytes
    epochs: EpochKeys
    limits: Limits
    environment: Environment
    folder: Path
    roster: Roster
    ledger: Ledger
    commits: Commits
    receipts: Receipts
    events: Events
    transfers: Transfers
    answers: Answers
    situation: Callable[[], Situation]
    waiting: Callable[[str], int]
    hold: Callable[[int], None]
    note: Callable[[Peer, Note], None]


class Intake:
    """See the module."""

    def __init__(self, desk: Desk) -> None:
        """The spool folder must be there."""
        self._desk = desk
        self._topics = Topics(desk.identity.prefix)
        self._unknown_key: dict[str, float] = {}
        self._files = 0
        self._no_file = desk.folder / "inline"  # of all updates that came inside their offers
        self._restored: list[Update] = []
        self.complete: asyncio.Queue[Update] = asyncio.Queue(desk.limits.checks)
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
            await self._desk.commits.room()
            frame = frames.read(message.payload, self._desk.limits.frame)
            self._check_header(frame, peer)
            match frame.header.kind:
                case Kind.OFFER:
                    await self._offer(frame, message.payload, peer)
                case Kind.UPDATE_CHUNK:
                    update = await self._desk.transfers.chunk(frame, message.payload, peer)
                    if update is not None:
                        await self._finish(update)
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
            self._desk.events.add_seldom("joined", peer.id)

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
        key = self._key(frame, peer)
        if key is None:
            self._refuse_unknown_key(peer, header.transfer)
            return
        offer = messages.decode(frames.open_frame(frame, key), Offer, limits.offer)
        self._heard(peer, b"")
        id = UpdateId(offer.incarnation, offer.sequence)
        if self._desk.answers.known(peer, id, offer.digest, header.transfer):
            return
        # What was let in once is not judged again: it would be settled while it is under way.
        if self._desk.transfers.go_on(peer, header.transfer, key, offer.send):
            return
        try:
            schema = admit(offer, peer.id, peer.may_initialise, self._desk.situation(), limits)
        except Rejected as error:
            if self._desk.transfers.transfer_of(peer.id, id) is not None:
                await self._desk.transfers.forget(peer.id)
            self._desk.answers.settle(peer, offer, error, "refused", header.transfer)
            return
        upload = uploads.begin(
            peer.id,
            header.transfer,
            msgspec.structs.replace(offer, inline=[], schema_body=b""),
            schema,
            self._no_file if offer.inline else self._new_path(peer.id),
            key,
            limits.frame,
            _now(),
        )
        if self._must_wait(upload):
            self._desk.receipts.put(peer, upload.wait(PATIENCE))
        elif offer.inline:
            # It may be of this very update, which would be complete twice.
            await self._desk.transfers.forget(peer.id)
            self._desk.hold(offer.base_number)
            await self._finish(upload.inline(data, offer.inline))
        else:
            await self._desk.transfers.open(peer, upload)

    def _key(self, frame: Frame, peer: Peer) -> SymmetricKey | None:
        """Return what opens an offer; None if its epoch is gone, unless it is of an upload under way."""
        header = frame.header
        epoch = self._desk.epochs.get(header.key_id)
        if epoch is None:
            return self._desk.transfers.key_of(peer.id, header.transfer)
        return sealing.update_key(peer.pair, header.transfer, epoch, header.one_time)

    def _new_path(self, agent: str) -> Path:
        """A name of ours, never used twice: two updates under one transfer id must not share a file."""
        self._files += 1
        return self._desk.folder / f"{agent}-{self._desk.ledger.term}-{self._files}.update"

    def _refuse_unknown_key(self, peer: Peer, transfer: bytes) -> None:
        self._drop("rejected", peer.id, "unknown-key", "an offer under an epoch key that is not held")
        if _now() - self._unknown_key.get(peer.id, float("-inf")) >= UNKNOWN_KEY_EVERY:
            self._unknown_key[peer.id] = _now()
            self._desk.receipts.put(peer, receipt("refused", transfer=transfer, reason="unknown-key"))

    def _must_wait(self, upload: Upload) -> bool:
        """Whether the agent has too many updates waiting, or the spool is full."""
        limits, agent = self._desk.limits, upload.agent
        mine = self._desk.waiting(agent) + self._desk.answers.count(agent)
        total = self.spooled + self._desk.transfers.reserved(agent) + upload.size
        return mine >= limits.waiting_updates or total > limits.spool_bytes

    async def restore(self, opened: OpenUpload) -> None:
        """Go on with an upload of an earlier start: with what of it is on disk. Before anything is taken."""
        upload = uploads.begin(
            opened.agent,
            opened.transfer,
            opened.offer,
            opened.schema,
            self._desk.folder / opened.file,
            opened.key,
            opened.frame_limit,
            _now(),
        )
        try:
            await self._desk.environment.run(uploads.restore, self._desk.environment.disk, upload)
        except OSError as error:
            # Nothing was promised yet: its agent has it still, and sends it anew.
            self._desk.events.add_rarely("disk", upload.agent, "disk", f"{upload.path}: {error.strerror}")
            self._desk.commits.put(CloseUpload(upload.path.name))
            return
        if (update := self._desk.transfers.restore(upload)) is not None:
            self._arrived(update)  # at once: its agent must not begin it anew while it waits for its check
            self._restored.append(update)

    async def finish_restored(self) -> None:
        """Check what was complete, but not received, when the last start ended. Ends when all is queued."""
        while self._restored:
            await self.complete.put(self._restored.pop(0))

    async def _finish(self, update: Update) -> None:
        self._arrived(update)
        await self.complete.put(update)

    def _arrived(self, update: Update) -> None:
        self._desk.answers.checking(update)
        self.spooled += update.spooled

    def concluded(self, update: Update) -> None:
        """What became of a complete update is in the ledger, or it was given back to its agent."""
        self._desk.answers.checked(update.agent, update.id)
        self.complete.task_done()

    def waits(self, update: Update) -> None:
        """An update of an earlier start waits to be merged: it takes room, and its base must stay."""
        self._desk.hold(update.offer.base_number)
        self.spooled += update.spooled

    def unspooled(self, update: Update) -> None:
        """The update's file is gone."""
        self.spooled -= update.spooled


def _now() -> float:
    return asyncio.get_running_loop().time()
