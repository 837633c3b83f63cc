"""The golden vectors: that they are reproduced, and that the formulas of the document alone give them too."""

import hashlib
import json
import runpy
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import zstandard
from nacl import bindings

from antiphon.codecs import announcements, chunks, encodings, frames, messages, schema, sealing
from antiphon.codecs.errors import PeerError, SealError

FOLDER = Path(__file__).parents[1] / "vectors"
NAMES = (
    "keys",
    "schemas",
    "encodings",
    "updates",
    "refused_chunks",
    "messages",
    "announcement",
    "frames",
)


def load(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def rows(name: str) -> Any:
    return pytest.mark.parametrize("row", load(name))


def h(person: str, key: bytes, data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=32, key=key, person=person.encode()).hexdigest()


def lp(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def unhex(*texts: str) -> bytes:
    return b"".join(map(bytes.fromhex, texts))


def test_every_file_is_reproduced() -> None:
    made = runpy.run_path(str(FOLDER / "make_vectors.py"))["vectors"]()
    assert sorted(made) == sorted(f"{name}.json" for name in NAMES)
    for name in NAMES:
        assert made[f"{name}.json"] == load(name), name


def test_key_steps_follow_from_the_document() -> None:
    keys = load("keys")
    secret = {name: unhex(keys[f"{name}_secret"]) for name in ("agent", "coordinator", "epoch", "one_time")}
    public = {name: unhex(keys[f"{name}_public"]) for name in secret}
    for name in secret:
        assert bindings.crypto_scalarmult_base(secret[name]) == public[name]
    static = bindings.crypto_scalarmult(secret["coordinator"], public["agent"])
    assert static.hex() == keys["static_exchange"]
    data = lp(keys["federation"].encode()) + lp(public["agent"]) + lp(public["coordinator"])
    assert data.hex() == keys["pair_data"]
    assert h("antiphon-pair-1", static, data) == keys["pair"]
    pair = unhex(keys["pair"])
    for purpose, key in keys["purposes"].items():
        id = unhex(keys["transfer"]) if purpose == "update" else keys["agent"].encode()
        assert h(purpose, pair, id) == key
    once = bindings.crypto_scalarmult(secret["epoch"], public["one_time"])
    assert once.hex() == keys["once_exchange"]
    assert h("update-once", unhex(keys["purposes"]["update"]), once) == keys["update_key"]
    assert h("antiphon-epoch-1", b"", public["epoch"])[:16] == keys["epoch_key_id"]
    for point in keys["low_order"]:
        with pytest.raises(SealError):
            sealing.check_public(unhex(point))


@rows("schemas")
def test_schema_is_laid_out_as_the_document_says(row: dict[str, Any]) -> None:
    data = unhex(row["schema"])
    fields = {"version": 1, "vector": row["vector_dtype"], "tensors": row["tensors"]}
    assert msgpack.packb(fields) == data
    assert h("antiphon-schema1", b"", data) == row["schema_digest"]
    assert (
        h("antiphon-model-1", b"", unhex(row["schema_digest"], row["vector"], row["exact"]))
        == row["model_digest"]
    )
    ours = schema.decode(data, len(data))
    vector = np.frombuffer(unhex(row["vector"]), np.dtype(row["vector_dtype"]).newbyteorder("<"))
    back = ours.unpack(vector.astype(row["vector_dtype"]), unhex(row["exact"]))
    for name, array in back.items():
        little = array.astype(array.dtype.newbyteorder("<"))
        assert little.tobytes().hex() == row["arrays"][name]


@rows("encodings")
def test_encoding_is_the_pinned_one(row: dict[str, Any]) -> None:
    name, count, dtype = row["encoding"], row["elements"], row["dtype"]
    values = np.frombuffer(unhex(row["values"]), np.dtype(dtype).newbyteorder("<")).astype(dtype)
    data = unhex(row["encoded"])
    decoded = encodings.decode(data, name, count, dtype)
    assert decoded.astype(decoded.dtype.newbyteorder("<")).tobytes().hex() == row["decoded"]
    if row["encoding_is_deterministic"]:
        # Another generator on purpose: nothing here is left to chance.
        assert encodings.encode(values, name, np.random.default_rng(7)) == data


@rows("updates")
def test_update_is_cut_and_digested_as_the_document_says(row: dict[str, Any]) -> None:
    ours = schema.decode(unhex(row["schema"]), 10_000)
    assert ours.digest.hex() == row["schema_digest"]
    content = unhex(row["schema_digest"], row["base_digest"]) + lp(row["encoding"].encode())
    content += unhex(row["encoded"], row["exact"])
    assert h("antiphon-update1", b"", content) == row["root_digest"]
    parsed = [chunks.parse(unhex(chunk["payload"]), 100_000) for chunk in row["chunks"]]
    chunks.covers(parsed, ours)
    assert b"".join(chunks.raw(chunk, ours) for chunk in parsed).hex() == row["encoded"] + row["exact"]


@rows("updates")
def test_chunk_is_a_shuffled_zstd_frame(row: dict[str, Any]) -> None:
    width = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}[row["encoding"]]
    pinned = [chunk for chunk in row["chunks"] if "shuffled" in chunk]
    assert pinned
    for chunk in pinned:
        section, first, count, _, data = msgpack.unpackb(unhex(chunk["payload"]))
        assert (section, first, count) == (chunk["section"], chunk["first"], chunk["count"])
        assert zstandard.ZstdDecompressor().decompress(data).hex() == chunk["shuffled"]
        items = np.frombuffer(unhex(chunk["content"]), np.uint8).reshape(-1, width)
        assert items.T.tobytes().hex() == chunk["shuffled"]


@rows("refused_chunks")
def test_chunk_that_must_be_refused_is(row: dict[str, Any]) -> None:
    ours = schema.decode(unhex(load("updates")[0]["schema"]), 10_000)
    with pytest.raises(PeerError):
        chunks.raw(chunks.parse(unhex(row["payload"]), 100_000), ours)


@rows("messages")
def test_message_has_the_pinned_bytes(row: dict[str, Any]) -> None:
    kind = getattr(messages, row["type"])
    data = unhex(row["bytes"])
    message = messages.decode(data, kind, len(data))
    assert messages.encode(message) == data
    assert set(msgpack.unpackb(data)) == set(row["fields"])


def test_every_type_of_note_and_receipt_is_pinned() -> None:
    said = {(row["type"], row["fields"].get("type")) for row in load("messages")}
    assert {("Note", kind) for kind in messages.NoteType.__args__} <= said
    assert {("Receipt", kind) for kind in messages.ReceiptType.__args__} <= said


def test_announcement_verifies() -> None:
    row = load("announcement")
    raw, public = unhex(row["announcement"]), unhex(row["signing_public"])
    payload, signature = msgpack.unpackb(raw)
    assert (b"antiphon-announcement-1\x00" + payload).hex() == row["signed"]
    assert signature.hex() == row["signature"]
    assert bindings.crypto_sign_open(signature + unhex(row["signed"]), public)
    assert announcements.verify(raw, public, 1024).number == 7


@rows("frames")
def test_frame_opens_with_the_documented_cipher_alone(row: dict[str, Any]) -> None:
    header, body = msgpack.unpackb(unhex(row["frame"]))
    assert header.hex() == row["header"]
    fields = [item.hex() if isinstance(item, bytes) else item for item in msgpack.unpackb(header)]
    assert fields == row["header_fields"]
    assert body[:24].hex() == row["nonce"]
    plain = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
        body[24:], header, body[:24], unhex(row["key"])
    )
    assert plain.hex() == row["plaintext"]
    assert h("antiphon-frame-1", b"", unhex(row["frame"])) == row["frame_digest"]
    frame = frames.read(unhex(row["frame"]), 100_000)
    assert frames.open_frame(frame, sealing.SymmetricKey(unhex(row["key"]))) == plain


def test_a_frame_of_every_kind_is_pinned() -> None:
    assert [row["kind"] for row in load("frames")] == list(frames.Kind)
