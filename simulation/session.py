"""What the two ends of a simulated line know of each other."""

from dataclasses import dataclass, field
from typing import Protocol

from antiphon.broker_config.connection import Limits, Message, Will
from antiphon.simulation.pipe import Line, Pipe


class Client(Protocol):
    """What the broker calls at the other end of a line."""

    def receive(self, message: Message) -> None:
        """A message arrived."""
        ...

    def line_lost(self, reason: str, code: int | None) -> None:
        """The line is gone; ``code`` is the reason in the broker's DISCONNECT, None without one."""
        ...


@dataclass(eq=False, slots=True)
class Session:
    """One client's line, as the broker sees it.

    ``gone``: the client will hear nothing more of this session: it knows that the line is lost, has left, or
    is dead. ``silent``: half-open, nothing passes either way.
    """

    client_id: str
    client: Client
    will: Will | None
    up: Pipe
    down: Pipe
    filters: dict[str, None] = field(default_factory=dict[str, None])
    gone: bool = False
    silent: bool = False


class Host(Protocol):
    """What a client calls at the broker, one hop after it sent it.

    Reason codes are those of MQTT 5: below 128 means yes.
    """

    limits: Limits
    maximum_packet: int
    protocol: int
    running: bool
    refused: set[str]
    unreachable: set[str]

    def line_of(self, client_id: str) -> Line:
        """What a client's line is like."""
        ...

    def jitter(self, client_id: str) -> float:
        """Chance for a client's reconnecting: uniform in [0, 1)."""
        ...

    def attach(self, client_id: str, client: Client, will: Will | None) -> Session:
        """A client connects; whoever had this id is displaced."""
        ...

    def goodbye(self, session: Session) -> None:
        """A client disconnects cleanly: no will."""
        ...

    def publish(self, session: Session, message: Message) -> int:
        """A client publishes; the answer is the PUBACK's reason code."""
        ...

    def subscribe(self, session: Session, topic_filter: str) -> int:
        """A client subscribes; the answer is the SUBACK's reason code."""
        ...

    def send_retained(self, session: Session, topic_filter: str) -> None:
        """Send what lies there, after the SUBACK."""
        ...

    def unsubscribe(self, session: Session, topic_filter: str) -> None:
        """A client unsubscribes."""
        ...
