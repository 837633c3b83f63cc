"""What agents' notes ask for. Every answer is idempotent and bounded: a replayed note does no harm."""

from collections.abc import Callable
from dataclasses import dataclass

from antiphon.codecs.messages import Note, UpdateId
from antiphon.coordinator.answers import Answers
from antiphon.coordinator.broadcast import Broadcast
from antiphon.coordinator.keys import Peer
from antiphon.coordinator.receipts import Receipts, receipt
from antiphon.coordinator.reporting import Events
from antiphon.coordinator.transfers import Transfers

MOST_ASKED = 64
"""Updates that one `ask` may name."""

MOST_ABSENT = 256
"""Chunks and pages that one `absent` may name."""


@dataclass(frozen=True, slots=True)
class Notes:
    """Acts on notes; ``send_keys(peer)`` publishes the agent's group keys again, not too often."""

    receipts: Receipts
    transfers: Transfers
    answers: Answers
    broadcast: Broadcast
    events: Events
    send_keys: Callable[[Peer], None]

    def take(self, peer: Peer, note: Note) -> None:
        """Do what a note asks for."""
        match note.type:
            case "hello":
                self.receipts.put(peer, receipt("hello"))
            case "ask":
                for asked in note.updates[:MOST_ASKED]:
                    id = UpdateId(asked.incarnation, asked.sequence)
                    self._outcome(peer, id, asked.digest)
            case "probe":
                if not self.transfers.answer(peer, note.transfer, note.send):
                    self._unknown_transfer(peer, note.transfer)
            case "absent":
                numbers = [*note.pages[:MOST_ABSENT]]
                more = note.chunks[: MOST_ABSENT - len(numbers)]
                self.broadcast.absent(note.transfer, more, numbers)
            case "pulling":
                self.broadcast.slot_store.pin(note.transfer, peer.id)
            case "pin":
                self.broadcast.slot_store.wish(note.transfer, peer.id)
            case "need-key":
                self.send_keys(peer)
            case "frozen":
                detail = f"sees no version after {note.number} of term {note.term}"
                self.events.add_rarely("frozen", peer.id, "frozen", detail)
                self.broadcast.absent(b"")

    def _outcome(self, peer: Peer, id: UpdateId, digest: bytes) -> None:
        if self.answers.known(peer, id, digest):
            return
        transfer = self.transfers.transfer_of(peer.id, id)
        if transfer is None or not self.transfers.answer(peer, transfer, 0):
            self.receipts.put(peer, receipt("wait", id, digest=digest))

    def _unknown_transfer(self, peer: Peer, transfer: bytes) -> None:
        if not self.answers.transfer(peer, transfer):
            self.receipts.put(peer, receipt("wait", transfer=transfer))
