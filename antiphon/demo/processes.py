"""The demo's child processes: started as commands of ours, logged, and ended whatever happens.

They get a session of their own, so that Ctrl-C reaches the demo alone, which then ends them in order; and the
kernel ends them when the demo itself is killed (`antiphon.demo.child`).
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from antiphon.codecs.errors import AntiphonError, ConfigError
from antiphon.demo.defaults import ONE_THREAD

TAIL = 15
"""Lines of a log that an error shows."""

COMMAND = (sys.executable, "-m", "antiphon.demo.child")
"""Before the words of every child."""


class ChildFailed(AntiphonError):
    """A process of the demo ended by itself although nobody asked it to."""

    def __init__(self, name: str, code: int, log: Path) -> None:
        """``code``: its exit code, negative for a signal; ``log``: what it said."""
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        super().__init__(f"the process {name!r} ended {how}; the end of {log}:\n{tail(log)}")
        self.name, self.code = name, code


def tail(log: Path, lines: int = TAIL) -> str:
    """Return the last lines of a log, indented; a word when it is empty."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return "\n".join("    " + line for line in text.splitlines()[-lines:]) or "    (it said nothing)"


class Children:
    """Processes by name. Leaving the block ends them all."""

    def __init__(self, logs: Path) -> None:
        """``logs``: the folder for ``<name>.log``."""
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        """Let SIGTERM and SIGHUP leave the block like Ctrl-C does."""
        self._logs.mkdir(parents=True, exist_ok=True)
        self._handlers = [(s, signal.signal(s, _leave)) for s in (signal.SIGTERM, signal.SIGHUP)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End what still runs; a second Ctrl-C does not leave processes behind."""
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self.end(list(self._running))
        finally:
            signal.signal(signal.SIGINT, before)
            for number, handler in self._handlers:
                signal.signal(number, handler)

    def start(self, name: str, *arguments: str, folder: Path) -> None:
        """Start ``antiphon ARGUMENTS...`` in ``folder``; its output is added to its log."""
        with (self._logs / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [*COMMAND, *arguments],
                cwd=folder,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def runs(self, name: str) -> bool:
        """Whether the process is there."""
        child = self._running.get(name)
        return child is not None and child.poll() is None

    def kill(self, name: str) -> None:
        """``kill -9``: no goodbye, nothing written."""
        child = self._running.pop(name)
        child.kill()
        child.wait()

    def check(self, may_end: Iterable[str] = ()) -> None:
        """Notice what ended by itself.

        Args:
            may_end: Processes for which exit code 0 is fine.

        Raises:
            ChildFailed: One ended that should not have.
        """
        fine = set(may_end)
        for name, child in self._running.items():
            code = child.poll()
            if code is not None and (code != 0 or name not in fine):
                raise ChildFailed(name, code, self._logs / f"{name}.log")

    def end(self, names: Iterable[str], patience: float = 5.0) -> None:
        """Send SIGTERM to all of them, and SIGKILL to what is still there after ``patience`` seconds."""
        children = [child for name in names if (child := self._running.pop(name, None)) is not None]
        for child in children:
            if child.poll() is None:
                child.terminate()
        until = time.monotonic() + patience
        for child in children:
            try:
                child.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _environment() -> dict[str, str]:
    return {**os.environ, **ONE_THREAD, "PYTHONUNBUFFERED": "1"}


def free_port(wanted: int = 0) -> int:
    """Return ``wanted`` if it is free on this machine's loopback, any free one for 0.

    Raises:
        ConfigError: Something listens there already.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            raise ConfigError(f"port {wanted} is taken: leave --port out and a free one is chosen") from None
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody takes connections at this port of the loopback."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.5):
            return True
    except OSError:
        return False
