"""What the parties say to each other: frozen, typed, and strictly validated when read.

Every message is one msgpack map with the field names below (``docs/protocol.md`` has the byte level). Unknown
keys are ignored, missing or wrongly typed ones are refused. This module does not seal, sign or send.
"""

from typing import Any, Literal, TypeVar

import msgpack
import msgspec

from antiphon.codecs.errors import LimitError, MalformedError

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

Id16 = bytes
Digest = bytes

NoteType = Literal["hello", "ask", "absent", "pulling", "pin", "need-key", "frozen", "probe"]
ReceiptType = Literal[
    "granted", "progress", "wait", "received", "applied", "rejected", "refused", "settled", "hello"
]
FINAL: frozenset[str] = frozenset({"applied", "rejected", "refused", "settled"})


class Announcement(msgspec.Struct, frozen=True, kw_only=True):
    """The newest version, signed by the coordinator; retained on ``model/broadcast``."""

    wire: int
    federation: str
    run: Id16
    started: float  # wall time of the run's start, seconds since 1970
    term: int
    number: int  # version number; -1 while there is no version
    digest: Digest  # model digest (32 bytes); NO_DIGEST while there is no version
    schema: Digest  # schema digest; NO_DIGEST while there is no version
    issued: float  # wall time of this signature
    state: Literal["running", "over"]
    wanted: Literal["", "initial"] = ""
    spread: float = 0.0  # seconds over which agents spread their first offers after a coordinator birth
    epoch: bytes = b""  # the coordinator's epoch X25519 public key (32 bytes)
    key: bytes = b""  # id of the group key (8 bytes) that seals this version
    frame: int = 524288  # largest sealed update frame the coordinator takes, bytes
    offer: int = 16384  # largest offer frame, bytes
    transfer: Id16 = b""  # publication id of the sealed version
    slot: int = -1  # -1: the model is inside
    chunks: int = 0  # chunk frames in the slot
    pages: int = 0  # manifest pages in the slot
    page: Digest = b""  # digest of the sealed frame of page 0
    model: bytes = b""  # the sealed model frame, when it is inside
    hints: dict[str, float] = {}  # training settings the operator proposes, e.g. proximal_mu


class ModelContent(msgspec.Struct, frozen=True, kw_only=True):
    """What the frame of an inline model holds: the schema and every chunk."""

    schema: bytes
    chunks: list[bytes]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What the pages of a slot hold, joined."""

    schema: bytes
    digests: bytes  # 32 bytes a chunk: BLAKE2b-256 of the sealed frame as published


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One manifest page; only page 0 names the others."""

    piece: bytes
    others: bytes = b""  # page 0: 32 bytes for each page from 1 on


class GroupKey(msgspec.Struct, frozen=True, kw_only=True):
    """One group key: ``id`` 8 bytes, ``key`` 32 bytes."""

    id: bytes
    key: bytes


class GroupKeys(msgspec.Struct, frozen=True, kw_only=True):
    """Every group key that a live slot uses; retained, sealed, on ``keys/<client>``."""

    term: int
    counter: int
    keys: list[GroupKey]


class UpdateId(msgspec.Struct, frozen=True, order=True):
    """Names an update for ever, together with the agent's id."""

    incarnation: Id16
    sequence: int


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """An agent says what it would send; small updates are inside."""

    incarnation: Id16
    sequence: int
    base: Digest
    base_number: int
    schema: Digest
    digest: Digest  # root digest of the update's content
    encoding: str
    chunks: int  # number of update frames
    size: int  # bytes of chunk payloads, all together
    examples: int
    steps: int = 0
    seconds: float = 0.0  # spent training
    metrics: dict[str, float] = {}
    inline: list[bytes] = []  # all chunk payloads, or none
    schema_body: bytes = b""  # only with base = NO_DIGEST
    send: int = 0


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """An update that an agent asks about."""

    incarnation: Id16
    sequence: int
    digest: Digest


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """A small sealed message from an agent. ``counter`` grows; the coordinator ignores older ones."""

    type: NoteType
    incarnation: Id16
    counter: int
    updates: list[Asked] = []  # ask
    transfer: Id16 = b""  # absent, pulling, pin: publication id; probe: transfer id
    chunks: list[int] = []  # absent
    pages: list[int] = []  # absent
    send: int = 0  # probe
    term: int = 0  # frozen: newest known to the agent
    number: int = -1


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """The coordinator's word on an update. (term, counter) grows; agents ignore older ones."""

    type: ReceiptType
    term: int
    counter: int
    newest_term: int
    newest_number: int
    incarnation: Id16 = b""
    sequence: int = -1
    digest: Digest = b""
    transfer: Id16 = b""
    window: int = 0  # granted, progress: bytes that may be unanswered at once
    send: int = 0  # granted, progress: highest send number seen
    missing: list[list[int]] = []  # granted, progress: [first, count] runs of chunks not here
    upto: int = 0  # granted, progress: `missing` is complete below this chunk index
    after: float = 0.0  # wait: seconds
    version: int = -1  # applied: the version that holds it
    reason: str = ""  # rejected, refused
    detail: str = ""


T = TypeVar("T", bound=msgspec.Struct)


def encode(message: msgspec.Struct) -> bytes:
    """Return the message as one msgpack map."""
    plain: Any = msgspec.to_builtins(message, builtin_types=(bytes,))
    packed = msgpack.packb(plain)
    assert packed is not None  # narrows the stub's type; packb always returns bytes
    return packed


def decode(data: bytes | memoryview, kind: type[T], limit: int) -> T:
    """Read one message of type ``kind`` from at most ``limit`` bytes.

    Raises:
        LimitError: ``data`` is longer than ``limit``.
        MalformedError: not msgpack, not a map, a field missing or of another type.
    """
    if len(data) > limit:
        raise LimitError(f"a message of type {kind.__name__} in bytes", len(data), limit)
    return convert(unpack(data), kind)


def convert(plain: object, kind: type[T]) -> T:
    """Validate plain msgpack values as a message.

    Raises:
        MalformedError: a field is missing or of another type.
    """
    try:
        return msgspec.convert(plain, kind, strict=True)
    except msgspec.ValidationError as error:
        raise MalformedError(f"{kind.__name__}: {error}") from None


def unpack(data: bytes | memoryview) -> Any:
    """Read one msgpack value; nothing in it can be larger than ``data`` itself.

    Raises:
        MalformedError: not exactly one msgpack value, or nested too deeply.
    """
    size = len(data)
    try:
        return msgpack.unpackb(
            data,
            max_bin_len=size,
            max_str_len=min(size, 65536),
            max_array_len=size,
            max_map_len=min(size, 65536),
            max_ext_len=0,
        )
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"not msgpack: {str(error)[:80]}") from None
