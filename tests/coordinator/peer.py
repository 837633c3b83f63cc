"""A scripted agent that speaks frames and nothing else: for tests of the coordinator alone.

It follows ``docs/protocol.md``, not the code of `antiphon.agents`, and it can say wrong things.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from antiphon.broker_config.connection import Connected, Connection, Message
from antiphon.broker_config.topics import COORDINATOR, Topics
from antiphon.codecs import announcements, chunks, encodings, frames, messages, schema, sealing
from antiphon.codecs.chunks import UpdateDigest
from antiphon.codecs.frames import NO_ID, Header, Kind
from antiphon.codecs.messages import (
    NO_DIGEST,
    WIRE,
    Announcement,
    GroupKeys,
    ModelContent,
    Note,
    Offer,
    Receipt,
    UpdateId,
)
from antiphon.codecs.schema import Schema
from antiphon.codecs.sealing import SecretKey, SymmetricKey
from antiphon.coordinator.keys import Identity

Vector = npt.NDArray[Any]
LIMIT = 1 << 24


@dataclass(slots=True)
class Pulled:
    """A model as an agent sees it."""

    announcement: Announcement
    schema: Schema
    vector: Vector
    exact: bytes


@dataclass(slots=True)
class Sent:
    """An update that was offered: everything that is needed to go on with it."""

    offer: Offer
    transfer: bytes
    key: SymmetricKey
    payloads: list[bytes]
    frame: bytes
    send: int = 0


@dataclass(slots=True)
class Peer:
    """An agent's end of the wire. ``receipts``: everything it was told, in order."""

    id: str
    identity: Identity
    connection: Connection
    secret: SecretKey = field(default_factory=SecretKey.generate)
    incarnation: bytes = b"i" * 16
    sequence: int = 0
    counter: int = 0
    transfers: int = 0
    receipts: list[Receipt] = field(default_factory=list[Receipt])
    raw: bytes = b""
    keys: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    retained: dict[str, bytes] = field(default_factory=dict[str, bytes])
    news: asyncio.Event = field(default_factory=asyncio.Event)
    ready: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def topics(self) -> Topics:
        return Topics(self.identity.prefix)

    @property
    def pair(self) -> SymmetricKey:
        own, theirs = self.secret, self.identity.secret.public
        return sealing.pair_key(
            own, theirs, federation=self.identity.federation, agent=own.public, coordinator=theirs
        )

    @property
    def announcement(self) -> Announcement:
        return announcements.verify(self.raw, self.identity.signing.public, LIMIT)

    async def run(self) -> None:
        async for event in self.connection.events():
            match event:
                case Connected():
                    asyncio.get_running_loop().create_task(self._subscribe())
                case Message():
                    self._take(event)
                    self.news.set()
                case _:
                    pass

    async def _subscribe(self) -> None:
        topics = self.topics
        await self.connection.subscribe(topics.broadcast, topics.receipts(self.id), topics.keys(self.id))
        self.ready.set()

    def _take(self, message: Message) -> None:
        topics = self.topics
        if message.topic == topics.broadcast:
            self.raw = message.payload
        elif message.topic == topics.receipts(self.id):
            frame = frames.read(message.payload, LIMIT)
            assert frame.header.kind is Kind.RECEIPT
            key = sealing.purpose_key(self.pair, "receipt", self.id.encode())
            self.receipts.append(messages.decode(frames.open_frame(frame, key), Receipt, LIMIT))
        elif message.topic == topics.keys(self.id):
            if message.payload:
                frame = frames.read(message.payload, LIMIT)
                key = sealing.purpose_key(self.pair, "group-key", self.id.encode())
                keys = messages.decode(frames.open_frame(frame, key), GroupKeys, LIMIT)
                self.keys = {entry.id: entry.key for entry in keys.keys}
        else:
            self.retained[message.topic] = message.payload

    async def until(self, condition: Callable[[], object], seconds: float = 60.0) -> None:
        """Wait until something that arrives makes the condition true."""
        async with asyncio.timeout(seconds):
            while not condition():
                self.news.clear()
                await self.news.wait()

    async def until_version(self, number: int, seconds: float = 60.0) -> Announcement:
        await self.until(lambda: self.raw and self.announcement.number >= number, seconds)
        return self.announcement

    async def until_told(self, *types: str, after: int = 0, seconds: float = 60.0) -> Receipt:
        """Wait for a receipt of one of these types, not among the first ``after``."""

        def found() -> list[Receipt]:
            return [word for word in self.receipts[after:] if word.type in types]

        await self.until(found, seconds)
        return found()[0]

    async def pull(self) -> Pulled:
        """Take the newest model, from inside the announcement or from its slot."""
        await self.until(lambda: self.raw and self.announcement.number >= 0)
        await self.until(lambda: self.announcement.key in self.keys)
        said = self.announcement
        if said.slot < 0:
            content = messages.decode(self.open_model(said.model), ModelContent, LIMIT)
            return self._assemble(said, content.schema, content.chunks)
        wanted = [self.topics.page(said.slot, n) for n in range(said.pages)]
        wanted += [self.topics.chunk(said.slot, n) for n in range(said.chunks)]
        for topic in wanted:
            self.retained.pop(topic, None)
            await self.connection.subscribe(topic)
        await self.until(lambda: all(topic in self.retained for topic in wanted))
        pages = [
            messages.decode(self.open_model(self.retained[t]), messages.Page, LIMIT)
            for t in wanted[: said.pages]
        ]
        assert frames.frame_digest(self.retained[wanted[0]]) == said.page
        others = b"".join(frames.frame_digest(self.retained[t]) for t in wanted[1 : said.pages])
        assert pages[0].others == others
        manifest = messages.decode(b"".join(page.piece for page in pages), messages.Manifest, LIMIT)
        found = b"".join(frames.frame_digest(self.retained[t]) for t in wanted[said.pages :])
        assert found == manifest.digests
        payloads = [self.open_model(self.retained[topic]) for topic in wanted[said.pages :]]
        for topic in wanted:
            await self.connection.unsubscribe(topic)
        return self._assemble(said, manifest.schema, payloads)

    def open_model(self, data: bytes) -> bytes:
        frame = frames.read(data, LIMIT)
        return frames.open_frame(frame, SymmetricKey(self.keys[frame.header.key_id]))

    @staticmethod
    def _assemble(said: Announcement, body: bytes, payloads: list[bytes]) -> Pulled:
        found = schema.decode(body, len(body))
        parsed = [chunks.parse(payload, LIMIT) for payload in payloads]
        chunks.covers(parsed, found)
        parts = [chunks.values(chunk, found) for chunk in parsed if chunk.section == 0]
        vector = np.concatenate(parts) if parts else np.empty(0, found.dtype)
        exact = b"".join(chunks.raw(chunk, found) for chunk in parsed if chunk.section == 1)
        assert schema.model_digest(found, vector, exact) == said.digest
        return Pulled(said, found, vector, exact)

    def make(
        self,
        pulled: Pulled,
        delta: Vector,
        *,
        encoding: str = "",
        exact: bytes | None = None,
        frame: int | None = None,
        examples: int = 10,
        metrics: dict[str, float] | None = None,
        inline: bool = True,
        initial: bool = False,
    ) -> tuple[Offer, list[bytes]]:
        """Return an update's offer and its chunk payloads."""
        said, own = pulled.announcement, pulled.exact if exact is None else exact
        encoding = encoding or pulled.schema.dtype
        rng = np.random.default_rng(0)
        encoded = encodings.encode(delta.astype(pulled.schema.dtype), encoding, rng)
        base = NO_DIGEST if initial else said.digest
        digest = UpdateDigest(pulled.schema.digest, base, encoding)
        digest.update(encoded)
        digest.update(own)
        cuts = chunks.plan(pulled.schema, encoding, frame or said.frame)
        payloads = [chunks.cut(pulled.schema, encoding, encoded, own, piece) for piece in cuts]
        self.sequence += 1
        offer = Offer(
            incarnation=self.incarnation,
            sequence=self.sequence,
            base=base,
            base_number=-1 if initial else said.number,
            schema=pulled.schema.digest,
            digest=digest.digest(),
            encoding=encoding,
            chunks=len(payloads),
            size=sum(len(payload) for payload in payloads),
            examples=examples,
            metrics=metrics or {},
            inline=payloads if inline else [],
            schema_body=pulled.schema.encode() if initial else b"",
        )
        return offer, payloads

    async def offer(self, offer: Offer, payloads: list[bytes], **header: Any) -> Sent:
        """Send an offer in a new transfer; ``header``: fields that are to be wrong."""
        self.transfers += 1
        transfer = self.transfers.to_bytes(16, "big")
        said, one_time = self.announcement, SecretKey.generate()
        key = sealing.update_key(self.pair, transfer, one_time, said.epoch)
        full = replace(
            self.header(Kind.OFFER),
            key_id=sealing.epoch_id(said.epoch),
            transfer=transfer,
            one_time=one_time.public,
        )
        frame = frames.seal_frame(replace(full, **header), key, messages.encode(offer))
        await self.say(frame)
        return Sent(offer, transfer, key, payloads, frame)

    async def chunk(self, sent: Sent, index: int, payload: bytes | None = None) -> None:
        """Send one chunk of an update."""
        sent.send += 1
        header = replace(
            self.header(Kind.UPDATE_CHUNK),
            key_id=sealing.epoch_id(self.announcement.epoch),
            transfer=sent.transfer,
            index=index,
            total=sent.offer.chunks,
        )
        body = sent.payloads[index] if payload is None else payload
        await self.say(frames.seal_frame(header, sent.key, messages.pack([sent.send, body])))

    async def note(self, **fields: Any) -> None:
        """Send a note."""
        self.counter += 1
        plain: dict[str, Any] = {"incarnation": self.incarnation, "counter": self.counter, **fields}
        body = Note(**plain)
        key = sealing.purpose_key(self.pair, "note", self.id.encode())
        run = self.announcement.run if self.raw else NO_ID
        await self.say(
            frames.seal_frame(replace(self.header(Kind.NOTE), run=run), key, messages.encode(body))
        )

    def header(self, kind: Kind) -> Header:
        run = self.announcement.run if self.raw else NO_ID
        return Header(WIRE, self.identity.federation, run, self.id, COORDINATOR, kind, b"", NO_ID, 0, 1)

    async def say(self, data: bytes, *, retain: bool = False) -> None:
        await self.connection.publish(self.topics.updates(self.id), data, retain=retain)

    async def answer(self, delta: float = 0.1, **more: Any) -> Sent:
        """Pull, and offer a constant Δ inside the offer."""
        pulled = await self.pull()
        vector = np.full(pulled.schema.size, delta, pulled.schema.dtype)
        offer, payloads = self.make(pulled, vector, **more)
        return await self.offer(offer, payloads)

    @property
    def last(self) -> UpdateId:
        return UpdateId(self.incarnation, self.sequence)
