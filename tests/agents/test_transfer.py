"""The frames of one transfer."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from antiphon.agents import transfer, update
from antiphon.agents.outbox import Entry, Head, Outbox
from antiphon.codecs import chunks, frames, messages, schema, sealing
from antiphon.codecs.errors import ConfigError
from antiphon.codecs.frames import Header, Kind
from antiphon.codecs.messages import NO_DIGEST, Announcement, Offer
from antiphon.codecs.sealing import SecretKey, SymmetricKey

KEY = SymmetricKey(b"k" * 32)
VERSION = Announcement(
    wire=1,
    federation="banks",
    run=b"r" * 16,
    started=0.0,
    term=1,
    number=3,
    digest=NO_DIGEST,
    schema=NO_DIGEST,
    issued=0.0,
    state="running",
    epoch=SecretKey.generate().public,
)


def header() -> Header:
    return Header(1, "banks", b"r" * 16, "a1", "coordinator", Kind.OFFER, b"", b"t" * 16, 0, 1)


def entry_of(folder: Path, values: NDArray[np.float32]) -> Entry:
    own = schema.infer({"w": values, "n": np.array(1, np.int64)})
    head = Head(
        run=bytes(16),
        incarnation=b"i" * 16,
        sequence=1,
        base=b"b" * 32,
        base_term=1,
        base_number=4,
        schema=b"",
        digest=bytes(32),
        encoding="float32",
        vector_bytes=0,
        exact_bytes=0,
        raw_bytes=0,
        examples=10,
    )
    outbox = Outbox(folder, 1 << 30, 0)
    outbox.load()
    return update.store(outbox, head, own, values, bytes(8), np.random.default_rng(2))


def derive(id: bytes, one_time: SecretKey, epoch: bytes) -> SymmetricKey:
    return KEY


def test_a_small_update_travels_inside_its_offer(tmp_path: Path) -> None:
    entry = entry_of(tmp_path, np.ones(100, np.float32))
    made = transfer.begin(entry, header(), VERSION, 1 << 20, derive)
    frame = frames.read(made.offer(7), 16384)
    offer = messages.decode(frames.open_frame(frame, KEY), Offer, 16384)
    assert (offer.send, len(offer.inline), offer.chunks) == (7, 2, 2)
    assert offer.size == sum(map(len, offer.inline))
    assert (made.sizes, made.largest) == ((), 0)
    assert frame.header.key_id == sealing.epoch_id(VERSION.epoch)


def test_an_update_that_shrinks_into_an_offer_does_so(tmp_path: Path) -> None:
    made = transfer.begin(
        entry_of(tmp_path, np.zeros(20_000, np.float32)), header(), VERSION, 1 << 20, derive
    )
    assert made.inline


def test_a_large_update_is_cut_into_frames_that_fit(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=50_000).astype(np.float32)
    entry = entry_of(tmp_path, values)
    made = transfer.begin(entry, header(), VERSION, 10_000, derive)
    sealed = [made.chunk(index, index + 1) for index in range(len(made.cuts))]
    assert not made.inline
    assert all(len(frame) <= size <= 10_000 for frame, size in zip(sealed, made.sizes, strict=True))
    payloads = [messages.unpack(frames.open_frame(frames.read(f, 10_000), KEY))[1] for f in sealed]
    chunks.covers([chunks.parse(payload, 10_000) for payload in payloads], made.schema)
    offer = messages.decode(frames.open_frame(frames.read(made.offer(0), 16384), KEY), Offer, 16384)
    assert sum(map(len, payloads)) <= offer.size


def test_packets_too_small_for_a_block_are_a_matter_for_a_person(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="packet limit"):
        transfer.begin(entry_of(tmp_path, np.ones(5000, np.float32)), header(), VERSION, 3000, derive)
