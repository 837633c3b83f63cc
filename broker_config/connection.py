"""The connection to a broker, as the services see it: one small interface, fulfilled over several brokers.

`antiphon.broker_config.paho_connection` fulfils it over a real broker, and in memory and virtual time
`antiphon.simulation.memory_connection`; ``tests/contracts`` holds both to what is written here.

Guaranteed: messages of one session arrive in the broker's order, between that session's `Connected` and its
`Lost`; every wait ends (`Limits`); every queue is bounded; cancelling a wait harms nothing else.
Not promised: that a published message reaches anybody. A PUBACK only says that the broker has had it.
Subscriptions and unacknowledged messages do not survive a lost line: services subscribe on every `Connected`
and resume from receipts.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Literal, Protocol, Self
from urllib.parse import urlsplit

from antiphon.codecs.errors import ConfigError

LARGEST_PACKET = 268_435_455
"""Bytes: the largest packet that MQTT itself allows, for brokers that name no limit."""

PUBLISH_OVERHEAD = 16
"""Bytes of a PUBLISH packet besides topic and payload: fixed header 5, topic length 2, id 2, properties 1,
and spare."""


class Lane(Enum):
    """Control messages overtake bulk ones, which wait until most earlier bulk is acknowledged."""

    CONTROL = "control"
    BULK = "bulk"


@dataclass(frozen=True, slots=True)
class Message:
    """A message from the broker. ``retain``: it lay there before the subscription."""

    topic: str
    payload: bytes
    retain: bool


@dataclass(frozen=True, slots=True)
class Connected:
    """A new session, without any subscription.

    Attributes:
        session: Grows by one with each session of this connection, from 1.
        protocol: 5, or 4 for MQTT 3.1.1.
        maximum_packet: Bytes that the broker takes in one packet; `LARGEST_PACKET` if it does not say.
    """

    session: int
    protocol: int
    maximum_packet: int


@dataclass(frozen=True, slots=True)
class Lost:
    """The session ended; the connection tries again by itself. ``reason`` is for people."""

    reason: str


Event = Message | Connected | Lost


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes (QoS 1, retained) when the line goes without a goodbye."""

    topic: str
    payload: bytes


class Connection(Protocol):
    """One client's line to a broker, which it keeps up by itself.

    ``async with connection:`` starts connecting in the background and returns at once; leaving the block says
    goodbye to the broker (no will is published).
    """

    @property
    def connected(self) -> bool:
        """Whether there is a session now."""
        ...

    @property
    def maximum_packet(self) -> int:
        """Bytes the broker takes in one packet; of the last session, `LARGEST_PACKET` before the first."""
        ...

    @property
    def dropped(self) -> int:
        """Messages from the broker that were dropped because nobody took them from `events`."""
        ...

    async def __aenter__(self) -> Self:
        """Start connecting; does not wait for it."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send what is queued, say goodbye, end `events`."""
        ...

    def events(self) -> AsyncIterator[Event]:
        """What happens, in order; ends when the connection is closed. One consumer.

        A consumer that is slow holds up the reading of the socket; beyond `Limits.hard_factor` messages are
        dropped and counted.

        Raises:
            ConfigError: The broker refuses for good (repeatedly bad credentials), or another client took this
                client id; there will be no more events.
        """
        ...

    async def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False, lane: Lane = Lane.CONTROL
    ) -> None:
        """Publish one message; returns when the broker has acknowledged it (QoS 0: when it is handed over).

        Args:
            topic: Without wildcards.
            payload: Empty and retained: deletes what is retained there.
            qos: 0 or 1.
            retain: Keep it for later subscribers.
            lane: Bulk waits its turn, control does not.

        Raises:
            NotConnected: There is no session, it went while waiting, or no answer came in time. The broker
                may have the message.
            PublishRefused: The broker said no (MQTT 5 only; a 3.1.1 broker says yes to what it throws away).
            PacketTooLarge: Larger than `maximum_packet`; nothing was sent.
        """
        ...

    async def subscribe(self, *filters: str, qos: int = 1) -> None:
        """Subscribe for this session; returns when the broker has said yes to every filter.

        Messages may arrive in `events` before this returns.

        Raises:
            NotConnected: As for `publish`.
            PublishRefused: The broker refused one of the filters; the others may count.
        """
        ...

    async def unsubscribe(self, *filters: str) -> None:
        """Unsubscribe; does not wait for the broker, and messages under way still come. Without a session:
        nothing to do."""
        ...


Connect = Callable[[str, Will | None], Connection]
"""(client id, will) -> a connection that is not yet entered."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one connection; bytes and seconds.

    Attributes:
        connect_timeout: For DNS, TCP, TLS and the WebSocket handshake, and again for CONNACK.
        answer_timeout: For PUBACK and SUBACK, from when the message is handed to the line.
        silence_timeout: An unanswered message as old as this ends the session.
        keepalive: MQTT keepalive.
        bulk_unanswered: Bulk without PUBACK; a single larger message may go alone.
        control_unanswered, control_bytes: Control messages without PUBACK, and their bytes.
        queue_messages, queue_bytes: Received but not yet taken from `Connection.events`; when there is more,
            the socket is not read.
        largest_received: Bytes of one packet: a broker that speaks MQTT 5 is told to withhold larger ones.
            Room for the largest frame that can be configured; whoever may publish could fill the memory.
        hard_factor: Times the queue's bounds; beyond it messages are dropped (the socket cannot rest longer
            than the keepalive).
        longest_pause: For which the socket is not read at most; well below the keepalive and
            ``answer_timeout``.
        first_delay, longest_delay: Reconnecting waits a random time up to a bound that doubles from one to
            the other.
        refusals: Bad credentials in a row until the connection gives up.
    """

    connect_timeout: float = 10.0
    answer_timeout: float = 30.0
    silence_timeout: float = 120.0
    keepalive: int = 60
    bulk_unanswered: int = 1 << 20
    control_unanswered: int = 256
    control_bytes: int = 4 << 20
    queue_messages: int = 4096
    queue_bytes: int = 32 << 20
    largest_received: int = (8 << 20) + (64 << 10)
    hard_factor: int = 2
    longest_pause: float = 5.0
    first_delay: float = 0.5
    longest_delay: float = 30.0
    refusals: int = 3


Transport = Literal["tcp", "websockets", "unix"]
SCHEMES: dict[str, tuple[Transport, bool, int]] = {
    "mqtt": ("tcp", False, 1883),
    "mqtts": ("tcp", True, 8883),
    "ws": ("websockets", False, 80),
    "wss": ("websockets", True, 443),
    "unix": ("unix", False, 0),
}


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where a broker is and who we are there.

    Attributes:
        url: ``mqtt://host:1883``, ``mqtts://host``, ``ws://host/path``, ``wss://host/path`` or
            ``unix:///path/to/socket``.
        username: None for brokers that take anybody.
        password: Not shown in ``repr``.
        ca_file: PEM file with the authorities that TLS trusts; None for the system's.
        certificate_file, key_file: PEM files of a client certificate.

    Raises:
        ConfigError: At construction, for a URL that none of these is.
    """

    url: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None

    def __post_init__(self) -> None:
        """Refuse what could never connect."""
        try:
            parts = urlsplit(self.url)
            _ = parts.port
        except ValueError as error:
            raise ConfigError(f"the broker url {self.url!r} cannot be read: {error}") from None
        if parts.username is not None or parts.password is not None:
            raise ConfigError(
                "the broker url must not hold a user name or password: set them in their own fields"
            )
        if parts.scheme not in SCHEMES:
            known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
            raise ConfigError(f"the broker url {self.url!r} must start with one of {known}")
        if not (parts.path if parts.scheme == "unix" else parts.hostname):
            what = "the path of a socket" if parts.scheme == "unix" else "a host"
            raise ConfigError(f"the broker url {self.url!r} does not name {what}")
        if self.password is not None and self.username is None:
            raise ConfigError("a broker password without a user name: set both or none")
        if self.key_file is not None and self.certificate_file is None:
            raise ConfigError("a TLS key without its certificate: set certificate_file too")

    @property
    def transport(self) -> Transport:
        """paho's name of the transport."""
        return SCHEMES[urlsplit(self.url).scheme][0]

    @property
    def tls(self) -> bool:
        """Whether the line is encrypted by TLS."""
        return SCHEMES[urlsplit(self.url).scheme][1]

    @property
    def host(self) -> str:
        """The host, or the path of a Unix socket."""
        parts = urlsplit(self.url)
        return parts.path if parts.scheme == "unix" else parts.hostname or ""

    @property
    def port(self) -> int:
        """The TCP port; 0 for a Unix socket."""
        parts = urlsplit(self.url)
        return parts.port or SCHEMES[parts.scheme][2]

    @property
    def path(self) -> str:
        """The path of a WebSocket; ``/mqtt`` if the url has none."""
        path = urlsplit(self.url).path
        return path if path not in ("", "/") else "/mqtt"
