"""The coordinator's keys: its identity, those it shares with each agent, the group keys for models.

Several group keys are held, because what was sealed under the last one is still under way when the next
begins. They live in the ledger, the static keys in the federation's folder. The epoch keys for updates are in
`antiphon.coordinator.epochs`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec import structs

from antiphon.broker_config.topics import COORDINATOR
from antiphon.codecs import frames, messages, sealing
from antiphon.codecs.frames import Header, Kind
from antiphon.codecs.messages import WIRE, GroupKey, GroupKeys
from antiphon.codecs.sealing import SecretKey, SigningKey, SymmetricKey

NO_ID = bytes(16)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the coordinator is.

    Attributes:
        federation: Its name.
        secret: The static X25519 key, for the federation's life.
        signing: The static Ed25519 key, for the federation's life.
        prefix: Of every topic; empty, or levels that end in ``/``.
    """

    federation: str
    secret: SecretKey
    signing: SigningKey
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Peer:
    """An admitted agent and the keys that both sides derive from their static ones."""

    id: str
    public: bytes
    may_initialise: bool
    pair: SymmetricKey
    note: SymmetricKey
    receipt: SymmetricKey
    group: SymmetricKey


def meet(identity: Identity, id: str, public: bytes, may_initialise: bool) -> Peer:
    """Derive an agent's keys.

    Raises:
        SealError: its public key is of low order.
    """
    own = identity.secret
    pair = sealing.pair_key(own, public, federation=identity.federation, agent=public, coordinator=own.public)
    name = id.encode()
    return Peer(
        id=id,
        public=public,
        may_initialise=may_initialise,
        pair=pair,
        note=sealing.purpose_key(pair, "note", name),
        receipt=sealing.purpose_key(pair, "receipt", name),
        group=sealing.purpose_key(pair, "group-key", name),
    )


@dataclass(frozen=True, slots=True)
class GroupRing:
    """The keys that models are sealed under: the newest first, then those of slots that still live."""

    keys: tuple[GroupKey, ...] = field(repr=False)

    @staticmethod
    def of(kept: Sequence[GroupKey] = ()) -> "GroupRing":
        """The keys that an earlier start left, or the first one; whoever asks writes that down."""
        return GroupRing(tuple(kept) or (sealing.new_group_key(),))

    @property
    def current(self) -> GroupKey:
        """What the next version is sealed under."""
        return self.keys[0]

    def frame(self, identity: Identity, run: bytes, peer: Peer, term: int, counter: int) -> bytes:
        """Return the sealed frame that gives an agent every key of the ring."""
        body = messages.encode(GroupKeys(term=term, counter=counter, keys=list(self.keys)))
        return frames.seal_frame(to_agent(identity, run, peer.id, Kind.GROUP_KEYS), peer.group, body)


def to_agent(identity: Identity, run: bytes, recipient: str, kind: Kind) -> Header:
    """The header of a frame to one agent that is no part of a transfer."""
    return Header(
        wire=WIRE,
        federation=identity.federation,
        run=run,
        sender=COORDINATOR,
        recipient=recipient,
        kind=kind,
        key_id=b"",
        transfer=NO_ID,
        index=0,
        total=1,
    )


def to_all(
    identity: Identity, run: bytes, kind: Kind, key: GroupKey, publication: bytes, index: int, total: int
) -> Header:
    """The header of a chunk or page of a version."""
    header = to_agent(identity, run, "*", kind)
    return structs.replace(header, key_id=key.id, transfer=publication, index=index, total=total)
