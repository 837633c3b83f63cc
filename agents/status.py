"""What monitors see of an agent: status and metrics as JSON. Nothing of its data; nothing rests on it."""

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from antiphon.agents.bell import OUTBOX, REPORT, SESSION
from antiphon.agents.line import Line
from antiphon.codecs.errors import TransportError

log = logging.getLogger("antiphon.agents")

LARGEST = 64 << 10
"""Bytes of a status message that is read; ours have 400."""


@dataclass(slots=True)
class Counters:
    """What an agent has done since its process started; sizes in bytes, times in seconds."""

    version_trained: int = -1
    sent: int = 0
    applied: int = 0
    rejected: int = 0
    dropped: int = 0
    bytes_raw: int = 0
    train_seconds: float = 0.0


def status(line_id: str, federation: str, session: str, state: str, now: float, **more: Any) -> bytes:
    """Return a status message; ``more`` says what the agent is at."""
    plain = {
        "state": state,
        "role": "agent",
        "agent": line_id,
        "federation": federation,
        "session": session,
        **more,
        "timestamp": round(now, 3),
    }
    return json.dumps(plain).encode()


def read_status(payload: bytes) -> dict[str, Any]:
    """Return what a status message says; nothing if it is none. Anybody may have written it."""
    try:
        found: Any = json.loads(payload) if len(payload) <= LARGEST else None
    except (ValueError, RecursionError):  # brackets in brackets are no error to the parser, but the end of it
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


class Reporter:
    """Publishes status and metrics when they change, at most every `AgentSettings.report` seconds.

    Args:
        line: For the connection.
        counters: What the metrics say.
        waiting: Returns how many updates wait in the outbox.
        session: Random name of this process, as in the last will.
    """

    def __init__(self, line: Line, counters: Counters, waiting: Callable[[], int], session: str) -> None:
        """Nothing published yet."""
        self._line, self._counters, self._waiting, self._session = line, counters, waiting, session
        self._activity, self._detail = "waiting", ""
        self._published: tuple[object, ...] = ()
        self._metrics: dict[str, float] = {}
        self.sending: Callable[[], bool] = bool
        """Tells whether an update is on its way: so says who delivers."""

    def set(self, activity: str, detail: str = "") -> None:
        """Say what the agent is at: waiting, pulling, training or paused; ``detail`` says why."""
        if (activity, detail) != (self._activity, self._detail):
            self._activity, self._detail = activity, detail
            self._line.bell.ring(REPORT)

    def take(self, payload: bytes) -> None:
        """Something lies on our own status topic; if it is not what we said last, say it again."""
        found = read_status(payload)
        if (found.get("session"), found.get("state")) != (self._session, "online"):
            self._published = ()
            self._line.bell.ring(REPORT)

    async def run(self) -> None:
        """Publish what changes, as long as the agent lives."""
        while True:
            line = self._line
            try:
                changed = line.ready and await self._tell()
            except TransportError as error:
                log.debug("status was not published: %s", error)
                changed = True
            if changed:
                await asyncio.sleep(line.settings.report)
            else:
                await line.bell.wait(topics=REPORT | SESSION | OUTBOX)

    async def _tell(self) -> bool:
        """Publish what has changed of both: numbers must not wait until an activity lasts."""
        told = [await self._tell_status(), await self._tell_metrics()]
        return any(told)

    async def goodbye(self) -> None:
        """Say that the agent leaves on purpose.

        Raises:
            TransportError: The broker does not answer.
        """
        line = self._line
        payload = self._status("offline", self._activity)
        await line.connection.publish(line.topics.status(line.identity.id), payload, retain=True)

    async def _tell_status(self) -> bool:
        line = self._line
        activity = self._activity
        if activity == "waiting" and self.sending():
            activity = "sending"
        wanted = (line.session, activity, self._detail)
        if wanted == self._published:
            return False
        await line.connection.publish(
            line.topics.status(line.identity.id), self._status("online", activity), retain=True
        )
        self._published = wanted
        return True

    async def _tell_metrics(self) -> bool:
        line, counters = self._line, self._counters
        wanted: dict[str, float] = {
            "version_trained": counters.version_trained,
            "updates_sent": counters.sent,
            "updates_applied": counters.applied,
            "updates_rejected": counters.rejected,
            "updates_dropped": counters.dropped,
            "bytes_sent": line.bytes_sent,
            "bytes_raw": counters.bytes_raw,
            "train_seconds": round(counters.train_seconds, 6),
            "outbox": self._waiting(),
        }
        if wanted == self._metrics:
            return False
        self._metrics = wanted
        payload = json.dumps({**wanted, "timestamp": round(line.environment.now(), 3)}).encode()
        await line.connection.publish(line.topics.metrics(line.identity.id), payload, qos=0, retain=True)
        return True

    def _status(self, state: str, activity: str) -> bytes:
        line, identity = self._line, self._line.identity
        more: dict[str, Any] = {"version": self._counters.version_trained, "activity": activity}
        if self._detail:
            more["detail"] = self._detail
        if line.run.strip(b"\0"):
            more["run"] = line.run.hex()
        return status(identity.id, identity.federation, self._session, state, line.environment.now(), **more)
