"""Who may publish and read what at the broker: derived from the topics, agent by agent.

Agents are listed by name from the roster. There is no ``pattern`` line on purpose: with one, any user that
a broker's administrator adds for a dashboard would be an agent. The rules are mosquitto's ACL file;
`Access` reads it back for brokers that have none of their own. The rules keep order; secrecy and
authenticity come from seals and signatures, which hold even if the broker ignores every rule.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from antiphon.broker_config.topics import COORDINATOR, Topics

Right = Literal["read", "write", "readwrite"]


@dataclass(frozen=True, slots=True)
class Rule:
    """``user`` may read or publish what ``filter`` matches."""

    user: str
    right: Right
    filter: str


def rules(topics: Topics, agents: Iterable[str], monitors: Iterable[str]) -> tuple[Rule, ...]:
    """Return every rule of a federation, the coordinator's first, then monitors' and agents' by name."""
    return (
        *_coordinator(topics),
        *(Rule(user, "read", topics.everything) for user in sorted(monitors)),
        *(rule for agent in sorted(agents) for rule in _agent(topics, agent)),
    )


def _coordinator(topics: Topics) -> Iterable[Rule]:
    """It reads back what it publishes retained, to publish again what the broker lost."""
    for filter in (topics.broadcast, topics.all_slots, topics.all_keys, topics.status(COORDINATOR)):
        yield Rule(COORDINATOR, "readwrite", filter)
    for filter in (topics.all_updates, topics.all_status):
        yield Rule(COORDINATOR, "read", filter)
    for filter in (topics.all_receipts, topics.metrics(COORDINATOR), topics.events):
        yield Rule(COORDINATOR, "write", filter)


def _agent(topics: Topics, agent: str) -> Iterable[Rule]:
    for filter in (topics.updates(agent), topics.metrics(agent)):
        yield Rule(agent, "write", filter)
    yield Rule(agent, "readwrite", topics.status(agent))
    for filter in (
        topics.broadcast,
        topics.all_slots,
        topics.receipts(agent),
        topics.keys(agent),
        topics.status(COORDINATOR),
    ):
        yield Rule(agent, "read", filter)


def acl_file(wanted: Iterable[Rule]) -> str:
    """Return mosquitto's ACL file."""
    lines = ["# Written by antiphon from the roster; changes here are lost at the next `antiphon admit`."]
    user = None
    for rule in wanted:
        if rule.user != user:
            user = rule.user
            lines += ["", f"user {user}"]
        lines.append(f"topic {rule.right} {rule.filter}")
    return "\n".join(lines) + "\n"


def read_acl_file(text: str) -> tuple[Rule, ...]:
    """Return the rules of a file that `acl_file` wrote; any other kind of line grants nothing."""
    found: list[Rule] = []
    user = ""
    for line in text.splitlines():
        match line.split(maxsplit=2):
            case ["user", name]:
                user = name
            case ["topic", "read" | "write" | "readwrite" as right, filter] if user:
                found.append(Rule(user, right, filter))
            case _:
                pass
    return tuple(found)


def matches(filter: str, topic: str) -> bool:
    """Say whether an MQTT filter matches a topic (MQTT 5 section 4.7; ``$`` topics match no leading
    wildcard).
    """
    wanted, levels = filter.split("/"), topic.split("/")
    if topic.startswith("$") and wanted[0] in ("#", "+"):
        return False
    for at, level in enumerate(wanted):
        if level == "#":
            return True
        if at >= len(levels) or level not in ("+", levels[at]):
            return False
    return len(wanted) == len(levels)


class Access:
    """The rules, asked one question at a time."""

    def __init__(self, wanted: Iterable[Rule]) -> None:
        """Keep ``wanted`` by user."""
        self._read: dict[str, list[str]] = {}
        self._write: dict[str, list[str]] = {}
        for rule in wanted:
            if rule.right != "write":
                self._read.setdefault(rule.user, []).append(rule.filter)
            if rule.right != "read":
                self._write.setdefault(rule.user, []).append(rule.filter)

    def may_read(self, user: str, topic: str) -> bool:
        """Say whether a message on ``topic`` may be delivered to ``user``."""
        return any(matches(filter, topic) for filter in self._read.get(user, ()))

    def may_write(self, user: str, topic: str) -> bool:
        """Say whether ``user`` may publish on ``topic``."""
        return any(matches(filter, topic) for filter in self._write.get(user, ()))
