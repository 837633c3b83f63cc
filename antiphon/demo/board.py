"""What a monitor knows of a federation: built from ``status``, ``metrics`` and ``events`` messages alone.

Messages are hints from processes that we do not trust to be well formed: whatever does not parse, or has
other types than expected, is ignored.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, cast

from antiphon.broker_config.topics import COORDINATOR, Topics

NOTES: dict[str, str] = {
    "joined": "{agent} is here",
    "left": "{agent} is gone",
    "rejected": "an update of {agent} is rejected: {reason}",
}
"""Events worth a line, and the line."""


@dataclass(slots=True)
class Line:
    """One agent.

    Attributes:
        state: As its status says; "" before its first word.
        activity: What it is doing, while it is online.
        version: Version it trained last, -1 before.
        sent, rejected: Updates, as this process of it says.
        applied: Updates of it that versions were made of.
        sealed: Bytes of sealed frames sent.
        raw: Bytes of the same updates as plain arrays.
        influence: Its share of all weights merged so far, 0 to 1.
    """

    state: str = ""
    activity: str = ""
    version: int = -1
    sent: int = 0
    applied: int = 0
    rejected: int = 0
    sealed: int = 0
    raw: int = 0
    influence: float = 0.0


@dataclass(slots=True)
class Board:
    """Everything a monitor knows; `take` feeds it."""

    topics: Topics
    agents: dict[str, Line]
    state: str = ""
    version: int = -1
    merged: int = 0
    staleness: float = 0.0
    notes: list[str] = field(default_factory=list[str])

    @classmethod
    def of(cls, topics: Topics, agents: Iterable[str]) -> "Board":
        """Return an empty board for these agents."""
        return cls(topics, {agent: Line() for agent in agents})

    def take(self, topic: str, payload: bytes) -> None:
        """Take one message in; an empty one, or one that is no JSON object, changes nothing."""
        try:
            plain: Any = json.loads(payload)
        except (ValueError, RecursionError):
            return
        if not isinstance(plain, dict):
            return
        values = cast("dict[str, Any]", plain)
        client = self.topics.client_of(topic)
        if topic == self.topics.events:
            self._event(values)
        elif client is not None and topic == self.topics.status(client):
            self._status(client, values)
        elif client is not None and topic == self.topics.metrics(client):
            self._metrics(client, values)

    def take_notes(self) -> list[str]:
        """Return the lines about events since the last call."""
        notes, self.notes = self.notes, []
        return notes

    def _status(self, client: str, values: dict[str, Any]) -> None:
        if client == COORDINATOR:
            self.state = _text(values, "state")
            self.version = max(self.version, _whole(values, "version", -1))
        elif (line := self.agents.get(client)) is not None:
            line.state, line.activity = _text(values, "state"), _text(values, "activity")
            line.version = max(line.version, _whole(values, "version", -1))

    def _metrics(self, client: str, values: dict[str, Any]) -> None:
        if client == COORDINATOR:
            self.version = max(self.version, _whole(values, "version", -1))
            self.merged = _whole(values, "updates_applied", self.merged)
            self.staleness = _number(values, "staleness_mean", self.staleness)
            for agent, line in self.agents.items():
                line.influence = _number(values, f"influence_{agent}", line.influence)
        elif (line := self.agents.get(client)) is not None:
            line.version = max(line.version, _whole(values, "version_trained", -1))
            line.sent = _whole(values, "updates_sent", line.sent)
            line.rejected = _whole(values, "updates_rejected", line.rejected)
            line.sealed = _whole(values, "bytes_sent", line.sealed)
            line.raw = _whole(values, "bytes_raw", line.raw)

    def _event(self, values: dict[str, Any]) -> None:
        kind = _text(values, "event")
        if kind == "version":
            self.version = max(self.version, _whole(values, "version", -1))
            self._merged(values.get("agents"))
        agent = _text(values, "agent")
        if kind in NOTES and agent in self.agents and _text(values, "reason") != "run-over":
            self.notes.append(NOTES[kind].format(agent=agent, reason=_text(values, "reason")))

    def _merged(self, agents: Any) -> None:
        """Count here: an agent's own counters start anew when its process does."""
        for agent in cast("list[Any]", agents) if isinstance(agents, list) else ():
            if isinstance(agent, str) and (line := self.agents.get(agent)) is not None:
                line.applied += 1


def _text(values: dict[str, Any], name: str) -> str:
    value = values.get(name)
    return value[:80] if isinstance(value, str) else ""


def _number(values: dict[str, Any], name: str, otherwise: float) -> float:
    value = values.get(name)
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(cast("float", value)) if usable else otherwise


def _whole(values: dict[str, Any], name: str, otherwise: int) -> int:
    return int(_number(values, name, otherwise))
