"""What the parties say to each other: frozen, typed, and strictly validated when read.

Every message is one msgpack map with the field names below (``docs/protocol.md`` has the byte level). Unknown
keys are ignored, fields that have their default may be left out; missing, wrongly typed or sized ones are
refused when *read* (building a message here checks nothing). This module does not seal, sign or send.
"""

from typing import Annotated, Literal, NoReturn, TypeVar

import msgspec
from msgspec import Meta

from antiphon.codecs.digests import Buffer
from antiphon.codecs.errors import LimitError
from antiphon.codecs.packing import pack as pack
from antiphon.codecs.packing import unpack as unpack
from antiphon.codecs.packing import unpack_as as unpack_as
from antiphon.codecs.packing import unpack_pair as unpack_pair

WIRE = 1
"""The wire version that this software speaks."""

NO_DIGEST = bytes(32)
"""The base of an update that answers ``wanted = "initial"``: the zero vector."""

REASONS = (
    "malformed",  # does not decode, or does not hold what its offer said
    "unknown-sender",  # nobody of that name is admitted (event only: there is no key to answer with)
    "unknown-key",  # sealed under an epoch key that the coordinator does not hold (any more)
    "unknown-base",  # trained from a version that this run never published
    "base-gone",  # trained from a version whose file is no longer kept (anchor "current" only)
    "schema",  # other tensors, shapes or dtypes
    "digest",  # the content is not what its root digest says
    "not-finite",  # a NaN or an infinity
    "norm",  # the norm is above the configured bound
    "too-large",  # more bytes than the configured bound
    "stale",  # staler than the configured bound
    "quota",  # more updates than the agent may send
    "revoked",  # the agent's admission was taken back
    "run-over",  # the run has ended
)
"""Why an update may be refused or rejected: the whole list."""

Id8 = Annotated[bytes, Meta(min_length=8, max_length=8)]
Id16 = Annotated[bytes, Meta(min_length=16, max_length=16)]
Bytes32 = Annotated[bytes, Meta(min_length=32, max_length=32)]
Digest = Bytes32
Count = Annotated[int, Meta(ge=0, le=2**53)]
Number = Annotated[int, Meta(ge=-1, le=2**53)]
Seconds = Annotated[float, Meta(ge=0, le=1e12)]
Name = Annotated[str, Meta(min_length=1, max_length=40)]
Text = Annotated[str, Meta(max_length=1000)]
Numbers = Annotated[dict[Annotated[str, Meta(max_length=200)], float], Meta(max_length=256)]
Run = Annotated[list[Count], Meta(min_length=2, max_length=2)]

NoteType = Literal["hello", "ask", "absent", "pulling", "pin", "need-key", "frozen", "probe"]
ReceiptType = Literal[
    "granted", "progress", "wait", "received", "applied", "rejected", "refused", "settled", "hello"
]
FINAL: frozenset[str] = frozenset({"applied", "rejected", "refused", "settled"})


class Announcement(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The newest version, signed by the coordinator; retained on ``model/broadcast``."""

    wire: int
    federation: Name
    run: Id16
    started: Seconds  # wall time of the run's start, seconds since 1970
    term: Count
    number: Number  # version number; -1 while there is no version
    digest: Digest  # model digest (32 bytes); NO_DIGEST while there is no version
    schema: Digest  # schema digest; NO_DIGEST while there is no version
    issued: Seconds  # wall time of this signature
    state: Literal["running", "over"]
    wanted: Literal["", "initial"] = ""
    spread: Seconds = 0.0  # seconds over which agents spread their first offers after a coordinator birth
    epoch: Bytes32 = b""  # the coordinator's epoch X25519 public key (32 bytes)
    key: Id8 = b""  # id of the group key (8 bytes) that seals this version
    frame: Count = 524288  # largest sealed update frame the coordinator takes, bytes
    offer: Count = 16384  # largest offer frame, bytes
    transfer: Id16 = b""  # publication id of the sealed version
    slot: Number = -1  # -1: the model is inside
    chunks: Count = 0  # chunk frames in the slot
    pages: Count = 0  # manifest pages in the slot
    page: Digest = b""  # digest of the sealed frame of page 0
    model: bytes = b""  # the sealed model frame, when it is inside
    hints: Numbers = {}  # training settings the operator proposes, e.g. proximal_mu


class ModelContent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the frame of an inline model holds: the schema and every chunk."""

    schema: bytes
    chunks: list[bytes]


class Manifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the pages of a slot hold, joined."""

    schema: bytes
    digests: bytes  # 32 bytes a chunk: BLAKE2b-256 of the sealed frame as published


class Page(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One manifest page; only page 0 names the others."""

    piece: bytes
    others: bytes = b""  # page 0: 32 bytes for each page from 1 on


class GroupKey(msgspec.Struct, frozen=True, kw_only=True):
    """One group key, which neither prints nor pickles."""

    id: Id8
    key: Bytes32

    def __repr__(self) -> str:
        return f"GroupKey(id={self.id!r}, key=***)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("keys are neither pickled nor copied")


class GroupKeys(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Every group key that a live slot uses; retained, sealed, on ``keys/<client>``."""

    term: Count
    counter: Count
    keys: list[GroupKey]


class UpdateId(msgspec.Struct, frozen=True, order=True):
    """Names an update for ever, together with the agent's id."""

    incarnation: Id16
    sequence: Count


class Offer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An agent says what it would send; small updates are inside."""

    incarnation: Id16
    sequence: Count
    base: Digest
    base_number: Number
    schema: Digest
    digest: Digest  # root digest of the update's content
    encoding: Name
    chunks: Count  # number of update frames
    size: Count  # bytes of chunk payloads, all together
    examples: Count
    steps: Count = 0
    seconds: Seconds = 0.0  # spent training
    metrics: Numbers = {}
    inline: list[bytes] = []  # all chunk payloads, or none
    schema_body: bytes = b""  # only with base = NO_DIGEST
    send: Count = 0


class Asked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An update that an agent asks about."""

    incarnation: Id16
    sequence: Count
    digest: Digest


class Note(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A small sealed message from an agent. ``counter`` grows; the coordinator ignores older ones."""

    type: NoteType
    incarnation: Id16
    counter: Count
    updates: list[Asked] = []  # ask
    transfer: Id16 = b""  # absent, pulling, pin: publication id; probe: transfer id
    chunks: list[Count] = []  # absent
    pages: list[Count] = []  # absent
    send: Count = 0  # probe
    term: Count = 0  # frozen: newest known to the agent
    number: Number = -1


class Receipt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The coordinator's word on an update. (term, counter) grows; agents ignore older ones."""

    type: ReceiptType
    term: Count
    counter: Count
    newest_term: Count
    newest_number: Number
    incarnation: Id16 = b""
    sequence: Number = -1
    digest: Digest = b""
    transfer: Id16 = b""
    window: Count = 0  # granted, progress: bytes that may be unanswered at once
    send: Count = 0  # granted, progress: highest send number seen
    missing: list[Run] = []  # granted, progress: [first, count] runs of chunks not here
    upto: Count = 0  # granted, progress: `missing` is complete below this chunk index
    after: Seconds = 0.0  # wait: seconds
    version: Number = -1  # applied: the version that holds it
    reason: Text = ""  # rejected, refused
    detail: Text = ""


T = TypeVar("T", bound=msgspec.Struct)


def encode(message: msgspec.Struct) -> bytes:
    """Return the message as one msgpack map; fields that have their default are left out."""
    # Not the message itself: msgspec's heads of maps have room for all fields, and are not the shortest.
    return pack(msgspec.to_builtins(message, builtin_types=(bytes,)))


def decode(data: Buffer, kind: type[T], limit: int) -> T:
    """Read one message of type ``kind`` from at most ``limit`` bytes.

    Raises:
        LimitError: ``data`` is longer than ``limit``.
        MalformedError: not msgpack, not a map, a field missing, of another type or out of its range.
    """
    if len(data) > limit:
        raise LimitError(f"a message of type {kind.__name__} in bytes", len(data), limit)
    return unpack_as(data, kind)
