"""Which chunk of a transfer may go next: pure bookkeeping, no clock, no IO.

Every chunk frame and every probe carries a send number that grows. The coordinator's receipts echo the
highest one it has seen, with what it misses. A chunk goes again only if it is missing *and* its last send
number was seen, or overtaken: what may still be under way is never repeated. Resending whatever is missing at
each receipt costs 10.5 times the bytes at 20 % loss, this rule 1.26 times.
"""

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sent:
    """One chunk to send now: its index and its send number."""

    index: int
    send: int


class Sender:
    """The window of one transfer.

    Args:
        sizes: Bytes of each chunk's sealed frame, at most; the window counts them.
        sent: Send numbers up to this one may have been used by an earlier process: any chunk may be there
            already, and none goes before a receipt says that it is missing.
    """

    def __init__(self, sizes: Sequence[int], sent: int = 0) -> None:
        """Nothing is granted yet."""
        self._sizes = tuple(sizes)
        self._last = [sent] * len(sizes)  # send number of each chunk's last frame; 0: not sent
        self._arrived = bytearray(len(sizes))
        # A heap: lowest first, so that `upto` moves on.
        self._ready = [] if sent else list(range(len(sizes)))
        self._queued = bytearray((b"\0" if sent else b"\1") * len(sizes))
        self._unanswered: deque[tuple[int, int]] = deque()  # (send number, bytes), oldest first
        self._bytes = 0
        self._window = 0
        self.send = sent
        """The last send number used."""
        self.seen = 0
        """The highest send number that the coordinator has echoed."""

    @property
    def complete(self) -> bool:
        """Whether every chunk is known to have arrived."""
        return 0 not in self._arrived

    @property
    def idle(self) -> bool:
        """Whether nothing may be sent before another receipt."""
        return not self._fits()

    @property
    def unanswered(self) -> int:
        """Bytes sent with numbers that no receipt has echoed yet."""
        return self._bytes

    def probe(self) -> int:
        """Return the send number of a probe that goes out now."""
        self.send += 1
        return self.send

    def take(self) -> Sent | None:
        """Return the next chunk to send, counted as sent; None while the window is full or nothing is due."""
        if not self._fits():
            return None
        index = heapq.heappop(self._ready)
        self._queued[index] = 0
        self.send += 1
        self._last[index] = self.send
        self._unanswered.append((self.send, self._sizes[index]))
        self._bytes += self._sizes[index]
        return Sent(index, self.send)

    def answered(self, send: int, missing: Sequence[Sequence[int]], upto: int, window: int) -> None:
        """Take a ``granted`` or ``progress`` receipt in.

        Args:
            send: The highest send number that the coordinator had seen.
            missing: Runs of [first, count] of chunks that it lacks.
            upto: Below this index ``missing`` is complete.
            window: Bytes that may be unanswered.

        What no honest receipt would hold is harmless: numbers never used, runs outside the transfer.
        """
        self._window = window
        self.seen = max(self.seen, min(send, self.send))
        while self._unanswered and self._unanswered[0][0] <= self.seen:
            self._bytes -= self._unanswered.popleft()[1]
        here = 0
        for first, count in missing:
            self._mark_arrived(here, min(first, upto))
            for index in range(max(first, here), min(first + count, len(self._sizes))):
                if 0 < self._last[index] <= self.seen:
                    self._queue(index)
            here = max(here, first + count)
        self._mark_arrived(here, upto)

    def _fits(self) -> bool:
        while self._ready and self._arrived[self._ready[0]]:
            self._queued[heapq.heappop(self._ready)] = 0
        if not self._ready or self._window <= 0:
            return False
        # A window smaller than one chunk would stop the transfer: one may always be under way.
        return not self._bytes or self._bytes + self._sizes[self._ready[0]] <= self._window

    def _queue(self, index: int) -> None:
        self._arrived[index] = 0
        if not self._queued[index]:
            self._queued[index] = 1
            heapq.heappush(self._ready, index)

    def _mark_arrived(self, start: int, stop: int) -> None:
        for index in range(max(start, 0), min(stop, len(self._sizes))):
            self._arrived[index] = 1
