"""Who may send how much: windows within one total, shared in the order of asking.

Guaranteed: the windows of all holders together never exceed the total bytes and the total messages;
    everyone who waits is served first come first served; from its next answer on a holder keeps at most its
    fair share while others wait. Not done here: time runs outside (``now`` is an argument), and nothing is
    sent.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Holding:
    """What one transfer holds, or waits for.

    Attributes:
        frame: Bytes of its largest sealed frame: the smallest useful window.
        size: Bytes of all its sealed frames: the largest useful window.
        frames: How many frames that is.
        window: Bytes that may be unanswered.
        messages: Frames that may be unanswered.
        touched: When its last frame came (seconds, monotonic).
    """

    frame: int
    size: int
    frames: int
    window: int = 0
    messages: int = 0
    touched: float = 0.0


class Grants:
    """The windows of all transfers. A transfer is named by any bytes."""

    def __init__(self, total_bytes: int, total_messages: int, idle: float) -> None:
        """``idle``: seconds after which an untouched holding lapses."""
        self._bytes, self._messages, self._idle = total_bytes, total_messages, idle
        self._holdings: dict[bytes, Holding] = {}
        self._waiting: OrderedDict[bytes, Holding] = OrderedDict()

    @property
    def granted_bytes(self) -> int:
        """Bytes of all windows together."""
        return sum(holding.window for holding in self._holdings.values())

    @property
    def granted_messages(self) -> int:
        """Messages of all windows together."""
        return sum(holding.messages for holding in self._holdings.values())

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def window(self, transfer: bytes) -> int:
        """Bytes that the transfer may have unanswered; 0 if it holds nothing."""
        holding = self._holdings.get(transfer)
        return holding.window if holding else 0

    def ask(self, transfer: bytes, frame: int, size: int, frames: int, now: float) -> None:
        """Queue up; `serve` says when it is granted. Asking again keeps the place.

        Args:
            transfer: Whose.
            frame: Bytes of its largest sealed frame.
            size: Bytes of all its sealed frames.
            frames: How many they are, at least 1.
            now: Seconds, monotonic.
        """
        self._holdings.pop(transfer, None)
        self._waiting[transfer] = Holding(min(frame, size), size, frames, touched=now)

    def serve(self, now: float) -> list[tuple[bytes, int]]:
        """Give what is free to those who wait; returns (transfer, window in bytes) of each who got some."""
        served: list[tuple[bytes, int]] = []
        while self._waiting:
            name, asked = next(iter(self._waiting.items()))
            held = self._measure(replace(asked, touched=now), len(self._waiting))
            if held is None:
                break
            del self._waiting[name]
            self._holdings[name] = held
            served.append((name, held.window))
        return served

    def renew(self, transfer: bytes, now: float) -> int:
        """A frame of the transfer came and is answered: measure its window anew; 0 if it holds nothing."""
        holding = self._holdings.pop(transfer, None)
        if holding is None:
            return 0
        held = self._measure(replace(holding, touched=now), len(self._waiting) + 1)
        assert held is not None  # what it gave back just now is at least its largest frame
        self._holdings[transfer] = held
        return held.window

    def touch(self, transfer: bytes, now: float) -> None:
        """A frame of the transfer came."""
        if transfer in self._holdings:
            self._holdings[transfer] = replace(self._holdings[transfer], touched=now)

    def release(self, transfer: bytes) -> None:
        """The transfer needs nothing any more."""
        self._holdings.pop(transfer, None)
        self._waiting.pop(transfer, None)

    def lapse(self, now: float) -> list[bytes]:
        """Take back what is not used, forget who waits without asking again; returns who lost a window."""
        gone = [name for name, held in self._holdings.items() if now - held.touched >= self._idle]
        for name in gone:
            del self._holdings[name]
        late = [name for name, held in self._waiting.items() if now - held.touched >= 4 * self._idle]
        for name in late:
            del self._waiting[name]
        return gone

    def position(self, transfer: bytes) -> int:
        """How many are served before this one."""
        return next((n for n, name in enumerate(self._waiting) if name == transfer), len(self._waiting))

    def _measure(self, asked: Holding, claims: int) -> Holding | None:
        """Return the holding with a window, or None if not even its largest frame is free.

        ``asked`` itself is not among the holdings; those and ``claims`` more have a claim to a share.
        """
        free_bytes = self._bytes - self.granted_bytes
        free_messages = self._messages - self.granted_messages
        if free_bytes < asked.frame or free_messages < 1:
            return None
        claims += len(self._holdings)
        messages = max(1, min(asked.frames, free_messages, self._messages // claims))
        by_messages = asked.size * messages // asked.frames
        window = max(asked.frame, min(asked.size, free_bytes, self._bytes // claims, by_messages))
        return replace(asked, window=window, messages=messages)
