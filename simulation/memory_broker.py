"""A broker in memory, for virtual time: what MQTT promises, in a deterministic order, and faults on demand.

Retained messages, last wills, QoS 0 and 1, wildcards, takeover of a client id, clean sessions; each hop takes
its client's `Line`. Without faults nothing is lost, doubled or overtaken.
Faults: of messages, see `MemoryBroker.faults`; of lines: `cut`, `half_open`, `abandon`; of the broker:
`stop`, `restart`. A fault of a line or of the broker also loses what is under way, acknowledgements included.
What it does not do: persistent sessions, redelivery, QoS 2.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextvars import Context
from dataclasses import replace
from functools import partial

from antiphon.broker_config.access import matches
from antiphon.broker_config.connection import LARGEST_PACKET, PUBLISH_OVERHEAD, Limits, Message, Will
from antiphon.broker_config.reconnect import TAKEN_OVER
from antiphon.simulation.faults import NONE, Dice, Faults
from antiphon.simulation.matching import is_wildcard, valid_filter
from antiphon.simulation.memory_connection import MemoryConnection
from antiphon.simulation.pipe import Line, Pipe, Timetable
from antiphon.simulation.session import Client, Session
from antiphon.simulation.subscriptions import Subscriptions

SUCCESS, UNSPECIFIED, NOT_AUTHORISED, SHUTTING_DOWN, INVALID_FILTER = 0, 128, 135, 139, 143
QUOTA_EXCEEDED = 151
"""MQTT 5 reason codes."""

PATIENCE = 1.5
"""Times the keepalive after which a broker, and here a client too, takes a silent line for lost (MQTT 5,
section 3.1.2.10)."""

MayPublish = Callable[[str, str], bool]
"""(client id, topic) -> whether an access rule allows it."""

Tap = Callable[[str, Message], None]
"""(client id, message): what a client published and the broker took; its will too."""


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
        faults: Faults = NONE,
        tap: Tap | None = None,
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
            faults: What goes wrong with messages; may be set at any time.
            tap: Told of each message that the broker takes, before any fault.
            seed: For the faults and the clients' reconnect jitter.
        """
        self.line = Line(latency, bandwidth)
        self.lines: dict[str, Line] = {}
        """Clients whose line is another than `line`, from their next session on."""
        self.maximum_packet, self.protocol = maximum_packet, protocol
        # Queues of clients here lose nothing, however slow they are: what is lost is for `faults` to say.
        self.limits = replace(limits or Limits(), hard_factor=1 << 30)
        self.faults = faults
        self.retained: dict[str, bytes] = {}
        self.sessions: dict[str, Session] = {}
        self.refused: set[str] = set()
        """Clients whose credentials are refused."""
        self.unreachable: set[str] = set()
        """Clients that find no way here: whoever has a session keeps it, see `cut`."""
        self.sent: dict[str, int] = {}
        """Bytes of the messages sent down each client's line."""
        self.running = True
        self._may_publish = may_publish
        self.tap = tap
        self._seed = seed
        self._dice: dict[str, Dice] = {}
        self._subscriptions = Subscriptions()
        self._timetable = Timetable()
        self._starts = 0

    def connect(self, client_id: str, will: Will | None = None) -> MemoryConnection:
        """A new connection to this broker, not yet entered. Fits
        `antiphon.broker_config.connection.Connect`."""
        return MemoryConnection(self, client_id, will)

    # What goes wrong.

    def kill(self, client_id: str) -> None:
        """Cut a client's line, the broker giving a reason: its will is published, and it will connect again
        by itself."""
        self._break(client_id, UNSPECIFIED)

    def cut(self, client_id: str) -> None:
        """Cut a client's line without a word: as `kill`, but the client is not told why."""
        self._break(client_id, None)

    def half_open(self, client_id: str) -> None:
        """Let nothing pass on a client's line any more, and tell neither end.

        Each notices by the keepalive; the broker publishes the will then, or when the client is back earlier.
        """
        session = self.sessions.get(client_id)
        if session is not None and not session.silent:
            self._silence(session)
            self._later(self._until_noticed, lambda: self._tell(session, "no answer to the keepalive", None))

    def abandon(self, client_id: str, *, silent: bool = False) -> None:
        """A client's process is dead: its connection is never told anything again, and its will is published.

        What it had already sent still arrives. ``silent``: its host is dead: the broker notices only by the
        keepalive, and what was under way is lost.
        """
        session = self.sessions.get(client_id)
        if session is None:
            return
        session.gone = True
        if silent:
            self._silence(session)
        else:
            session.down.close()
            session.up.send(0, lambda: self._cut(session, "", None))

    def stop(self, *, forget: bool = True) -> None:
        """Stop: every line is lost, nobody can connect. ``forget``: retained messages are lost too."""
        self.running = False
        for session in list(self.sessions.values()):
            self._detach(session)
            if not session.silent:
                self._tell(session, "the broker stopped", SHUTTING_DOWN)
        if forget:
            self.retained.clear()

    def start(self) -> None:
        """Start again."""
        self.running = True
        self._starts += 1

    def restart(self, seconds: float = 0.0, *, forget: bool = True) -> None:
        """Stop, and start again after so many seconds, unless somebody else does so earlier."""
        self.stop(forget=forget)
        start = self._starts

        def again() -> None:
            if self._starts == start:
                self.start()

        self._later(seconds, again)

    # What connections call: see `antiphon.simulation.session.Host`.

    def line_of(self, client_id: str) -> Line:
        """What a client's line is like."""
        return self.lines.get(client_id, self.line)

    def jitter(self, client_id: str) -> float:
        """Chance for a client's reconnecting: uniform in [0, 1)."""
        return self._dice_of(client_id).jitter.random()

    def attach(self, client_id: str, client: Client, will: Will | None) -> Session:
        """A client connects; whoever had this id is displaced."""
        older = self.sessions.get(client_id)
        if older is not None:
            self._cut(older, "session taken over", TAKEN_OVER if self.protocol == 5 else None)
        line = self.line_of(client_id)
        session = Session(client_id, client, will, Pipe(line, self._timetable), Pipe(line, self._timetable))
        self.sessions[client_id] = session
        return session

    def goodbye(self, session: Session) -> None:
        """A client disconnects cleanly: no will."""
        self._detach(session)

    def publish(self, session: Session, message: Message) -> int:
        """A client publishes; the answer is the PUBACK's reason code."""
        if self._may_publish is not None and not self._may_publish(session.client_id, message.topic):
            return NOT_AUTHORISED if self.protocol == 5 else SUCCESS
        if self.faults.any and self._dice_of(session.client_id).refuses(self.faults):
            return QUOTA_EXCEEDED if self.protocol == 5 else SUCCESS
        self._route(session.client_id, message)
        return SUCCESS

    def subscribe(self, session: Session, topic_filter: str) -> int:
        """A client subscribes; the answer is the SUBACK's reason code."""
        if not valid_filter(topic_filter):
            return INVALID_FILTER
        self._subscriptions.add(session, topic_filter)
        return SUCCESS

    def send_retained(self, session: Session, topic_filter: str) -> None:
        """Send what lies there, after the SUBACK."""
        if is_wildcard(topic_filter):
            topics = [topic for topic in self.retained if matches(topic_filter, topic)]
        else:
            topics = [topic_filter] if topic_filter in self.retained else []
        for topic in topics:
            self._send([session], Message(topic, self.retained[topic], retain=True))

    def unsubscribe(self, session: Session, topic_filter: str) -> None:
        """A client unsubscribes."""
        self._subscriptions.remove(session, topic_filter)

    # Inside.

    @property
    def _until_noticed(self) -> float:
        return PATIENCE * self.limits.keepalive

    def _dice_of(self, client_id: str) -> Dice:
        if client_id not in self._dice:
            self._dice[client_id] = Dice(self._seed, client_id)
        return self._dice[client_id]

    def _later(self, seconds: float, what: Callable[[], None]) -> None:
        """In a context of its own: the broker goes on when the party that is running now has died."""
        asyncio.get_running_loop().call_later(seconds, what, context=Context())

    def _route(self, client_id: str, message: Message) -> None:
        if self.tap is not None:
            self.tap(client_id, message)
        if message.retain and message.payload:
            self.retained[message.topic] = message.payload
        elif message.retain:
            self.retained.pop(message.topic, None)
        live = replace(message, retain=False) if message.retain else message
        self._send(self._subscriptions.takers(message.topic), live)

    def _send(self, sessions: Iterable[Session], message: Message) -> None:
        size, faulty = len(message.topic) + len(message.payload) + PUBLISH_OVERHEAD, self.faults.any
        sent = self.sent
        for session in sessions:
            id, arrive = session.client_id, partial(session.client.receive, message)
            sent[id] = sent.get(id, 0) + size
            if not faulty:
                session.down.send(size, arrive)
                continue
            fate = self._dice_of(id).fate(self.faults)
            for held in fate.copies:
                if held:
                    session.down.hold(held, size, arrive)
                else:
                    session.down.send(size, arrive, delay=fate.delay)

    def _break(self, client_id: str, code: int | None) -> None:
        session = self.sessions.get(client_id)
        if session is not None:
            self._cut(session, "the line was cut", code)
            self._tell(session, "the line was cut", code)

    def _silence(self, session: Session) -> None:
        session.silent = True
        session.up.close()
        session.down.close()
        self._later(self._until_noticed, lambda: self._cut(session, "", None))

    def _cut(self, session: Session, reason: str, code: int | None) -> None:
        """The broker takes the line for lost, and says so if anything can pass."""
        if self.sessions.get(session.client_id) is not session:
            return
        self._detach(session)
        if session.will is not None:
            self._route(session.client_id, Message(session.will.topic, session.will.payload, retain=True))
        if not session.silent:
            self._tell(session, reason, code)

    def _tell(self, session: Session, reason: str, code: int | None) -> None:
        if not session.gone:
            session.gone = True
            session.client.line_lost(reason, code)

    def _detach(self, session: Session) -> None:
        session.up.close()
        session.down.close()
        self._subscriptions.remove_all(session)
        if self.sessions.get(session.client_id) is session:
            del self.sessions[session.client_id]
