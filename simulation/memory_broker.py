"""A broker in memory, for virtual time: what MQTT promises, without faults and in a deterministic order.

Retained messages, last wills, QoS 0 and 1, wildcards, takeover of a client id, clean sessions; each hop takes
`Line.latency`.
What it does not do: persistent sessions, QoS 2, and any of the things that real brokers do wrong.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from antiphon.broker_config.access import matches
from antiphon.broker_config.connection import LARGEST_PACKET, PUBLISH_OVERHEAD, Limits, Message, Will
from antiphon.broker_config.reconnect import TAKEN_OVER
from antiphon.simulation.matching import is_wildcard, valid_filter
from antiphon.simulation.memory_connection import MemoryConnection
from antiphon.simulation.pipe import Line, Pipe
from antiphon.simulation.session import Client, Session

SUCCESS, UNSPECIFIED, NOT_AUTHORISED, SHUTTING_DOWN, INVALID_FILTER = 0, 128, 135, 139, 143
"""MQTT 5 reason codes."""

MayPublish = Callable[[str, str], bool]
"""(client id, topic) -> whether an access rule allows it."""


class MemoryBroker:
    """See the module. Tests may look at ``retained`` and ``sessions`` at any time."""

    def __init__(
        self,
        latency: float = 0.001,
        bandwidth: float | None = None,
        *,
        maximum_packet: int = LARGEST_PACKET,
        protocol: int = 5,
        may_publish: MayPublish | None = None,
        limits: Limits | None = None,
        seed: int = 0,
    ) -> None:
        """A broker that is up.

        Args:
            latency: Seconds a hop (client to broker, broker to client).
            bandwidth: Bytes a second of each client's line in each direction; None for no limit.
            maximum_packet: Bytes.
            protocol: 5, or 4 to behave like a 3.1.1 broker: no reasons, and yes to what it throws away.
            may_publish: Access rule; by default everybody may.
            limits: Of the clients' connections.
            seed: For the clients' reconnect jitter.
        """
        self.line = Line(latency, bandwidth)
        self.lines: dict[str, Line] = {}
        """Clients whose line is another than `line`, from their next session on."""
        self.maximum_packet, self.protocol = maximum_packet, protocol
        # A fault-free broker drops nothing, however slow its clients are.
        self.limits = replace(limits or Limits(), hard_factor=1 << 30)
        self.rng = np.random.default_rng(seed)
        self.retained: dict[str, bytes] = {}
        self.sessions: dict[str, Session] = {}
        self.refused: set[str] = set()
        """Clients whose credentials are refused."""
        self.running = True
        self._may_publish = may_publish
        self._exact: dict[str, dict[Session, None]] = {}
        self._wild: dict[str, dict[Session, None]] = {}

    def connect(self, client_id: str, will: Will | None = None) -> MemoryConnection:
        """A new connection to this broker, not yet entered. Fits
        `antiphon.broker_config.connection.Connect`."""
        return MemoryConnection(self, client_id, will)

    def kill(self, client_id: str) -> None:
        """Cut a client's line without a goodbye: its will is published, and it will connect again by itself.

        For the death of a process, cancel the task that holds the connection right afterwards.
        """
        session = self.sessions.get(client_id)
        if session is not None:
            self._cut(session, "the line was cut", UNSPECIFIED)

    def stop(self, *, forget: bool = True) -> None:
        """Stop: every line is lost, nobody can connect. ``forget``: retained messages are lost too."""
        self.running = False
        for session in list(self.sessions.values()):
            self._detach(session)
            session.client.line_lost("the broker stopped", SHUTTING_DOWN)
        if forget:
            self.retained.clear()

    def start(self) -> None:
        """Start again."""
        self.running = True

    # What connections call: see `antiphon.simulation.session.Host`.

    def line_of(self, client_id: str) -> Line:
        """What a client's line is like."""
        return self.lines.get(client_id, self.line)

    def attach(self, client_id: str, client: Client, will: Will | None) -> Session:
        """A client connects; whoever had this id is displaced."""
        older = self.sessions.get(client_id)
        if older is not None:
            self._cut(older, "session taken over", TAKEN_OVER if self.protocol == 5 else None)
        line = self.line_of(client_id)
        session = Session(client_id, client, will, Pipe(line), Pipe(line))
        self.sessions[client_id] = session
        return session

    def goodbye(self, session: Session) -> None:
        """A client disconnects cleanly: no will."""
        self._detach(session)

    def publish(self, session: Session, message: Message) -> int:
        """A client publishes; the answer is the PUBACK's reason code."""
        if self._may_publish is not None and not self._may_publish(session.client_id, message.topic):
            return NOT_AUTHORISED if self.protocol == 5 else SUCCESS
        self._route(message)
        return SUCCESS

    def subscribe(self, session: Session, topic_filter: str) -> int:
        """A client subscribes; the answer is the SUBACK's reason code."""
        if not valid_filter(topic_filter):
            return INVALID_FILTER
        session.filters[topic_filter] = None
        self._table(topic_filter).setdefault(topic_filter, {})[session] = None
        return SUCCESS

    def send_retained(self, session: Session, topic_filter: str) -> None:
        """Send what lies there, after the SUBACK."""
        if is_wildcard(topic_filter):
            topics = [topic for topic in self.retained if matches(topic_filter, topic)]
        else:
            topics = [topic_filter] if topic_filter in self.retained else []
        for topic in topics:
            self._send(session, Message(topic, self.retained[topic], retain=True))

    def unsubscribe(self, session: Session, topic_filter: str) -> None:
        """A client unsubscribes."""
        if session.filters.pop(topic_filter, 0) is None:
            table = self._table(topic_filter)
            del table[topic_filter][session]
            if not table[topic_filter]:
                del table[topic_filter]

    def _table(self, topic_filter: str) -> dict[str, dict[Session, None]]:
        return self._wild if is_wildcard(topic_filter) else self._exact

    def _route(self, message: Message) -> None:
        if message.retain and message.payload:
            self.retained[message.topic] = message.payload
        elif message.retain:
            self.retained.pop(message.topic, None)
        live = replace(message, retain=False)
        for session in self._exact.get(message.topic, {}):
            self._send(session, live)
        for topic_filter, sessions in self._wild.items():
            if matches(topic_filter, message.topic):
                for session in sessions:
                    self._send(session, live)

    def _send(self, session: Session, message: Message) -> None:
        size = len(message.topic) + len(message.payload) + PUBLISH_OVERHEAD
        session.down.send(size, lambda: session.client.receive(message))

    def _cut(self, session: Session, reason: str, code: int | None) -> None:
        self._detach(session)
        if session.will is not None:
            self._route(Message(session.will.topic, session.will.payload, retain=True))
        session.client.line_lost(reason, code)

    def _detach(self, session: Session) -> None:
        session.up.close()
        session.down.close()
        for topic_filter in list(session.filters):
            self.unsubscribe(session, topic_filter)
        if self.sessions.get(session.client_id) is session:
            del self.sessions[session.client_id]
