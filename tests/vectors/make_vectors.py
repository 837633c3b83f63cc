"""Write the golden vectors of the wire again: ``python tests/vectors/make_vectors.py``.

Everything but zstd's output and stochastic rounding follows from the constants below. Those two may change
between versions of zstd and numpy, so what is stored of them is kept as long as it still decodes to what it
should. Bytes are hexadecimal throughout.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
import numpy as np
import zstandard

from antiphon.codecs import announcements, chunks, digests, encodings, frames, messages, schema, sealing
from antiphon.codecs.frames import Header, Kind

FOLDER = Path(__file__).parent
FEDERATION, AGENT = "banks", "bank-1"
RUN, TRANSFER, PUBLICATION, INCARNATION = (bytes([n]) * 16 for n in (0x11, 0x22, 0x33, 0x44))
BASE = bytes([0x55]) * 32
AGENT_KEY, COORDINATOR_KEY, EPOCH_KEY, ONE_TIME_KEY = (
    sealing.SecretKey.load(bytes(range(n, n + 32))) for n in (0x00, 0x20, 0x40, 0x60)
)
SIGNING_KEY = sealing.SigningKey.load(bytes(range(0x80, 0xA0)))
GROUP_KEY = messages.GroupKey(id=bytes(range(8)), key=bytes(range(0xA0, 0xC0)))
NONCE = bytes(range(0xC0, 0xD8))
PAIR = sealing.pair_key(
    AGENT_KEY,
    COORDINATOR_KEY.public,
    federation=FEDERATION,
    agent=AGENT_KEY.public,
    coordinator=COORDINATOR_KEY.public,
)
EPOCH_ID = sealing.epoch_id(EPOCH_KEY.public)

MODEL: Mapping[str, Any] = {
    "bn.num_batches_tracked": np.array(258, np.int64),
    "bn.running_mean": np.array([0.5, -1.5], np.float32),
    "bn.running_var": np.array([1.0, 2.0], np.float32),
    "fc.mask": np.array([[True, False], [False, True]]),
    "fc.weight": np.array([[1.0, -2.0, 3.5], [0.0, -0.0, 1e-45]], np.float32),
    "half": np.array([1.5, 65504.0], np.float16),
    "ω": np.array(0.25, np.float32),
}
WIDE: Mapping[str, Any] = {
    "b": np.array([0x7FF8000000000001, 0x8000000000000000, 1], np.uint64).view(np.float64),
    "steps": np.array([1, 2], np.uint16),
}


def plain(value: Any) -> Any:
    """Return a value with every ``bytes`` in hexadecimal and every message as a map."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, msgspec.Struct):
        value = _builtins(value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in cast(dict[Any, Any], value).items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in cast(list[Any], value)]
    return value


def keys() -> dict[str, Any]:
    """Every step of section 4."""
    update = sealing.purpose_key(PAIR, "update", TRANSFER)
    purposes = {
        purpose: sealing.purpose_key(PAIR, purpose, AGENT.encode()).export()
        for purpose in ("note", "receipt", "group-key")
    }
    return {
        "federation": FEDERATION,
        "agent": AGENT,
        "transfer": TRANSFER,
        "agent_secret": AGENT_KEY.export(),
        "agent_public": AGENT_KEY.public,
        "coordinator_secret": COORDINATOR_KEY.export(),
        "coordinator_public": COORDINATOR_KEY.public,
        "epoch_secret": EPOCH_KEY.export(),
        "epoch_public": EPOCH_KEY.public,
        "epoch_key_id": EPOCH_ID,
        "one_time_secret": ONE_TIME_KEY.export(),
        "one_time_public": ONE_TIME_KEY.public,
        "signing_secret": SIGNING_KEY.export(),
        "signing_public": SIGNING_KEY.public,
        "static_exchange": sealing.bindings.crypto_scalarmult(AGENT_KEY.export(), COORDINATOR_KEY.public),
        "pair_data": b"".join(
            map(digests.prefixed, (FEDERATION.encode(), AGENT_KEY.public, COORDINATOR_KEY.public))
        ),
        "pair": PAIR.export(),
        "purposes": {**purposes, "update": update.export()},
        "once_exchange": sealing.bindings.crypto_scalarmult(ONE_TIME_KEY.export(), EPOCH_KEY.public),
        "update_key": sealing.update_key(PAIR, TRANSFER, ONE_TIME_KEY, EPOCH_KEY.public).export(),
        "group_key": {"id": GROUP_KEY.id, "key": GROUP_KEY.key},
        "low_order": [bytes(32), bytes([1]) + bytes(31), bytes([0xEC]) + bytes([0xFF]) * 30 + bytes([0x7F])],
    }


def schemas() -> list[dict[str, Any]]:
    """Schema bytes, layout and digests of section 5."""
    found: list[dict[str, Any]] = []
    for model, roles in ((MODEL, {}), (WIDE, {"steps": "max"})):
        ours = schema.infer(model, roles)
        vector, exact = ours.pack(model)
        found.append(
            {
                "tensors": [[t.name, list(t.shape), t.dtype, t.role, t.extra] for t in ours.tensors],
                "arrays": {name: np.asarray(array).tobytes() for name, array in model.items()},
                "schema": ours.encode(),
                "schema_digest": ours.digest,
                "vector_dtype": ours.dtype,
                "vector": bytes(digests.little_endian(vector)),
                "exact": exact,
                "model_digest": schema.model_digest(ours, vector, exact),
            }
        )
    return found


def encoded(stored: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every encoding, at its corners."""
    specials = [0.0, -0.0, 1.0, -1.0, 1e-45, 1e-8, 2049.0, 2051.0, 65504.0, 65520.0, 1e30, 3.3e38, 3.4e38]
    floats = np.array([*specials, np.inf, -np.inf], np.float32)
    ties = np.array([0x3F808000, 0x3F818000, 0x3F808001, 0x7F7FFFFF, 0xFF7FFFFF, 0x7F800001], np.uint32)
    wide = np.array([0.1, 1e300, -1e300, 1e-300], np.float64)
    # A scale of exactly 1 and of exactly 2, so that nothing is left to chance; then a block of zeros.
    counts = np.concatenate([np.arange(1024) % 255 - 127, (np.arange(1024) % 255 - 127) * 2, [0, 0, 0]])
    cases = [(name, floats) for name in ("float64", "float32", "float16", "bfloat16")]
    cases += [("bfloat16", ties.view(np.float32)), ("int8", counts.astype(np.float32))]
    cases += [(name, wide) for name in encodings.ENCODINGS]
    found: list[dict[str, Any]] = []
    for name, values in cases:
        chance = name == "int8" and values.dtype.name == "float64"
        data = encodings.encode(values, name, np.random.default_rng(0))
        if chance and stored:
            data = bytes.fromhex(stored[-1]["encoded"])
        decoded = encodings.decode(data, name, values.size, values.dtype.name)
        found.append(
            {
                "encoding": name,
                "dtype": values.dtype.name,
                "elements": values.size,
                "values": values.astype(values.dtype.newbyteorder("<")).tobytes(),
                "encoded": data,
                "decoded": bytes(digests.little_endian(decoded)),
                # A block that is rounded by chance pins the decoding alone.
                "encoding_is_deterministic": not chance,
            }
        )
    return found


def updates(stored: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """An update in every encoding: its root digest and its chunks, two where a block limit allows."""
    delta = {"n": np.array([7, 8], np.int32), "w": np.arange(-515, 515, dtype=np.float32) / 64}
    ours = schema.infer(delta)
    vector, exact = ours.pack(delta)
    kept = {(row["encoding"], index): row for row in stored for index in range(9)}
    found: list[dict[str, Any]] = []
    for name in encodings.ENCODINGS:
        data = encodings.encode(vector, name, np.random.default_rng(0))
        if (name, 0) in kept:
            data = bytes.fromhex(kept[name, 0]["encoded"])
        root = chunks.UpdateDigest(ours.digest, BASE, name)
        root.update(data)
        root.update(exact)
        cuts = (chunks.Cut(0, 0, 1), chunks.Cut(0, 1, 1), chunks.Cut(1, 0, len(exact)))
        found.append(
            {
                "encoding": name,
                "schema": ours.encode(),
                "schema_digest": ours.digest,
                "base_digest": BASE,
                "encoded": data,
                "exact": exact,
                "root_digest": root.digest(),
                "chunks": [
                    _chunk(ours, name, data, exact, cut, _stored(kept.get((name, index)), index))
                    for index, cut in enumerate(cuts)
                ],
            }
        )
    return found


def _stored(row: dict[str, Any] | None, index: int) -> bytes:
    return bytes.fromhex(row["chunks"][index]["payload"]) if row and index < len(row["chunks"]) else b""


def _chunk(
    ours: schema.Schema, name: str, data: bytes, exact: bytes, cut: chunks.Cut, stored: bytes
) -> dict[str, Any]:
    payload = chunks.cut(ours, name, data, exact, cut)
    content = chunks.raw(chunks.parse(payload, 1 << 20), ours)
    if stored and chunks.raw(chunks.parse(stored, 1 << 20), ours) == content:
        payload = stored
    row: dict[str, Any] = {"section": cut.section, "first": cut.first, "count": cut.count, "payload": payload}
    if cut.first:
        row["shuffled"] = zstandard.ZstdDecompressor().decompress(chunks.parse(payload, 1 << 20).data)
        row["content"] = content
    return row


def refused() -> list[dict[str, str]]:
    """Chunk payloads for the update's schema that must be refused, and why."""
    zeros = bytes(4096)
    good = zstandard.ZstdCompressor(level=1).compress(zeros)
    unsized = zstandard.ZstdCompressor(level=1, write_content_size=False).compress(zeros)
    bomb = zstandard.ZstdCompressor(level=1).compress(bytes(100_000))
    rows: list[tuple[str, list[Any]]] = [
        ("the zstd frame states no size", [0, 0, 1, "float32", unsized]),
        ("the zstd frame states more than the range holds", [0, 0, 1, "float32", bomb]),
        ("something follows the zstd frame", [0, 0, 1, "float32", good + b"\x00"]),
        ("a second zstd frame follows", [0, 0, 1, "float32", good + good]),
        ("the range holds less", [0, 1, 1, "float32", good]),
        ("the range lies outside", [0, 2, 1, "float32", good]),
        ("an empty range", [0, 0, 0, "float32", good]),
        ("an unknown section", [2, 0, 1, "float32", good]),
        ("an unknown encoding", [0, 0, 1, "int4", good]),
        ("an encoding in the exact section", [1, 0, 8, "float32", good]),
    ]
    return [{"why": why, "payload": messages.pack(row).hex()} for why, row in rows]


def announcement() -> messages.Announcement:
    """One with every field in use but the inline model's."""
    return messages.Announcement(
        wire=1,
        federation=FEDERATION,
        run=RUN,
        started=1700000000.5,
        term=1700000001,
        number=7,
        digest=BASE,
        schema=bytes([0x66]) * 32,
        issued=1700000600.25,
        state="running",
        spread=0.5,
        epoch=EPOCH_KEY.public,
        key=GROUP_KEY.id,
        frame=262144,
        offer=8192,
        transfer=PUBLICATION,
        slot=2,
        chunks=3,
        pages=1,
        page=bytes([0x77]) * 32,
        hints={"proximal_mu": 0.125},
    )


def examples(payloads: list[bytes]) -> list[tuple[str, msgspec.Struct]]:
    """One message of every type."""
    ids: dict[str, Any] = {"incarnation": INCARNATION, "sequence": 3, "digest": BASE}
    offer = messages.Offer(
        **ids,
        base=BASE,
        base_number=7,
        schema=bytes([0x66]) * 32,
        encoding="float32",
        chunks=3,
        size=sum(map(len, payloads)),
        examples=100,
        steps=20,
        seconds=1.5,
        metrics={"loss": 0.25},
        inline=payloads,
    )
    said: dict[str, dict[str, Any]] = {
        "hello": {},
        "ask": {"updates": [messages.Asked(**ids)]},
        "absent": {"transfer": PUBLICATION, "chunks": [0, 300], "pages": [0]},
        "pulling": {"transfer": PUBLICATION},
        "pin": {"transfer": PUBLICATION},
        "need-key": {},
        "frozen": {"term": 1700000001, "number": 7},
        "probe": {"transfer": TRANSFER, "send": 12},
    }
    flow = {**ids, "transfer": TRANSFER}
    missing: dict[str, Any] = {"window": 65536, "send": 12, "missing": [[1, 2], [300, 1]], "upto": 400}
    answered: dict[str, dict[str, Any]] = {
        "granted": {**flow, **missing},
        "progress": {**flow, **missing},
        "wait": {**flow, "after": 2.5},
        "received": flow,
        "applied": {**flow, "version": 8},
        "rejected": {**flow, "reason": "norm", "detail": "12 is more than 10"},
        "refused": {**flow, "reason": "unknown-base"},
        "settled": ids,
        "hello": {},
    }
    notes = [
        _message({"type": kind, "incarnation": INCARNATION, "counter": 5, **_builtins(rest)}, messages.Note)
        for kind, rest in said.items()
    ]
    common = {"term": 1700000001, "counter": 9, "newest_term": 1700000001, "newest_number": 7}
    receipts = [
        _message({"type": kind, **common, **rest}, messages.Receipt) for kind, rest in answered.items()
    ]
    content: list[msgspec.Struct] = [
        announcement(),
        messages.ModelContent(schema=b"schema", chunks=[b"one", b"two"]),
        messages.Manifest(schema=b"schema", digests=bytes(64)),
        messages.Page(piece=b"piece", others=bytes(32)),
        messages.GroupKeys(term=1700000001, counter=2, keys=[GROUP_KEY]),
        offer,
        *notes,
        *receipts,
    ]
    return [(type(message).__name__, message) for message in content]


T = TypeVar("T", bound=msgspec.Struct)


def _message(plain: dict[str, Any], kind: type[T]) -> T:
    return messages.decode(messages.pack(plain), kind, 1 << 20)


def _builtins(value: object) -> Any:
    return msgspec.to_builtins(value, builtin_types=(bytes,))


def sealed(payloads: list[bytes]) -> list[dict[str, Any]]:
    """One frame of every kind under a fixed nonce."""
    parts = dict(reversed(examples(payloads)))  # the first example of each type
    once = sealing.update_key(PAIR, TRANSFER, ONE_TIME_KEY, EPOCH_KEY.public)
    group = sealing.SymmetricKey(GROUP_KEY.key)
    note, receipt, wrapped = (
        sealing.purpose_key(PAIR, purpose, AGENT.encode()) for purpose in ("note", "receipt", "group-key")
    )
    up, down, everyone = (AGENT, "coordinator"), ("coordinator", AGENT), ("coordinator", "*")
    none = (b"", frames.NO_ID, 0, 1)
    rows: list[tuple[Kind, tuple[str, str], tuple[bytes, bytes, int, int], sealing.SymmetricKey, bytes]] = [
        (Kind.GROUP_KEYS, down, none, wrapped, messages.encode(parts["GroupKeys"])),
        (Kind.MODEL_CHUNK, everyone, (GROUP_KEY.id, PUBLICATION, 1, 3), group, payloads[1]),
        (
            Kind.MANIFEST_PAGE,
            everyone,
            (GROUP_KEY.id, PUBLICATION, 0, 1),
            group,
            messages.encode(parts["Page"]),
        ),
        (Kind.OFFER, up, (EPOCH_ID, TRANSFER, 0, 1), once, messages.encode(parts["Offer"])),
        (Kind.UPDATE_CHUNK, up, (EPOCH_ID, TRANSFER, 2, 3), once, messages.pack([4, payloads[2]])),
        (Kind.NOTE, up, none, note, messages.encode(parts["Note"])),
        (Kind.RECEIPT, down, none, receipt, messages.encode(parts["Receipt"])),
    ]
    return [_frame(*row) for row in rows]


def _frame(
    kind: Kind,
    names: tuple[str, str],
    place: tuple[bytes, bytes, int, int],
    key: sealing.SymmetricKey,
    text: bytes,
) -> dict[str, Any]:
    one_time = ONE_TIME_KEY.public if kind is Kind.OFFER else b""
    header = Header(1, FEDERATION, RUN, *names, kind, *place, one_time)
    raw = frames.encode_header(header)
    body = sealing._seal_with(NONCE, key, text, raw)  # pyright: ignore[reportPrivateUsage]
    data = messages.pack([raw, body])
    fields = [getattr(header, name) for name in Header.__struct_fields__]
    return {
        "kind": int(kind),
        "header_fields": fields,
        "header": raw,
        "key": key.export(),
        "nonce": NONCE,
        "plaintext": text,
        "frame": data,
        "frame_digest": frames.frame_digest(data),
    }


def read(name: str) -> Any:
    """Return what is stored under a name, an empty list if there is nothing."""
    path = FOLDER / name
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def vectors() -> dict[str, Any]:
    """Return the content of every file by its name."""
    made = updates(read("updates.json"))
    payloads = [chunk["payload"] for row in made if row["encoding"] == "float32" for chunk in row["chunks"]]
    payload = messages.encode(announcement())
    signature = SIGNING_KEY.sign(announcements.CONTEXT + payload)
    return plain(
        {
            "keys.json": keys(),
            "schemas.json": schemas(),
            "encodings.json": encoded(read("encodings.json")),
            "updates.json": made,
            "refused_chunks.json": read("refused_chunks.json") or refused(),
            "messages.json": [
                {"type": name, "fields": message, "bytes": messages.encode(message)}
                for name, message in examples(payloads)
            ],
            "announcement.json": {
                "signing_public": SIGNING_KEY.public,
                "signed": announcements.CONTEXT + payload,
                "signature": signature,
                "announcement": messages.pack([payload, signature]),
            },
            "frames.json": sealed(payloads),
        }
    )


def main() -> None:
    """Write the files."""
    for name, content in vectors().items():
        (FOLDER / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
