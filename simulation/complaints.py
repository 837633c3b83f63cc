"""What the parties of a run complained about, in a few lines: a thousand agents may say the same."""

import logging
from collections.abc import Generator, Sequence
from contextlib import contextmanager

KINDS = 100
"""Different complaints that are told apart; more are counted with the last."""

LONGEST = 300
"""Letters of an example."""


class Complaints(logging.Handler):
    """Collects the services' errors by their kind: how often, and the first in words."""

    def __init__(self) -> None:
        """Nothing heard yet."""
        super().__init__(logging.ERROR)
        self._kinds: dict[str, tuple[int, str]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Count one."""
        kind = str(record.msg)
        if kind not in self._kinds and len(self._kinds) >= KINDS:
            kind = next(reversed(self._kinds))
        count, example = self._kinds.get(kind, (0, record.getMessage()[:LONGEST]))
        self._kinds[kind] = count + 1, example

    def lines(self, most: int = 5) -> Sequence[str]:
        """Return the most frequent kinds in words."""
        often = sorted(self._kinds.values(), key=lambda kind: -kind[0])
        said = [f"{count} x {example}" for count, example in often[:most]]
        rest = len(often) - most
        return [*said, f"and {rest} other kinds"] if rest > 0 else said


@contextmanager
def listening(logger: str = "antiphon") -> Generator[Complaints]:
    """Collect what is logged under a name inside the block; nothing of it is printed there."""
    heard, log = Complaints(), logging.getLogger(logger)
    log.addHandler(heard)
    try:
        yield heard
    finally:
        log.removeHandler(heard)
