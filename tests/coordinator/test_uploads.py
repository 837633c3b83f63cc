"""Uploads after a crash: what is on disk is not asked for again, what is torn is."""

from pathlib import Path

import numpy as np
import pytest

from antiphon.codecs import frames, messages
from antiphon.codecs.frames import Header, Kind
from antiphon.codecs.messages import WIRE, Offer
from antiphon.codecs.schema import infer
from antiphon.coordinator import spool, uploads
from antiphon.coordinator.uploads import Upload
from antiphon.simulation.disk import MemoryDisk
from tests.coordinator.made import KEY, LIMIT

SCHEMA = infer({"w": np.zeros(60, np.float32)})
PATH = Path("/spool/a-1.update")
TRANSFER, TOTAL = b"t" * 16, 8


def upload() -> Upload:
    offer = Offer(
        incarnation=b"i" * 16,
        sequence=1,
        base=b"b" * 32,
        base_number=0,
        schema=SCHEMA.digest,
        digest=b"d" * 32,
        encoding="float32",
        chunks=TOTAL,
        size=TOTAL * 500,
        examples=1,
        send=2,
    )
    return uploads.begin("a", TRANSFER, offer, SCHEMA, PATH, KEY, LIMIT, 0.0)


def chunk(index: int, send: int) -> bytes:
    header = Header(
        WIRE, "f", bytes(16), "a", "coordinator", Kind.UPDATE_CHUNK, bytes(8), TRANSFER, index, TOTAL
    )
    return frames.seal_frame(header, KEY, messages.pack([send, b"payload" * 50]))


def sent(disk: MemoryDisk, *indices: int) -> Upload:
    """An upload whose chunks came in this order."""
    going = upload()
    for send, index in enumerate(indices, 3):
        going.arrived(index, spool.append(disk, PATH, going.end, chunk(index, send)))
    return going


def restored(disk: MemoryDisk) -> Upload:
    again = upload()
    uploads.restore(disk, again)
    return again


@pytest.fixture
def disk() -> MemoryDisk:
    made = MemoryDisk()
    made.make(PATH.parent)
    return made


def test_upload_goes_on_where_it_was_whatever_the_order_of_its_chunks(disk: MemoryDisk) -> None:
    going = sent(disk, 5, 0, 7, 2)
    again = restored(disk)
    assert again.assembly.missing() == going.assembly.missing() == ([[1, 1], [3, 2], [6, 1]], TOTAL)
    assert (again.end, again.places, again.highest) == (going.end, going.places, 6)
    assert again.opened
    for index in (1, 3, 4, 6):
        again.arrived(index, spool.append(disk, PATH, again.end, chunk(index, 9)))
    update = again.update()
    reader = spool.Reader(update, disk)
    assert {reader.payload(index) for index in range(TOTAL)} == {b"payload" * 50}


def test_upload_whose_file_was_never_made_has_all_to_come(disk: MemoryDisk) -> None:
    again = restored(disk)
    assert (again.assembly.count, again.end, again.highest, again.opened) == (0, 0, 2, True)


def test_torn_tail_is_cut_off_and_written_over(disk: MemoryDisk) -> None:
    going = sent(disk, 0, 1)
    disk.append(PATH, going.end, chunk(2, 5)[:100])
    again = restored(disk)
    assert (again.assembly.missing(), again.end) == (([[2, TOTAL - 2]], TOTAL), going.end)
    assert disk.size(PATH) == going.end
    again.arrived(2, spool.append(disk, PATH, again.end, chunk(2, 6)))
    assert restored(disk).assembly.count == 3


def test_chunk_that_lies_there_twice_counts_once(disk: MemoryDisk) -> None:
    going = sent(disk, 0, 1, 0)
    again = restored(disk)
    assert (again.assembly.count, again.end) == (2, going.end)
    again.arrived(2, spool.append(disk, PATH, again.end, chunk(2, 6)))
    assert restored(disk).assembly.count == 3


@pytest.mark.parametrize("seed", range(20))
def test_power_cut_leaves_whole_chunks_or_none_of_them(seed: int) -> None:
    disk = MemoryDisk(seed)
    disk.make(PATH.parent)
    going = sent(disk, 3, 4)
    disk.sync([PATH])
    for send, index in enumerate((0, 1, 2), 10):
        going.arrived(index, spool.append(disk, PATH, going.end, chunk(index, send)))
    disk.fence(power=True)
    again = restored(disk)
    assert {3, 4} <= {index for index in range(TOTAL) if index in again.assembly}
    for index in range(TOTAL):
        if index not in again.assembly:
            again.arrived(index, spool.append(disk, PATH, again.end, chunk(index, 20)))
    reader = spool.Reader(again.update(), disk)
    assert {reader.payload(index) for index in range(TOTAL)} == {b"payload" * 50}


def test_upload_is_no_update_before_it_is_complete(disk: MemoryDisk) -> None:
    with pytest.raises(ValueError, match="not complete"):
        sent(disk, 0, 1).update()
