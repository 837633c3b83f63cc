"""Slots with their files, and what the ledger is told of them."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from antiphon.codecs import sealing
from antiphon.codecs.schema import infer
from antiphon.codecs.sealing import SecretKey, SigningKey
from antiphon.coordinator.keys import Identity
from antiphon.coordinator.ledger.records import DropPin, Operation, PutPin, PutSlot
from antiphon.coordinator.publication import Publication, chunk_file
from antiphon.coordinator.slot_store import LedgerAccess, SlotStore
from antiphon.simulation.clock import EPOCH, run, virtual_environment
from antiphon.simulation.disk import MemoryDisk
from tests.coordinator.made import version

FOLDER = Path("/published")
PACKET = 16 << 10
KEY = sealing.new_group_key()
IDENTITY = Identity("f", SecretKey.generate(), SigningKey.generate())
VECTOR = np.arange(20_000, dtype=np.float32)
SCHEMA = infer({"w": VECTOR})


@dataclass
class Desk:
    """A store, and what it wrote down."""

    disk: MemoryDisk = field(default_factory=MemoryDisk)
    written: list[Operation] = field(default_factory=list[Operation])
    troubles: int = 0

    def store(self) -> SlotStore:
        async def commit(operation: Operation) -> None:
            self.written.append(operation)

        def trouble(_: OSError) -> None:
            self.troubles += 1

        environment = virtual_environment(disk=self.disk)
        ledger = LedgerAccess(commit, self.written.append, trouble, sync=True)
        return SlotStore(FOLDER, IDENTITY, b"r" * 16, environment, ledger, 1 << 20)

    def slots(self) -> list[PutSlot]:
        rows = {each.slot: each for each in self.written if isinstance(each, PutSlot)}
        return [rows[slot] for slot in sorted(rows)]

    async def again(self, pins: tuple[PutPin, ...] = (), **more: Any) -> SlotStore:
        """Another process over the same disk and ledger."""
        store = self.store()
        model = more.get("model", version(SCHEMA, VECTOR, number=1))
        await store.restore(self.slots(), pins, model, more.get("keys", {KEY.id: KEY}))
        return store


async def fill(store: SlotStore, *numbers: int) -> list[Publication]:
    found: list[Publication] = []
    for number in numbers:
        model = version(SCHEMA, VECTOR + number, number=number)
        found.append(await store.fill(model, KEY, PACKET, hold=0.0))
        store.announced(found[-1])
    return found


def test_slot_is_out_of_the_ledger_before_its_files_are_overwritten() -> None:
    async def main() -> None:
        desk = Desk()
        store = desk.store()
        [sealed] = await fill(store, 0)
        before, after = desk.written
        assert before == PutSlot(sealed.slot, None, -1, 0, 0)
        assert after == PutSlot(sealed.slot, sealed, 0, sealed.chunks, sealed.pages)
        assert len(store.files(sealed)) == sealed.chunks + sealed.pages
        assert sealed.largest <= PACKET

    run(main)


def test_next_process_finds_the_slots_and_their_bytes() -> None:
    async def main() -> None:
        desk = Desk()
        first, second = await fill(desk.store(), 0, 1)
        store = await desk.again()
        assert store.holding(1, PACKET) == second
        assert store.holding(1, second.largest - 1) is None
        assert store.holding(2, PACKET) is None
        assert store.of(first.id) == first
        [(_, path)] = store.some(first, [2, 10**6], [])
        held = store.of(first.id)
        assert held is not None
        assert store.read(held, path) == desk.disk.read(path)
        third = (await fill(store, 2))[0]
        assert third.slot not in (second.slot,)

    run(main)


def test_slot_that_is_damaged_or_sealed_under_a_key_that_is_gone_holds_nothing() -> None:
    async def main() -> None:
        desk = Desk()
        first, second = await fill(desk.store(), 0, 1)
        desk.disk.write(chunk_file(FOLDER / str(second.slot), 1), [b"rot"], sync=True)
        store = await desk.again()
        assert (store.holding(1, PACKET), store.holding(0, PACKET)) == (None, first)
        assert (await desk.again(keys={})).slots is None
        assert (await desk.again(model=None)).slots is None

    run(main)


def test_file_of_a_slot_that_a_newer_version_took_is_not_read() -> None:
    async def main() -> None:
        desk = Desk()
        store = desk.store()
        [sealed] = await fill(store, 0)
        _, path = store.files(sealed)[0]
        desk.disk.remove(path)
        assert store.read(sealed, path) is None
        count = store.slots.count if store.slots else 0
        await fill(store, *range(1, count + 1))
        _, path = store.files(sealed)[1]
        assert store.read(sealed, path) is None

    run(main)


def test_files_that_no_slot_holds_are_deleted_at_the_start() -> None:
    async def main() -> None:
        desk = Desk()
        [sealed] = await fill(desk.store(), 0)
        folder = FOLDER / str(sealed.slot)
        desk.disk.write(folder / "99", [b"of a longer version"], sync=True)
        desk.disk.make(FOLDER / "7")
        desk.disk.write(FOLDER / "7" / "m0", [b"of a slot that is gone"], sync=True)
        before = len(desk.disk.names(folder))
        store = await desk.again()
        assert len(desk.disk.names(folder)) == before - 1 == sealed.chunks + sealed.pages
        assert desk.disk.names(FOLDER / "7") == []
        assert store.of(sealed.id) == sealed

    run(main)


def test_leftovers_are_named_once_and_the_highest_numbers_stay_in_the_ledger() -> None:
    async def main() -> None:
        desk = Desk()
        desk.written += [PutSlot(0, None, -1, 9, 3), PutSlot(9, None, -1, 2, 1)]
        store = await desk.again()
        [sealed] = await fill(store, 1)
        while sealed.slot != 0:
            [sealed] = await fill(store, 1)
        topics = store.leftovers()
        gone = [f"model/broadcast/0/{n}" for n in range(sealed.chunks, 9)]
        gone += [f"model/broadcast/0/m{n}" for n in range(sealed.pages, 3)]
        assert [topic for topic in topics if "/0/" in topic] == gone
        assert store.leftovers() == []
        assert desk.slots()[0].retained_chunks == 9

    run(main)


def test_version_that_goes_inside_clears_every_slot_of_the_run_before() -> None:
    async def main() -> None:
        desk = Desk()
        desk.written.append(PutSlot(1, None, -1, 2, 1))
        store = await desk.again(model=None)
        assert store.leftovers() == ["model/broadcast/1/0", "model/broadcast/1/1", "model/broadcast/1/m0"]

    run(main)


def test_pins_are_written_down_when_they_begin_and_when_they_end() -> None:
    async def main() -> None:
        desk = Desk()
        store = desk.store()
        store.pin(b"p" * 16, "early")  # there are no slots yet
        store.wish(b"p" * 16, "early")
        store.forget("early")
        first, second = await fill(store, 0, 1)
        desk.written.clear()
        store.pin(first.id, "slow")
        store.pin(first.id, "slow")
        assert desk.written == [PutPin("slow", first.id, EPOCH)]
        store.wish(second.id, "other")
        assert desk.written[1:] == [PutPin("other", second.id, EPOCH)]
        store.forget("other")
        await asyncio.sleep(31.0)
        store.keep_pins()
        assert desk.written[2:] == [DropPin("other", second.id), DropPin("slow", first.id)]

    run(main)


def test_pins_of_a_former_process_live_on_and_those_of_slots_that_are_gone_end() -> None:
    async def main() -> None:
        desk = Desk()
        first, _ = await fill(desk.store(), 0, 1)
        pins = (PutPin("slow", first.id, EPOCH - 60.0), PutPin("lost", b"x" * 16, EPOCH))
        store = await desk.again(pins)
        assert store.slots is not None
        assert store.slots.pins(asyncio.get_running_loop().time()) == {("slow", first.id): -60.0}
        assert [each for each in desk.written if isinstance(each, PutPin | DropPin)] == [
            DropPin("lost", b"x" * 16)
        ]

    run(main)


def test_full_disk_is_told_and_tried_again_until_there_is_room() -> None:
    async def main() -> None:
        desk = Desk()
        store = desk.store()
        desk.disk.full = True
        task = asyncio.create_task(fill(store, 0))
        await asyncio.sleep(12.0)
        assert desk.troubles == 3
        desk.disk.full = False
        [sealed] = await task
        assert store.holding(0, PACKET) == sealed

    run(main)
