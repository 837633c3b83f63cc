"""The frames of one transfer."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from outboxes import blank, fresh

from antiphon.agents import transfer, update
from antiphon.agents.entries import Entry, Record
from antiphon.codecs import chunks, digests, frames, messages, schema, sealing
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
    return update.store(fresh(folder), blank(), own, values, bytes(8), np.random.default_rng(2))


def derive(id: bytes, one_time: SecretKey, epoch: bytes) -> SymmetricKey:
    return KEY


def test_a_small_update_travels_inside_its_offer(tmp_path: Path) -> None:
    entry = entry_of(tmp_path, np.ones(100, np.float32))
    made = transfer.begin(entry, header(), VERSION, 1 << 20, derive)
    frame = frames.read(made.offer(7), 16384)
    offer = messages.decode(frames.open_frame(frame, KEY), Offer, 16384)
    assert (offer.send, len(offer.inline), offer.chunks) == (7, 2, 2)
    assert offer.size == sum(map(len, offer.inline))
    assert made.sizes == ()
    assert made.fits(1)
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


def transfer_of(entry: Entry, frame: int, version: Announcement = VERSION) -> transfer.Transfer:
    return transfer.begin(entry, header(), version, frame, keyed)


def keyed(id: bytes, one_time: SecretKey, epoch: bytes) -> SymmetricKey:
    return SymmetricKey(digests.digest("test", id + epoch, key=one_time.export()))


def large(folder: Path) -> Entry:
    return entry_of(folder, np.random.default_rng(0).normal(size=50_000).astype(np.float32))


def test_a_transfer_that_was_begun_goes_on_under_its_own_key_and_cut(tmp_path: Path) -> None:
    entry = large(tmp_path)
    first = transfer_of(entry, 10_000)
    assert first.record.transfer == b"t" * 16
    entry.record = replace(first.record, reserved=1024)
    later = msgspec.structs.replace(VERSION, epoch=SecretKey.generate().public)  # a day later
    other = msgspec.structs.replace(header(), transfer=b"u" * 16)
    again = transfer.begin(entry, other, later, 20_000, keyed)
    assert (again.header, again.cuts, again.sizes) == (first.header, first.cuts, first.sizes)
    assert again.record.reserved == 1024
    payload = frames.open_frame(frames.read(again.chunk(3, 1025), 10_000), first.key)
    before = frames.open_frame(frames.read(first.chunk(3, 1), 10_000), again.key)
    assert messages.unpack(payload)[1] == messages.unpack(before)[1]


def test_a_transfer_whose_frames_became_too_large_begins_anew(tmp_path: Path) -> None:
    entry = large(tmp_path)
    first = transfer_of(entry, 10_000)
    assert first.fits(10_000)
    assert not first.fits(8_000)
    entry.record = replace(first.record, transfer=b"v" * 16, reserved=1024)
    again = transfer_of(entry, 8_000)
    assert (again.id, again.record.reserved) == (b"t" * 16, 0)
    assert again.record.secret != entry.record.secret
    assert transfer_of(entry, 9_000).id == (b"v" * 16 if max(first.sizes) <= 9_000 else b"t" * 16)


def test_an_exact_section_that_fills_its_frames_fits_the_limit_that_it_was_cut_for(tmp_path: Path) -> None:
    counters = np.arange(100_000, dtype=np.int64)
    own = schema.infer({"w": np.zeros(1, np.float32), "n": counters})
    chance = np.random.default_rng(2)
    entry = update.store(fresh(tmp_path), blank(), own, np.zeros(1, np.float32), counters.tobytes(), chance)
    made = transfer_of(entry, 20_000)
    assert made.fits(20_000)
    assert not made.fits(19_000)


def test_keys_do_not_show_in_a_record(tmp_path: Path) -> None:
    record = Record(b"t" * 16, SecretKey.generate(), b"e" * 32, 1, 1)
    assert "SecretKey(***)" in repr(record)
