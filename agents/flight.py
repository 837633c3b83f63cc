"""One transfer's way from offer to `received`: what to do next, as a pure function of receipts and time.

Offer until granted; send what the window takes; ask with a probe when an answer is overdue. Data is never
sent on a timer. This module knows no clock, key or connection: `antiphon.agents.delivery` carries its
decisions out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from antiphon.agents.pace import RoundTrip, backoff
from antiphon.agents.sender import Sender, Sent
from antiphon.codecs.messages import Receipt

PROBES = 3
"""Probes in a row without an answer until the transfer is offered again: the coordinator may not know it."""


@dataclass(frozen=True, slots=True)
class OfferNow:
    """Send the offer; ``send`` is 0 for the first time and a send number after that."""

    send: int


@dataclass(frozen=True, slots=True)
class ProbeNow:
    """Send a probe with this send number."""

    send: int


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Nothing to do before ``until`` (loop time, seconds), unless something happens."""

    until: float


Action = OfferNow | ProbeNow | Sent | WaitUntil


class Flight:
    """The state of one transfer.

    Args:
        sizes: Bytes of each chunk's sealed frame; empty for an update that travels inside its offer.
        trip: The agent's smoothed round trip, shared by its transfers.
        rng: Jitter.
        longest: Seconds between two tries, at most.
        now: Loop time; the first offer is due at once.
        sent: Send numbers up to this one may have been used, by a process that offered the transfer before.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        trip: RoundTrip,
        rng: np.random.Generator,
        longest: float,
        now: float,
        sent: int = 0,
    ) -> None:
        """Nothing is offered yet, in this process."""
        self.sender = Sender(sizes, sent)
        self.granted = False
        self.longest = longest
        self._trip, self._rng = trip, rng
        self._due = now
        self._tries = 0
        self._offered, self._waited = sent > 0, False
        self._sent_at: dict[int, float] = {}  # send number -> when; 0 is the offer

    def decide(self, now: float, *, busy: bool = False) -> Action:
        """Return what to do at ``now``; a chunk or probe in the answer counts as sent.

        Args:
            now: Loop time.
            busy: Chunks are still on their way to the broker. A probe would overtake them, and what it
                overtakes counts as lost: so there is none before they have left.
        """
        if self.granted and (sent := self.sender.take()) is not None:
            self._sent_at[sent.send] = now
            return sent
        if now < self._due or (busy and self.granted):
            return WaitUntil(max(self._due, now + 1.0) if busy else self._due)
        if self.granted and self._tries % (PROBES + 1) < PROBES:
            self._again(now)
            send = self.sender.probe()
            self._sent_at[send] = now
            return ProbeNow(send)
        return self._offer(now)

    def left(self, now: float) -> None:
        """Take note that a chunk's frame has left this host: an answer is due a round trip from now."""
        if self.granted:
            self._due = max(self._due, now + self._trip.rto)

    def interrupted(self, at: float) -> None:
        """The line or the coordinator's life ended: offer again at ``at``; a grant must be given anew."""
        self.granted = False
        self._tries = 0
        self._due = at
        self._sent_at.clear()

    def hurry(self, now: float) -> None:
        """The coordinator seems to be back: do not sit out a long wait."""
        self._tries = 0
        self._due = min(self._due, now)

    def answered(self, receipt: Receipt, now: float) -> None:
        """Take a receipt of this transfer in: ``granted``, ``progress`` or ``wait``."""
        self._measure(receipt, now)
        self._tries = 0
        if receipt.type == "wait":
            # The first wait may be over at once (offer again, I know nothing of it): not one after the other.
            least = self._trip.rto if self._waited else 0.0
            self.granted, self._waited = False, True
            self._due = now + max(least, receipt.after)
            return
        self._waited = False
        self.granted = receipt.window > 0 or self.granted
        self.sender.answered(receipt.send, receipt.missing, receipt.upto, receipt.window)
        self._due = now + self._trip.rto

    def _offer(self, now: float) -> OfferNow:
        # A repeated offer carries a send number: its answer then says what of the frames before it is lost.
        send = self.sender.probe() if self._offered else 0
        self._sent_at.pop(0, None)
        if not self._tries and not self.granted:
            self._sent_at[0] = now
        self._offered = True
        self._again(now)
        return OfferNow(send)

    def ended(self, now: float) -> None:
        """Something final was said; for an update that travels inside its offer it is the first answer."""
        started = self._sent_at.pop(0, None)
        if started is not None:
            self._trip.sample(now - started)

    def _again(self, now: float) -> None:
        self._due = now + backoff(self._trip.rto, self.longest, self._tries, self._rng)
        self._tries += 1

    def _measure(self, receipt: Receipt, now: float) -> None:
        number = receipt.send if receipt.type == "progress" else 0
        started = self._sent_at.pop(number, None)
        if started is not None:
            self._trip.sample(now - started)
        for old in [n for n in self._sent_at if 0 < n < number]:
            del self._sent_at[old]
