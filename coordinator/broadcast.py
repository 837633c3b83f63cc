"""Versions out to everybody: sealed chunks first, the signed announcement last, all of it retained.

Guaranteed: a version is announced only when all of it is published; what a broker lost or somebody replaced
    is published again, byte for byte; a slot that is newest, pinned or just superseded is not reused.
Not done here: deciding when there is a version (`flushing`); which slot is free (`slots`).
"""

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from antiphon.broker_config.connection import Connection, Lane
from antiphon.broker_config.environment import Environment
from antiphon.broker_config.topics import Topics
from antiphon.codecs import announcements
from antiphon.codecs.errors import ConfigError, NotConnected, StateError, TransportError
from antiphon.codecs.messages import NO_DIGEST, WIRE, Announcement
from antiphon.coordinator import publication
from antiphon.coordinator.epochs import EpochKeys
from antiphon.coordinator.keys import GroupRing, Identity
from antiphon.coordinator.models import Model
from antiphon.coordinator.outgoing import Outgoing
from antiphon.coordinator.publication import Publication, chunk_file, page_file
from antiphon.coordinator.settings import Limits
from antiphon.coordinator.slots import Slots, count_slots, hold_seconds

RESIGN = 600.0
"""Seconds after which an unchanged announcement is signed again."""

AT_ONCE = 4
"""Chunks of a version read and published at once."""

TOPIC_ROOM = 96
"""Bytes of a packet that a chunk's topic and the packet's own fields take, besides the prefix."""

OWN = 64
"""Announcements of ours that are recognised when the broker sends them back."""


@dataclass(frozen=True, slots=True)
class Voice:
    """What every announcement says the same. See `antiphon.codecs.messages.Announcement`."""

    identity: Identity
    run: bytes
    started: float
    term: Callable[[], int]
    epochs: EpochKeys
    ring: GroupRing
    frame: int
    offer: int
    packet: int
    spread: Callable[[], float]
    hints: dict[str, float]


class Broadcast:
    """See the module."""

    def __init__(
        self,
        voice: Voice,
        connection: Connection,
        environment: Environment,
        outgoing: Outgoing,
        folder: Path,
        limits: Limits,
        online: Callable[[], Awaitable[None]],
    ) -> None:
        """``folder``: of the published slots; ``online()`` returns when there is a line that is set up."""
        self._slot_bytes, self._every = limits.slot_bytes, limits.resend
        self._voice, self._connection, self._environment = voice, connection, environment
        self._outgoing, self._folder, self._online = outgoing, folder, online
        self._topics = Topics(voice.identity.prefix)
        self._retained: dict[int, list[int]] = {}
        self._own: deque[bytes] = deque(maxlen=OWN)
        self._raw = b""
        self._signed = 0.0
        self._issued = 0.0
        self._repeated = float("-inf")
        self._again_soon = asyncio.Event()
        self._current: Publication | None = None
        self._by_slot: dict[int, Publication] = {}
        self.model: Model | None = None
        self.slots: Slots | None = None
        self.state: Literal["running", "over"] = "running"
        self.sent_bytes = 0

    @property
    def number(self) -> int:
        """The newest announced version; -1 before the first."""
        return -1 if self.model is None else self.model.number

    @property
    def packet(self) -> int:
        """Bytes of payload that one packet may carry now."""
        room = min(self._voice.packet, self._connection.maximum_packet)
        return room - TOPIC_ROOM - len(self._voice.identity.prefix)

    def free_at(self, now: float, slowest: float | None) -> float:
        """When the next version may be published: ``now``, or later if it needs a slot that is not free."""
        if self.slots is None or self._current is None or self._current.slot < 0:
            return now
        return self.slots.free_at(now, hold_seconds(slowest))

    async def load(self) -> None:
        """Read which slots hold retained messages of earlier runs.

        Raises:
            StateError: The file about that is damaged.
        """
        self._retained = await self._environment.run(_read_retained, self._folder / "retained.json")

    async def upload(self, model: Model, slowest: float | None) -> Publication:
        """Seal a version and publish what comes before its announcement. Waits for a line, and for a slot.

        Raises:
            ConfigError: The broker takes no packets that would hold a chunk, or refuses us.
            StateError: The disk is full.
        """
        hints = 32 * len(self._voice.hints) + sum(len(name) for name in self._voice.hints)
        if publication.fits_inside(model.schema, self.packet, hints):
            return await self._seal_inside(model)
        if self.slots is None:
            self.slots = Slots(count_slots(publication.plain_size(model.schema), self._slot_bytes))
        slot = await self._free_slot(self.slots, hold_seconds(slowest))
        self.slots.empty(slot)
        self._by_slot.pop(slot, None)
        sealed = await self._seal_slot(model, slot)
        before = self._retained.get(slot, [0, 0])
        self._retained[slot] = [max(sealed.chunks, before[0]), max(sealed.pages, before[1])]
        await self._remember_retained()
        await self._persist(lambda: self._send_slot(sealed))
        return sealed

    async def announce(self, model: Model, sealed: Publication) -> None:
        """Say that the version is there; returns when the broker has it.

        Raises:
            ConfigError: The broker refuses the announcement.
        """
        self.model, self._current = model, sealed
        if sealed.slot >= 0 and self.slots is not None:
            self.slots.take(sealed.slot, sealed.id, _now())
            self._by_slot[sealed.slot] = sealed
        self._sign()
        await self._persist(self._send_announcement)
        self._clear_leftovers()

    async def say(self) -> None:
        """Sign and publish the announcement with what is true now (there may be no version yet).

        Raises:
            ConfigError: The broker refuses it.
        """
        self._sign()
        await self._persist(self._send_announcement)

    def refresh(self) -> None:
        """Sign again what was not signed for a while, and publish it soon."""
        if self._raw and _now() - self._signed >= RESIGN:
            self._sign()
            self._again_soon.set()

    def sign_again(self) -> None:
        """What the announcement says has changed: sign it again, and publish it soon."""
        if self._raw:
            self._sign()
            self._again_soon.set()

    def repeat(self) -> None:
        """The broker lost the announcement, or somebody replaced it: publish the newest version again."""
        if not self._raw:
            return
        sealed = self._current
        if sealed is not None and sealed.slot >= 0:
            self.absent(sealed.id, range(sealed.chunks), range(sealed.pages))
        self._again_soon.set()

    async def run(self) -> None:
        """Publish the announcement again when it is missed, for ever."""
        while True:
            await self._again_soon.wait()
            self._again_soon.clear()
            try:
                await self._send_announcement()
            except TransportError:
                continue  # the next connect compares what lies there

    def absent(self, publication: bytes, chunk_numbers: Any = (), page_numbers: Any = ()) -> None:
        """Publish chunks and pages again; with neither, the announcement."""
        if not chunk_numbers and not page_numbers:
            if self._raw and _now() - self._repeated >= self._every:
                self._repeated = _now()
                self._again_soon.set()
            return
        sealed = next((p for p in self._by_slot.values() if p.id == publication), None)
        if sealed is None:
            return
        folder = self._folder / str(sealed.slot)
        for index in page_numbers:
            if index < sealed.pages:
                self._again(sealed, self._topics.page(sealed.slot, index), page_file(folder, index))
        for index in chunk_numbers:
            if index < sealed.chunks:
                self._again(sealed, self._topics.chunk(sealed.slot, index), chunk_file(folder, index))

    def is_own(self, raw: bytes) -> bool:
        """Whether a message on our topic is one of our own."""
        return raw in self._own

    def is_current(self, raw: bytes) -> bool:
        """Whether a message is what must lie there now."""
        return raw == self._raw

    def _again(self, sealed: Publication, topic: str, path: Path) -> None:
        def read() -> bytes | None:
            # The slot may have been taken by a newer version since this was asked for.
            return path.read_bytes() if self._by_slot.get(sealed.slot) is sealed and path.exists() else None

        self._outgoing.put_again(topic, read, Lane.BULK)

    def _sign(self) -> None:
        voice, model, sealed = self._voice, self.model, self._current or Publication(b"", b"")
        self._signed = _now()
        # It orders the signatures of one version: the wall clock may be set back.
        self._issued = max(self._issued, self._environment.now())
        announcement = Announcement(
            wire=WIRE,
            federation=voice.identity.federation,
            run=voice.run,
            started=voice.started,
            term=voice.term(),
            number=self.number,
            digest=model.digest if model else NO_DIGEST,
            schema=model.schema.digest if model else NO_DIGEST,
            issued=self._issued,
            state=self.state,
            wanted="" if model else "initial",
            spread=voice.spread(),
            epoch=voice.epochs.public,
            key=sealed.key,
            frame=min(voice.frame, self._connection.maximum_packet - TOPIC_ROOM - len(voice.identity.prefix)),
            offer=voice.offer,
            transfer=sealed.id,
            slot=sealed.slot,
            chunks=sealed.chunks,
            pages=sealed.pages,
            page=sealed.page,
            model=sealed.model,
            hints=voice.hints,
        )
        self._raw = announcements.sign(announcement, voice.identity.signing)
        self._own.append(self._raw)

    async def _send_announcement(self) -> None:
        # The bytes are taken when they are handed over, so that an older announcement never comes last.
        await self._connection.publish(self._topics.broadcast, self._raw, retain=True)
        self.sent_bytes += len(self._raw)

    async def _send_slot(self, sealed: Publication) -> None:
        folder = self._folder / str(sealed.slot)
        files = [(self._topics.chunk(sealed.slot, n), chunk_file(folder, n)) for n in range(sealed.chunks)]
        files += [(self._topics.page(sealed.slot, n), page_file(folder, n)) for n in range(sealed.pages)]
        room = asyncio.Semaphore(AT_ONCE)
        failed: list[TransportError] = []

        async def send(topic: str, path: Path) -> None:
            try:
                data = await self._environment.run(path.read_bytes)
                await self._connection.publish(topic, data, retain=True, lane=Lane.BULK)
                self.sent_bytes += len(data)
            except TransportError as error:
                failed.append(error)
            except OSError as error:
                raise StateError(f"cannot read {path}: {error.strerror}") from None
            finally:
                room.release()

        async with asyncio.TaskGroup() as group:
            for topic, path in files:
                await room.acquire()
                if failed:
                    break
                group.create_task(send(topic, path), name=f"publish {topic}")
        if failed:
            raise failed[0]

    async def _persist(self, action: Callable[[], Awaitable[None]]) -> None:
        """Do something over the line until it works, however often the line is lost."""
        while True:
            await self._online()
            try:
                return await action()
            except NotConnected:
                await asyncio.sleep(0.1)
            except TransportError as error:
                raise _refused(error) from None

    async def _free_slot(self, slots: Slots, hold: float) -> int:
        while True:
            slot = slots.free(_now(), hold)
            if slot is not None:
                return slot
            await asyncio.sleep(max(0.01, slots.free_at(_now(), hold) - _now()))

    async def _seal_inside(self, model: Model) -> Publication:
        voice, token = self._voice, self._environment.token(16)
        key = voice.ring.current
        return await self._environment.run(
            publication.seal_inside, voice.identity, voice.run, model, key, token, self.packet
        )

    async def _seal_slot(self, model: Model, slot: int) -> Publication:
        voice, token = self._voice, self._environment.token(16)
        try:
            return await self._environment.run(
                publication.seal_slot,
                voice.identity,
                voice.run,
                model,
                voice.ring.current,
                token,
                self._folder / str(slot),
                slot,
                self.packet,
            )
        except OSError as error:
            raise StateError(f"cannot write {self._folder}: {error.strerror}") from None

    def _clear_leftovers(self) -> None:
        """Delete retained chunks that no slot holds any more."""
        for slot, (chunk_count, page_count) in sorted(self._retained.items()):
            live = self._by_slot.get(slot)
            if live is None and self.slots is not None and slot < self.slots.count:
                continue
            kept_chunks, kept_pages = (live.chunks, live.pages) if live else (0, 0)
            topics = [self._topics.chunk(slot, n) for n in range(kept_chunks, chunk_count)]
            topics += [self._topics.page(slot, n) for n in range(kept_pages, page_count)]
            for topic in topics:
                self._outgoing.put(topic, bytes)
            self._retained[slot] = [kept_chunks, kept_pages]

    async def _remember_retained(self) -> None:
        known = {slot: list(counts) for slot, counts in self._retained.items()}
        try:
            await self._environment.run(_write_retained, self._folder / "retained.json", known)
        except OSError as error:
            raise StateError(f"cannot write {self._folder}: {error.strerror}") from None


def _now() -> float:
    return asyncio.get_running_loop().time()


def _refused(error: Exception) -> ConfigError:
    return ConfigError(
        f"the broker does not take a version of the model: {error}; check its limits and rules"
    )


def _read_retained(path: Path) -> dict[int, list[int]]:
    if not path.exists():
        return {}
    try:
        plain: dict[str, list[int]] = json.loads(path.read_text())
        return {int(slot): [int(count) for count in counts] for slot, counts in plain.items()}
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        raise StateError(
            f"{path} is damaged: delete it (chunks of an earlier run stay in the broker)"
        ) from None


def _write_retained(path: Path, retained: dict[int, list[int]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(".retained.new")
    aside.write_text(json.dumps({str(slot): counts for slot, counts in sorted(retained.items())}))
    aside.replace(path)
