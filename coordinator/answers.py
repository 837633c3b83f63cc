"""What agents are told about updates that are not under way: being checked, received, settled.

Guaranteed: nothing is said that the ledger does not hold. Until it does, an update is answered like one that
is being checked, whatever is known of it already.
"""

from antiphon.codecs.errors import Rejected
from antiphon.codecs.messages import Offer, Receipt, ReceiptType, UpdateId
from antiphon.coordinator.commits import Commits
from antiphon.coordinator.keys import Peer
from antiphon.coordinator.ledger import Ledger, Outcome
from antiphon.coordinator.ledger.records import Settle
from antiphon.coordinator.receipts import Receipts, receipt
from antiphon.coordinator.reporting import Events
from antiphon.coordinator.spool import Update
from antiphon.coordinator.transfers import MOST_PATIENCE

ALL_SENT = 1 << 53
"""A send number that no agent reaches: whatever was sent is answered for."""


class Answers:
    """Knows what is being checked or written down; asks the ledger for the rest."""

    def __init__(self, ledger: Ledger, commits: Commits, receipts: Receipts, events: Events) -> None:
        """Nothing is being checked."""
        self._ledger, self._commits, self._receipts = ledger, commits, receipts
        self._events = events
        self._checking: dict[str, dict[UpdateId, int]] = {}
        self._last: dict[str, tuple[bytes, UpdateId, bytes]] = {}

    def checking(self, update: Update) -> None:
        """A complete update is being checked, and then written down."""
        self._last[update.agent] = (update.transfer, update.id, update.offer.digest)
        self._check(update.agent, update.id, update.chunks)

    def _check(self, agent: str, id: UpdateId, chunks: int) -> None:
        self._checking.setdefault(agent, {})[id] = chunks

    def checked(self, agent: str, id: UpdateId) -> None:
        """The ledger has what became of an update, or it was given back to its agent."""
        mine = self._checking.get(agent, {})
        mine.pop(id, None)
        if not mine:
            self._checking.pop(agent, None)

    def count(self, agent: str) -> int:
        """How many updates of an agent are being checked."""
        return len(self._checking.get(agent, ()))

    def known(self, peer: Peer, id: UpdateId, digest: bytes, transfer: bytes = b"") -> bool:
        """Answer about an update that is settled, received, or being checked; False if it is none of that."""
        if (count := self._checking.get(peer.id, {}).get(id)) is not None:
            word = receipt("progress", id, digest=digest, transfer=transfer, upto=count, send=ALL_SENT)
        elif (found := self._ledger.outcome(peer.id, id)) is not None:
            word = outcome_receipt(id, found, digest, transfer)
        else:
            return False
        self._receipts.put(peer, word)
        return True

    def transfer(self, peer: Peer, transfer: bytes) -> bool:
        """Answer about the agent's last complete transfer; False if it is another one."""
        last, id, digest = self._last.get(peer.id, (b"", UpdateId(b"", 0), b""))
        return last == transfer and self.known(peer, id, digest, transfer)

    def settle(
        self, peer: Peer, offer: Offer, error: Rejected, type: ReceiptType, transfer: bytes = b""
    ) -> None:
        """Settle an update that never waited against its agent, and say so. ``type``: refused or rejected."""
        id = UpdateId(offer.incarnation, offer.sequence)
        outcome = Outcome(type, offer.digest, -1, error.reason, error.detail)
        self._check(peer.id, id, offer.chunks)

        def done() -> None:
            self.checked(peer.id, id)
            counts = self._ledger.outcome(peer.id, id) or outcome
            self._receipts.put(peer, outcome_receipt(id, counts, offer.digest, transfer))
            self._events.add_rarely("rejected", peer.id, error.reason, error.detail)

        def failed(_: OSError) -> None:
            self.checked(peer.id, id)
            self.wait(peer, id, offer.digest, transfer)

        self._commits.put(Settle(peer.id, id, outcome), done, failed)

    def wait(self, peer: Peer, id: UpdateId, digest: bytes, transfer: bytes) -> None:
        """Give an update back to its agent, which keeps it and offers it again later."""
        word = receipt("wait", id, digest=digest, transfer=transfer, after=MOST_PATIENCE)
        self._receipts.put(peer, word)


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
