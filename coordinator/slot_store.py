"""What lies in the slots: sealed files, who pulls them, and what the broker was ever given to retain.

Guaranteed: what a slot's row in the ledger names was sealed once, is on the disk before it is published, and
    is sent again byte for byte, also by the next process; a slot is taken out of the ledger before its files
    are overwritten. A full disk holds a version up until there is room, nothing more.
Not done here: publishing (`antiphon.coordinator.broadcast`); which slot is free (`slots`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from antiphon.broker_config.environment import Environment
from antiphon.broker_config.topics import Topics
from antiphon.codecs.messages import GroupKey
from antiphon.coordinator import publication
from antiphon.coordinator.keys import Identity
from antiphon.coordinator.ledger.records import DropPin, Operation, PutPin, PutSlot
from antiphon.coordinator.models import Model
from antiphon.coordinator.publication import Publication, chunk_file, page_file
from antiphon.coordinator.slots import Slots, count_slots

RETRY = 5.0
"""Seconds between two tries to write a version's sealed chunks while the disk is full."""


@dataclass(frozen=True, slots=True)
class LedgerAccess:
    """How the slots' rows are written, and whom to tell of trouble.

    Attributes:
        commit: Returns when an operation is durable.
        put: Makes it durable soon.
        trouble: The disk did not take something.
        sync: Whether files are synced before a row names them.
    """

    commit: Callable[[Operation], Awaitable[None]]
    put: Callable[[Operation], None]
    trouble: Callable[[OSError], None]
    sync: bool


class SlotStore:
    """See the module."""

    def __init__(
        self,
        folder: Path,
        identity: Identity,
        run: bytes,
        environment: Environment,
        ledger: LedgerAccess,
        budget: int,
    ) -> None:
        """``folder``: of the published slots; ``budget``: bytes of all slots."""
        self._folder, self._identity, self._run = folder, identity, run
        self._environment, self._ledger, self._budget = environment, ledger, budget
        self._topics = Topics(identity.prefix)
        self._retained: dict[int, tuple[int, int]] = {}
        self._cleared: dict[int, tuple[int, int]] = {}
        self._by_slot: dict[int, tuple[Publication, int]] = {}
        self._pins: dict[tuple[str, bytes], float] = {}
        self.slots: Slots | None = None

    async def restore(
        self,
        rows: Iterable[PutSlot],
        pins: Iterable[PutPin],
        model: Model | None,
        keys: Mapping[bytes, GroupKey],
    ) -> None:
        """Take over what a former process left; slots whose files are not intact come to nothing.

        Args:
            rows: What the ledger has on each slot.
            pins: Who pulled what; they live on for a while.
            model: The newest version; None before the first.
            keys: The group keys by id.
        """
        now, wall = _now(), self._environment.now()
        ordered = sorted(rows, key=lambda row: row.slot)
        self._retained = {row.slot: (row.retained_chunks, row.retained_pages) for row in ordered}
        self._cleared = dict(self._retained)
        if model is not None:
            await self._restore(ordered, pins, model, keys, now, wall)
        await self._environment.run(self._sweep)

    async def _restore(
        self,
        ordered: Iterable[PutSlot],
        pins: Iterable[PutPin],
        model: Model,
        keys: Mapping[bytes, GroupKey],
        now: float,
        wall: float,
    ) -> None:
        slots = Slots(count_slots(publication.plain_size(model.schema), self._budget))
        for row in ordered:
            sealed = row.publication
            if sealed is None or row.slot >= slots.count or not await self._is_intact(row.slot, sealed, keys):
                continue
            slots.restore(row.slot, sealed.id, row.number, now)
            self._by_slot[row.slot] = (sealed, row.number)
            self.slots = slots
        for pin in pins:
            self._pins[(pin.agent, pin.publication)] = pin.since
            slots.restore_pin(pin.publication, pin.agent, now - max(0.0, wall - pin.since), now)
        self.keep_pins()

    def _sweep(self) -> None:
        """Delete what no slot holds any more; what cannot be deleted now can be the next time. Disk work."""
        disk = self._environment.disk
        kept = {path for sealed, _ in self._by_slot.values() for _, path in self.files(sealed)}
        for slot in disk.names(self._folder):
            for name in disk.names(self._folder / slot):
                path = self._folder / slot / name
                with suppress(OSError):
                    if path not in kept:
                        disk.remove(path)

    async def _is_intact(self, slot: int, sealed: Publication, keys: Mapping[bytes, GroupKey]) -> bool:
        key = keys.get(sealed.key)
        if key is None:
            return False
        run, disk = self._environment.run, self._environment.disk
        return await run(publication.intact, sealed, self._folder / str(slot), disk, key)

    def holding(self, number: int, packet: int) -> Publication | None:
        """Return the publication of a version that is in a slot, if its frames still fit a packet."""
        found = (sealed for sealed, held in self._by_slot.values() if held == number)
        return next((sealed for sealed in found if sealed.largest <= packet), None)

    def of(self, id: bytes) -> Publication | None:
        """Return a publication that is in a slot."""
        return next((sealed for sealed, _ in self._by_slot.values() if sealed.id == id), None)

    def files(self, sealed: Publication) -> list[tuple[str, Path]]:
        """Topic and file of every chunk, then of every page."""
        chunks, pages = range(sealed.chunks), range(sealed.pages)
        return self.some(sealed, chunks, ()) + self.some(sealed, (), pages)

    def some(
        self, sealed: Publication, chunks: Iterable[int], pages: Iterable[int]
    ) -> list[tuple[str, Path]]:
        """Topic and file of some pages, then of some chunks; numbers that it has not are left out."""
        folder, slot = self._folder / str(sealed.slot), sealed.slot
        found = [(self._topics.page(slot, n), page_file(folder, n)) for n in pages if n < sealed.pages]
        return found + [
            (self._topics.chunk(slot, n), chunk_file(folder, n)) for n in chunks if n < sealed.chunks
        ]

    def read(self, sealed: Publication, path: Path) -> bytes | None:
        """Return a file of a publication; None if its slot was taken by a newer version. Disk work."""
        held = self._by_slot.get(sealed.slot)
        if held is None or held[0] is not sealed or self._environment.disk.size(path) is None:
            return None
        return self._environment.disk.read(path)

    async def fill(self, model: Model, key: GroupKey, packet: int, hold: float) -> Publication:
        """Seal a version into the next free slot; waits for one, and for room on the disk.

        Args:
            model: The version.
            key: What it is sealed under.
            packet: Bytes of the largest frame.
            hold: Seconds for which a superseded slot rests.
        """
        if self.slots is None:
            self.slots = Slots(count_slots(publication.plain_size(model.schema), self._budget))
        slot = await self._free(self.slots, hold)
        self.slots.empty(slot)
        self._by_slot.pop(slot, None)
        chunks, pages = self._retained.get(slot, (0, 0))
        # A crash from here on finds a slot that holds nothing, and not one whose files are half another's.
        await self._ledger.commit(PutSlot(slot, None, -1, chunks, pages))
        sealed = await self._seal(model, slot, key, packet)
        self._retained[slot] = max(sealed.chunks, chunks), max(sealed.pages, pages)
        before = self._cleared.get(slot, (0, 0))
        self._cleared[slot] = (
            max(sealed.chunks, before[0]),
            max(sealed.pages, before[1]),
        )
        await self._ledger.commit(PutSlot(slot, sealed, model.number, *self._retained[slot]))
        self._by_slot[slot] = (sealed, model.number)
        return sealed

    def announced(self, sealed: Publication) -> None:
        """A publication is the newest from now on."""
        if sealed.slot >= 0 and self.slots is not None:
            self.slots.take(sealed.slot, sealed.id, _now())
            self.keep_pins()

    def leftovers(self) -> list[str]:
        """Return the topics whose retained chunks no slot holds any more; each once in a process."""
        topics: list[str] = []
        for slot, (chunks, pages) in sorted(self._cleared.items()):
            live = self._by_slot.get(slot)
            if live is None and self.slots is not None and slot < self.slots.count:
                continue
            kept_chunks, kept_pages = (live[0].chunks, live[0].pages) if live else (0, 0)
            topics += [self._topics.chunk(slot, n) for n in range(kept_chunks, chunks)]
            topics += [self._topics.page(slot, n) for n in range(kept_pages, pages)]
            self._cleared[slot] = kept_chunks, kept_pages
        return topics

    def pin(self, publication: bytes, agent: str) -> None:
        """An agent pulls a publication."""
        if self.slots is not None:
            self.slots.pin(publication, agent, _now())
            self.keep_pins()

    def wish(self, publication: bytes, agent: str) -> None:
        """An agent lost its slot twice."""
        if self.slots is not None:
            self.slots.wish(publication, agent, _now())
            self.keep_pins()

    def forget(self, agent: str) -> None:
        """An agent pulls no more."""
        if self.slots is not None:
            self.slots.forget(agent)
            self.keep_pins()

    def keep_pins(self) -> None:
        """Write down which pins came, and which ended. Call it now and then: pins end by themselves."""
        if self.slots is None:
            return
        now, wall = _now(), self._environment.now()
        pins = self.slots.pins(now)
        for agent, id in [pin for pin in self._pins if pin not in pins]:
            del self._pins[(agent, id)]
            self._ledger.put(DropPin(agent, id))
        for (agent, id), since in pins.items():
            if (agent, id) not in self._pins:
                self._pins[(agent, id)] = wall - (now - since)
                self._ledger.put(PutPin(agent, id, self._pins[(agent, id)]))

    async def _free(self, slots: Slots, hold: float) -> int:
        while True:
            slot = slots.free(_now(), hold)
            if slot is not None:
                return slot
            await asyncio.sleep(max(0.01, slots.free_at(_now(), hold) - _now()))

    async def _seal(self, model: Model, slot: int, key: GroupKey, packet: int) -> Publication:
        environment = self._environment
        while True:
            try:
                return await environment.run(self._seal_now, model, slot, key, packet, environment.token(16))
            except OSError as error:
                self._ledger.trouble(error)
                await asyncio.sleep(RETRY)

    def _seal_now(self, model: Model, slot: int, key: GroupKey, packet: int, id: bytes) -> Publication:
        return publication.seal_slot(
            self._identity,
            self._run,
            model,
            key,
            id,
            self._folder / str(slot),
            slot,
            packet,
            self._environment.disk,
            sync=self._ledger.sync,
        )


def _now() -> float:
    return asyncio.get_running_loop().time()
