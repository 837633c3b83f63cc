"""Lines for people: when those of a kind follow each other fast, one a second, and how many more there were.

A small model takes milliseconds a version; without this a screen would show hundreds of lines a second. The
last line of a kind is always told, a second late at most.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import TextIO

EVERY = 1.0
"""Seconds for which lines of a kind are held back. One that comes half of that after the last is not fast."""


class Condensed:
    """Writes lines, from any thread."""

    def __init__(self, write: Callable[[str], object], every: float = EVERY) -> None:
        """Nothing held back yet."""
        self._write, self._every = write, every
        self._told: dict[str, float] = {}  # when a kind was last written
        self._held: dict[str, tuple[str, int]] = {}  # its newest line, and how many were left out before it
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()

    def say(self, kind: str, line: str) -> None:
        """Write the line, at once if ``kind`` is empty or was not written just now."""
        with self._lock:
            now = time.monotonic()
            if kind in self._held:
                _, left_out = self._held.pop(kind)
                self._held[kind] = (line, left_out + 1)
            elif kind and now - self._told.get(kind, float("-inf")) < self._every / 2:
                self._held[kind] = (line, 0)
                self._start()
            else:
                self._release()  # what came before it is told before it
                self._told[kind] = now
                self._write(line)

    def flush(self) -> None:
        """Write what is held back."""
        with self._lock:
            self._release()

    def _start(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(self._every, self.flush)
            self._timer.daemon = True  # nobody waits for it at the end: `flush` is called there
            self._timer.start()

    def _release(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        held, self._held = self._held, {}
        now = time.monotonic()
        for kind, (line, left_out) in held.items():
            self._told[kind] = now
            self._write(f"{line} (and {left_out} more like it)" if left_out else line)


class CondensedLog(logging.Handler):
    """A log handler for which informative records with the same words, but for their numbers, are a kind."""

    def __init__(self, stream: TextIO) -> None:
        """Write to ``stream``."""
        super().__init__()
        self._lines = Condensed(lambda line: print(line, file=stream, flush=True))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or hold it back; warnings and errors never wait."""
        try:
            self._lines.say(str(record.msg) if record.levelno == logging.INFO else "", self.format(record))
        except (OSError, ValueError, TypeError):  # no screen any more, or words that do not fit their numbers
            self.handleError(record)

    def flush(self) -> None:
        """Write what is held back; logging calls it when the process ends."""
        self._lines.flush()
