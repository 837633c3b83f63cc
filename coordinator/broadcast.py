"""Versions out to everybody: sealed chunks first, the signed announcement last, all of it retained.

Guaranteed: a version is announced only when all of it is published; what a broker lost or somebody replaced
    is published again, byte for byte, also after a restart; a slot that is newest, pinned or just superseded
    is not reused.
Not done here: deciding when there is a version (`flushing`); the slots and their files (`slot_store`).
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from antiphon.broker_config.connection import Connection, Lane
from antiphon.broker_config.environment import Environment
from antiphon.broker_config.topics import Topics
from antiphon.codecs import announcements
from antiphon.codecs.errors import ConfigError, NotConnected, PublishRefused, StateError, TransportError
from antiphon.codecs.messages import NO_DIGEST, WIRE, Announcement
from antiphon.coordinator import publication
from antiphon.coordinator.epochs import EpochKeys
from antiphon.coordinator.keys import GroupRing, Identity
from antiphon.coordinator.models import Model
from antiphon.coordinator.outgoing import Outgoing
from antiphon.coordinator.publication import Publication
from antiphon.coordinator.settings import Limits
from antiphon.coordinator.slot_store import SlotStore
from antiphon.coordinator.slots import hold_seconds

RESIGN = 600.0
"""Seconds after which an unchanged announcement is signed again."""

AT_ONCE = 4
"""Chunks of a version read and published at once."""

TOPIC_ROOM = 96
"""Bytes of a packet that a chunk's topic and the packet's own fields take, besides the prefix."""

BUSY = 1.0
"""Seconds until the next try when the broker is over its quota."""

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
        slot_store: SlotStore,
        limits: Limits,
        online: Callable[[], Awaitable[None]],
        trouble: Callable[[str], None],
    ) -> None:
        """``online()`` returns when there is a line that is set up; ``trouble`` is told what a broker refuses
        for now."""
        self._every = limits.resend
        self._voice, self._connection, self._environment = (
            voice,
            connection,
            environment,
        )
        self._outgoing, self.slot_store, self._online = outgoing, slot_store, online
        self._trouble = trouble
        self._topics = Topics(voice.identity.prefix)
        self._own: deque[bytes] = deque(maxlen=OWN)
        self._raw = b""
        self._signed = 0.0
        self._issued = 0.0
        self._repeated = float("-inf")
        self._again_soon = asyncio.Event()
        self._current: Publication | None = None
        self.model: Model | None = None
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
        slots = self.slot_store.slots
        if slots is None or self._current is None or self._current.slot < 0:
            return now
        return slots.free_at(now, hold_seconds(slowest))

    async def upload(self, model: Model, slowest: float | None) -> Publication:
        """Seal a version and publish what comes before its announcement. Waits for a line, and for a slot.

        Raises:
            ConfigError: The broker takes no packets that would hold a chunk, or refuses us.
            StateError: The ledger is damaged.
        """
        if self._fits_inside(model):
            return await self._seal_inside(model)
        sealed = await self.slot_store.fill(
            model, self._voice.ring.current, self.packet, hold_seconds(slowest)
        )
        await self._persist(lambda: self._send_slot(sealed))
        return sealed

    async def resume(self, model: Model, shown: bytes, slowest: float | None) -> Publication:
        """Publish a version that a former process committed, sealed anew only if its files are gone.

        Args:
            model: The newest version.
            shown: The publication whose announcement the broker shows: its chunks lie there too, and what
                does not is asked for.
            slowest: As for `upload`.

        Raises:
            ConfigError: As `upload`.
            StateError: As `upload`.
        """
        await self._online()
        sealed = self.slot_store.holding(model.number, self.packet)
        if sealed is None or self._fits_inside(model):
            return await self.upload(model, slowest)
        if sealed.id != shown:
            await self._persist(lambda: self._send_slot(sealed))
        return sealed

    def _fits_inside(self, model: Model) -> bool:
        hints = 32 * len(self._voice.hints) + sum(len(name) for name in self._voice.hints)
        return publication.fits_inside(model.schema, self.packet, hints)

    async def announce(self, model: Model, sealed: Publication) -> None:
        """Say that the version is there; returns when the broker has it.

        Raises:
            ConfigError: The broker refuses the announcement.
        """
        self.model, self._current = model, sealed
        self.slot_store.announced(sealed)
        self._sign()
        await self._persist(self._send_announcement)
        for topic in self.slot_store.leftovers():
            self._outgoing.put(topic, bytes)

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
        sealed = self.slot_store.of(publication)
        if sealed is None:
            return
        for topic, path in self.slot_store.some(sealed, chunk_numbers, page_numbers):
            self._again(sealed, topic, path)

    def is_own(self, raw: bytes) -> bool:
        """Whether a message on our topic is one of our own."""
        return raw in self._own

    def is_current(self, raw: bytes) -> bool:
        """Whether a message is what must lie there now."""
        return raw == self._raw

    def _again(self, sealed: Publication, topic: str, path: Path) -> None:
        # The slot may have been taken by a newer version before this is read.
        self._outgoing.put_again(topic, lambda: self.slot_store.read(sealed, path), Lane.BULK)

    def _sign(self) -> None:
        voice, model, sealed = (
            self._voice,
            self.model,
            self._current or Publication(b"", b""),
        )
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
            frame=min(
                voice.frame,
                self._connection.maximum_packet - TOPIC_ROOM - len(voice.identity.prefix),
            ),
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
        disk = self._environment.disk
        room = asyncio.Semaphore(AT_ONCE)
        failed: list[TransportError] = []

        async def send(topic: str, path: Path) -> None:
            try:
                data = await self._environment.run(disk.read, path)
                await self._connection.publish(topic, data, retain=True, lane=Lane.BULK)
                self.sent_bytes += len(data)
            except TransportError as error:
                failed.append(error)
            except OSError as error:
                raise StateError(
                    f"cannot read {path}: {error.strerror}; repair the disk, then start again: the version "
                    "is sealed anew from the ledger"
                ) from None
            finally:
                room.release()

        async with asyncio.TaskGroup() as group:
            for topic, path in self.slot_store.files(sealed):
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
                if not (isinstance(error, PublishRefused) and error.passing):
                    raise _refused(error) from None
                self._trouble(str(error))
                await asyncio.sleep(BUSY)

    async def _seal_inside(self, model: Model) -> Publication:
        voice, token = self._voice, self._environment.token(16)
        key = voice.ring.current
        return await self._environment.run(
            publication.seal_inside,
            voice.identity,
            voice.run,
            model,
            key,
            token,
            self.packet,
        )


def _now() -> float:
    return asyncio.get_running_loop().time()


def _refused(error: Exception) -> ConfigError:
    return ConfigError(
        f"the broker does not take a version of the model: {error}; check its limits and rules"
    )
