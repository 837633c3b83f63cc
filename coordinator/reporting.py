"""What people see: status, metrics and events as JSON. Hints only; no decision rests on them.

Events go out in order, and to ``events.jsonl``; when nobody takes them fast enough the oldest are dropped and
counted. What peers can cause at will (dropped frames, refusals, coming and going) makes at most one event per
sender and reason in `Limits.event_rate` seconds, so that a flood does not crowd out what matters.
"""

import asyncio
import json
from collections import OrderedDict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from antiphon.broker_config.connection import Connection
from antiphon.broker_config.environment import Environment
from antiphon.broker_config.topics import COORDINATOR, Topics
from antiphon.codecs.errors import TransportError
from antiphon.coordinator.settings import Limits

QUEUE = 2000
"""Events that wait for the line and the disk."""

GATHERED = 0.1
"""Seconds for which events wait for others, to be written with them."""

KEPT = 512
"""(event, sender, reason) whose last time is remembered."""

_COMPACT = json.JSONEncoder(separators=(",", ":"))


def to_json(values: dict[str, Any]) -> bytes:
    """Return compact JSON in ASCII, whatever is in a text; digests and ids are hex by whoever calls."""
    return _COMPACT.encode(values).encode()


def status(state: str, federation: str, run: bytes, session: str, now: float, **more: Any) -> bytes:
    """Return the coordinator's status message; ``more``: term, version, digest."""
    values = {"state": state, "role": "coordinator", "federation": federation, "run": run.hex()}
    return to_json({**values, **more, "session": session, "timestamp": round(now, 3)})


class Events:
    """Collects events, and sends and writes them in the background."""

    def __init__(
        self, folder: Path, topics: Topics, connection: Connection, environment: Environment, limits: Limits
    ) -> None:
        """``folder``: the state folder."""
        self._path = folder / "events.jsonl"
        self._topic = topics.events
        self._connection, self._environment, self._limits = connection, environment, limits
        self._queue: deque[bytes] = deque(maxlen=QUEUE)
        self._some = asyncio.Event()
        self._last: OrderedDict[tuple[str, str, str], float] = OrderedDict()
        self._listeners: list[Callable[[dict[str, Any]], None]] = []
        self._size: int | None = None
        self.dropped = 0

    def listen(self, listener: Callable[[dict[str, Any]], None]) -> None:
        """Call ``listener`` with every event at once, for logs."""
        self._listeners.append(listener)

    def add(self, event: str, **values: Any) -> None:
        """Something happened. Empty values are left out."""
        kept = {key: value for key, value in values.items() if value not in ("", None)}
        record = {"event": event, "timestamp": round(self._environment.now(), 3), **kept}
        self.dropped += len(self._queue) == QUEUE
        self._queue.append(to_json(record))
        self._some.set()
        for listener in self._listeners:
            listener(record)

    def add_rarely(self, event: str, agent: str, reason: str, detail: str) -> None:
        """Something happened that peers can cause at will."""
        self.add_seldom(event, agent, reason=reason, detail=detail[:300])

    def add_seldom(self, event: str, agent: str, **values: Any) -> None:
        """Something happened that an agent can cause at will; ``values`` are as in `add`."""
        key, now = (event, agent, str(values.get("reason"))), asyncio.get_running_loop().time()
        if now - self._last.get(key, float("-inf")) < self._limits.event_rate:
            return
        self._last[key] = now
        self._last.move_to_end(key)
        while len(self._last) > KEPT:
            self._last.popitem(last=False)
        self.add(event, agent=agent, **values)

    async def run(self) -> None:
        """Send and write, for ever."""
        while True:
            await self._some.wait()
            await asyncio.sleep(GATHERED)
            self._some.clear()
            await self.flush()

    async def flush(self) -> None:
        """Write what waits, then send it if there is a line."""
        if not self._queue:
            return
        batch = list(self._queue)
        self._queue.clear()
        await self._environment.run(self._write, batch)
        for record in batch:
            if not self._connection.connected:
                break
            try:
                await self._connection.publish(self._topic, record, qos=0)
            except TransportError:
                self.dropped += 1

    def _write(self, batch: list[bytes]) -> None:
        disk, data = self._environment.disk, b"".join(record + b"\n" for record in batch)
        try:
            size = (disk.size(self._path) or 0) if self._size is None else self._size
            disk.append(self._path, size, data)
            self._size = size + len(data)
            if self._size > self._limits.events_bytes:
                disk.move(self._path, self._path.with_name("events.1.jsonl"))
                self._size = 0
        except OSError:
            self.dropped += len(batch)


class Status:
    """The retained status: online while the service runs, and put right when another's word lies there."""

    def __init__(self, topics: Topics, connection: Connection, compose: Callable[[str], bytes]) -> None:
        """``compose(state)`` returns the message for a state."""
        self._topic = topics.status(COORDINATOR)
        self._connection, self._compose = connection, compose
        self._said: deque[bytes] = deque(maxlen=32)
        self.state = "online"

    async def publish(self) -> None:
        """Say what is true now; without a line nothing is said."""
        payload = self._compose(self.state)
        self._said.append(payload)
        try:
            await self._connection.publish(self._topic, payload, retain=True)
        except TransportError:
            return

    def is_own(self, payload: bytes) -> bool:
        """Whether a message on the topic is ours, and not a will of our last session or somebody else's."""
        return payload in self._said
