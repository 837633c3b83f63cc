"""How long to wait: smoothed round trips and jittered, doubling waits. Pure: chance comes as an argument."""

import numpy as np


def backoff(first: float, longest: float, tries: int, rng: np.random.Generator) -> float:
    """Return how many seconds to wait before the next try.

    Args:
        first: The wait after the first try, and the least of every later one.
        longest: No wait is longer, unless ``first`` is.
        tries: Tries without an answer after the first.
        rng: Draws between ``first`` and the bound that doubles, so that a crowd spreads out.
    """
    bound = min(longest, first * 2.0 ** min(tries, 30))
    return first + float(rng.random()) * max(0.0, bound - first)


class RoundTrip:
    """Smoothed time between something sent and the coordinator's answer to it (RFC 6298, its 1/8 gain)."""

    def __init__(self, least_rto: float = 2.0, least_silence: float = 3.0) -> None:
        """No sample yet: both waits are at their least."""
        self.smoothed = 0.0
        self._least_rto = least_rto
        self._least_silence = least_silence

    def sample(self, seconds: float) -> None:
        """Take one measured round trip in; never one of something that was sent twice (Karn's rule)."""
        seconds = max(0.0, seconds)
        self.smoothed += (seconds - self.smoothed) / 8 if self.smoothed else seconds

    @property
    def rto(self) -> float:
        """Seconds without an answer until asking again."""
        return max(self._least_rto, 4 * self.smoothed)

    @property
    def silence(self) -> float:
        """Seconds without a message on a topic, after SUBACK, until it counts as absent."""
        return max(self._least_silence, 8 * self.smoothed)
