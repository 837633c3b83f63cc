"""Spool files: what a crash or a power cut leaves of them, and a disk that takes nothing more."""

import errno
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from antiphon.broker_config.disk import Disk, RealDisk
from antiphon.broker_config.topics import COORDINATOR
from antiphon.codecs import frames, messages
from antiphon.codecs.errors import PeerError
from antiphon.codecs.frames import Header, Kind
from antiphon.codecs.messages import WIRE
from antiphon.codecs.schema import infer
from antiphon.codecs.sealing import SymmetricKey
from antiphon.coordinator import spool
from antiphon.coordinator.spool import Found, Place, Reader
from antiphon.simulation.clock import run
from tests.coordinator.house import House, running
from tests.coordinator.made import KEY, LIMIT, update
from tests.coordinator.test_transfers import BIG, big, offered

DISK = RealDisk()
TRANSFER, TOTAL = b"t" * 16, 5
SCHEMA = infer({"w": np.zeros(5000, np.float32)})


def chunk(index: int, send: int, key: SymmetricKey = KEY, **header: Any) -> bytes:
    right = Header(
        WIRE, "f", bytes(16), "a", COORDINATOR, Kind.UPDATE_CHUNK, bytes(8), TRANSFER, index, TOTAL
    )
    return frames.seal_frame(
        msgspec.structs.replace(right, **header), key, messages.pack([send, b"payload" * 50])
    )


def write(path: Path, *data: bytes) -> int:
    """Write frames as records; returns where the last one ends."""
    at = 0
    for frame in data:
        at = spool.end(spool.append(DISK, path, at, frame))
    return at


def found(path: Path, disk: Disk = DISK) -> Iterator[Found]:
    return spool.scan(disk, path, TRANSFER, TOTAL, KEY, LIMIT)


def test_scan_finds_every_frame_in_the_order_of_arrival(tmp_path: Path) -> None:
    path = tmp_path / "u"
    end = write(path, chunk(3, 1), chunk(0, 2), chunk(4, 9))
    assert [(each.index, each.send) for each in found(path)] == [(3, 1), (0, 2), (4, 9)]
    assert spool.end(list(found(path))[-1].place) == end == path.stat().st_size


def test_file_that_is_not_there_yet_holds_nothing(tmp_path: Path) -> None:
    assert list(found(tmp_path / "u")) == []


def test_torn_tail_is_no_chunk_wherever_it_is_torn(tmp_path: Path) -> None:
    path = tmp_path / "u"
    end = write(path, chunk(0, 1), chunk(1, 2))
    whole = path.read_bytes()
    for size in range(len(whole) // 2 + 1, end):
        path.write_bytes(whole[:size])
        assert [each.index for each in found(path)] == [0]


@pytest.mark.parametrize(
    "wrong",
    [
        chunk(1, 2, SymmetricKey(bytes(32))),
        chunk(1, 2, transfer=b"u" * 16),
        chunk(1, 2, total=TOTAL + 1),
        bytes(300),
    ],
    ids=["another key", "another transfer", "another total", "zeros"],
)
def test_nothing_after_a_frame_that_does_not_open_is_believed(tmp_path: Path, wrong: bytes) -> None:
    path = tmp_path / "u"
    write(path, chunk(0, 1), wrong, chunk(2, 3))
    assert [each.index for each in found(path)] == [0]


def test_length_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "u"
    end = write(path, chunk(0, 1))
    DISK.append(path, end, (LIMIT + 1).to_bytes(4, "big") + bytes(LIMIT + 1))
    assert [each.index for each in found(path)] == [0]


def test_inline_update_is_read_without_a_file(tmp_path: Path) -> None:
    made = update(tmp_path, SCHEMA, np.ones(5000, np.float32))
    reader = Reader(made, DISK)
    payloads = [reader.payload(n) for n in range(made.chunks)]
    made.path.unlink()
    header = Header(WIRE, "f", bytes(16), "a", COORDINATOR, Kind.OFFER, bytes(8), TRANSFER, 0, 1, b"o" * 32)
    offer = msgspec.structs.replace(made.offer, inline=payloads)
    sealed = frames.seal_frame(header, KEY, messages.encode(offer))
    inside = replace(made, inline=True, frame=sealed, places=(Place(0, len(sealed)),))
    reader = Reader(inside, DISK)
    assert [reader.payload(n) for n in range(made.chunks)] == payloads
    assert inside.spooled == len(sealed)
    opened = replace(inside, payloads=tuple(payloads)).received()
    reader = Reader(opened, DISK)
    assert [reader.payload(n) for n in range(made.chunks)] == payloads
    assert (opened.spooled, opened.frame) == (len(sealed), b"")
    assert inside.received() is inside
    with pytest.raises(PeerError):
        Reader(replace(inside, frame=sealed[:-1] + b"?"), DISK)


class Full:
    """This machine's disk, on which there is no room for appended data while ``full``."""

    def __init__(self) -> None:
        self.full = False

    def append(self, path: Path, at: int, data: bytes | memoryview) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        DISK.append(path, at, data)

    def __getattr__(self, name: str) -> Any:
        return getattr(DISK, name)


def test_full_disk_in_the_middle_of_an_upload_asks_for_patience(tmp_path: Path) -> None:
    disk = Full()

    async def main() -> None:
        async with running(tmp_path, big(), House(tmp_path, disk=disk), initial=BIG) as house:
            peer = await house.join("a")
            _, sent = await offered(peer)
            await peer.until_told("granted")
            await peer.chunk(sent, 0)
            disk.full = True
            await peer.chunk(sent, 1)
            assert (await peer.until_told("wait")).transfer == sent.transfer
            disk.full = False
            told = len(peer.receipts)
            await peer.say(sent.frame)
            word = await peer.until_told("granted", after=told)
            assert word.missing == [[0, sent.offer.chunks]]

    run(main)
