"""What all parts of an agent share while they talk: connection, keys, round trip, incarnation.

Guarantees: `open` returns a plaintext only from a frame that the coordinator sealed for this agent; note
counters grow. Not done here: deciding anything. One `Line` lives as long as one process of the agent.
"""

import asyncio

from antiphon.agents.bell import Bell
from antiphon.agents.pace import RoundTrip
from antiphon.agents.settings import AgentIdentity, AgentSettings
from antiphon.broker_config.connection import PUBLISH_OVERHEAD, Connection, Lane
from antiphon.broker_config.environment import Environment
from antiphon.broker_config.topics import COORDINATOR, Topics
from antiphon.codecs import frames, messages, sealing
from antiphon.codecs.errors import MalformedError, NotConnected
from antiphon.codecs.frames import Header, Kind
from antiphon.codecs.messages import WIRE, Note
from antiphon.codecs.sealing import SymmetricKey

NO_RUN = bytes(16)
CONTROL_LIMIT = 256 << 10
"""Bytes of a receipt or a group key message: nothing honest comes near."""


class Line:
    """See the module.

    Attributes:
        session: Number of the connection's session; 0 while there is none.
        subscribed: The session in which the agent's own topics are subscribed.
        run: The newest run that the agent believes in; 16 zero bytes before the first announcement.
        online: What the coordinator's status says; a hint for how patient to be, nothing more.
        heard: Loop time of the last receipt; minus infinity before the first.
    """

    def __init__(
        self,
        settings: AgentSettings,
        identity: AgentIdentity,
        connection: Connection,
        environment: Environment,
    ) -> None:
        """Not connected yet.

        Raises:
            SealError: The coordinator's public key is none.
        """
        self.settings, self.identity = settings, identity
        self._loop = asyncio.get_running_loop()
        self.connection, self.environment = connection, environment
        self.topics = Topics(identity.prefix)
        self._updates = self.topics.updates(identity.id)
        self.incarnation = environment.token(16)
        self.bell = Bell()
        self.trip = RoundTrip(settings.timers.rto, settings.timers.silence)
        self.session = self.subscribed = 0
        self.run = NO_RUN
        self.online = True
        self.heard = float("-inf")
        self.bytes_sent = 0
        self.pair = sealing.pair_key(
            identity.key,
            identity.coordinator,
            federation=identity.federation,
            agent=identity.key.public,
            coordinator=identity.coordinator,
        )
        name = identity.id.encode()
        self._note_key = sealing.purpose_key(self.pair, "note", name)
        self._open_keys = {
            Kind.RECEIPT: sealing.purpose_key(self.pair, "receipt", name),
            Kind.GROUP_KEYS: sealing.purpose_key(self.pair, "group-key", name),
        }
        self._counter = 0

    @property
    def now(self) -> float:
        """Loop time in seconds."""
        return self._loop.time()

    @property
    def ready(self) -> bool:
        """Whether there is a session in which answers would arrive."""
        return self.session != 0 and self.subscribed == self.session and self.connection.connected

    @property
    def patience(self) -> float:
        """The longest wait between two tries, seconds."""
        timers = self.settings.timers
        return timers.longest_rto if self.online else timers.longest_rto_offline

    @property
    def largest_frame(self) -> int:
        """Bytes of the largest frame that fits a packet of the broker."""
        return self.connection.maximum_packet - PUBLISH_OVERHEAD - len(self._updates.encode())

    def header(self, kind: Kind, run: bytes, transfer: bytes = frames.NO_ID) -> Header:
        """Return the header of a frame from this agent, without the fields of chunked kinds."""
        identity = self.identity
        return Header(WIRE, identity.federation, run, identity.id, COORDINATOR, kind, b"", transfer, 0, 1)

    async def send(self, frame: bytes, lane: Lane = Lane.CONTROL) -> None:
        """Publish a frame to the coordinator; returns when the broker has it.

        Raises:
            TransportError: It may or may not have arrived.
        """
        if not self.ready:
            raise NotConnected("there is no session with the broker")
        await self.connection.publish(self._updates, frame, lane=lane)
        self.bytes_sent += len(frame)

    async def note(self, note: Note, *, run: bytes | None = None) -> None:
        """Seal and send a note, numbered; ``run`` other than the one believed in is for `hello`.

        Raises:
            TransportError: As `send`.
        """
        header = self.header(Kind.NOTE, self.run if run is None else run)
        await self.send(frames.seal_frame(header, self._note_key, messages.encode(note)))

    def counter(self) -> int:
        """Return the next note's counter."""
        self._counter += 1
        return self._counter

    def open(self, payload: bytes, kind: Kind) -> tuple[Header, bytes]:
        """Open a receipt or a group key message.

        Raises:
            PeerError: It is not the coordinator's, not for this agent, or not of this kind.
        """
        frame = frames.read(payload, CONTROL_LIMIT)
        header = frame.header
        expected = (self.identity.federation, COORDINATOR, self.identity.id, kind)
        if (header.federation, header.sender, header.recipient, header.kind) != expected:
            raise MalformedError(
                f"a frame of kind {header.kind} from {header.sender} on our {kind.name} topic"
            )
        return header, frames.open_frame(frame, self._open_keys[kind])

    def transfer_key(self, transfer: bytes, one_time: sealing.SecretKey, epoch: bytes) -> SymmetricKey:
        """Return the key of one transfer."""
        return sealing.update_key(self.pair, transfer, one_time, epoch)
