"""What a broker in memory does wrong, decided by a seed: messages lost, doubled, overtaken, late, refused.

A fault hits one message on its way from the broker to one subscriber, after the publisher has its PUBACK:
that is how brokers lose messages (queue limits, QoS 0, a restart). What is retained stays retained.
Guaranteed: each client draws from a generator of its own, the same number of draws for each message, so that
what one client sends changes nothing for the others. Lines that break are not here, see `MemoryBroker`.
"""

import zlib
from dataclasses import dataclass, fields

import numpy as np

from antiphon.codecs.errors import ConfigError

PROMPT = (0.0,)
"""One copy, not held back."""


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong; nothing by default.

    Attributes:
        drop: Share of messages that never arrive.
        duplicate: Share that arrive a second time, later.
        reorder: Share that are held back, so that later ones overtake them.
        held: Mean seconds (exponential) that reordered messages and second copies are held back.
        delay: Mean of the seconds (exponential) that each message takes longer; the order stays.
        refuse: Share of PUBLISH packets that the broker refuses ("quota exceeded"); a 3.1.1 broker says yes
            and throws them away.

    Raises:
        ConfigError: A share is not within 0 and 1, or a time is negative.
    """

    drop: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    held: float = 0.5
    delay: float = 0.0
    refuse: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no probability."""
        for each in fields(self):
            value = getattr(self, each.name)
            if not 0 <= value <= (np.inf if each.name in ("held", "delay") else 1):
                raise ConfigError(f"{each.name} is {value}: shares are from 0 to 1, seconds from 0")

    @property
    def any(self) -> bool:
        """Whether anything goes wrong with messages."""
        return self is not NONE and self != NONE


NONE = Faults()


@dataclass(frozen=True, slots=True)
class Fate:
    """What happens to one message.

    Attributes:
        copies: For each copy, the seconds for which it is held back; none: the message is lost.
        delay: Seconds that it takes longer in its place of the order.
    """

    copies: tuple[float, ...] = PROMPT
    delay: float = 0.0


class Dice:
    """One client's chances."""

    def __init__(self, seed: int, client_id: str) -> None:
        """Every draw is decided by these two."""
        sequence = np.random.SeedSequence([seed, zlib.crc32(client_id.encode())])
        down, up, jitter = sequence.spawn(3)
        self._down, self._up = np.random.default_rng(down), np.random.default_rng(up)
        self.jitter = np.random.default_rng(jitter)
        """For reconnecting."""

    def fate(self, faults: Faults) -> Fate:
        """Return what happens to the next message to this client."""
        lost, again, late = self._down.random(3).tolist()
        first, second, delay = self._down.exponential(1.0, 3).tolist()
        if lost < faults.drop:
            return Fate(())
        copies = (first * faults.held,) if late < faults.reorder else PROMPT
        if again < faults.duplicate:
            copies = (*copies, second * faults.held)
        return Fate(copies, delay * faults.delay)

    def refuses(self, faults: Faults) -> bool:
        """Return whether the next message of this client is refused."""
        return self._up.random() < faults.refuse
