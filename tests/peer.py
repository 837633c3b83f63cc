"""A scripted coordinator: speaks the protocol to one agent, keeps what it heard, and fails on command."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np
from trainers import Adder as Adder
from trainers import Params as Params
from trainers import model as model

from antiphon.agents.service import Agent
from antiphon.agents.settings import AgentIdentity, AgentSettings
from antiphon.agents.trainer import Trainer
from antiphon.broker_config.connection import Connected, Message
from antiphon.broker_config.environment import Environment
from antiphon.broker_config.topics import COORDINATOR, Topics
from antiphon.codecs import announcements, chunks, encodings, frames, messages, schema, sealing
from antiphon.codecs.chunks import Assembly, UpdateDigest
from antiphon.codecs.frames import Header, Kind, frame_digest
from antiphon.codecs.messages import (
    NO_DIGEST,
    Announcement,
    GroupKeys,
    Manifest,
    ModelContent,
    Note,
    Offer,
    Page,
    Receipt,
)
from antiphon.codecs.schema import Schema
from antiphon.codecs.sealing import SecretKey, SigningKey, SymmetricKey
from antiphon.simulation.clock import EPOCH, virtual_environment
from antiphon.simulation.memory_broker import MemoryBroker

LIMIT = 1 << 24
FEDERATION = "banks"


@dataclass
class Upload:
    """One transfer as the coordinator sees it."""

    offer: Offer
    key: SymmetricKey
    assembly: Assembly
    payloads: dict[int, bytes] = field(default_factory=dict[int, bytes])
    seen: int = 0


@dataclass
class Peer:
    """The coordinator of a federation of one. Public fields script it and hold what it heard."""

    broker: MemoryBroker
    window: int = 1 << 20
    """Bytes granted."""
    frame: int = 64 << 10
    outcome: str = "applied"
    """The final receipt; ``""`` for none."""
    answer: Callable[[Upload], Receipt | None] | None = None
    """Answers an offer instead of the usual answer."""
    loses: Callable[[int], bool] = lambda send: False
    """Whether the chunk frame with this send number is lost."""
    deaf: bool = False
    answers_asks: bool = True
    keys_known: bool = True
    offers: list[Offer] = field(default_factory=list[Offer])
    transfers: list[bytes] = field(default_factory=list[bytes])
    notes: list[Note] = field(default_factory=list[Note])
    note_runs: list[bytes] = field(default_factory=list[bytes])
    sends: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """(chunk index, send number) of every chunk frame, lost ones too."""
    chunk_bytes: int = 0
    """Bytes of all those frames."""
    updates: list[tuple[Offer, Params]] = field(default_factory=list[tuple[Offer, Params]])

    def __post_init__(self) -> None:
        self.static, self.signing, self.epoch = (
            SecretKey.generate(),
            SigningKey.generate(),
            SecretKey.generate(),
        )
        self.group = sealing.new_group_key()
        self.agent = SecretKey.generate()
        self.run: bytes = b"r" * 16
        self.started, self.term = EPOCH, 1
        self.topics = Topics()
        self.counter = 0
        self.version = Announcement(
            wire=1,
            federation=FEDERATION,
            run=self.run,
            started=self.started,
            term=1,
            number=-1,
            digest=NO_DIGEST,
            schema=NO_DIGEST,
            issued=EPOCH,
            state="running",
            epoch=self.epoch.public,
            key=self.group.id,
            frame=self.frame,
        )
        self.schema: Schema | None = None
        self.uploads: dict[bytes, Upload] = {}
        self.outcomes: dict[bytes, Receipt] = {}
        self.heard = asyncio.Event()
        pair = sealing.pair_key(
            self.static,
            self.agent.public,
            federation=FEDERATION,
            agent=self.agent.public,
            coordinator=self.static.public,
        )
        self.pair = pair
        self.keys = {
            Kind.NOTE: sealing.purpose_key(pair, "note", b"a1"),
            Kind.RECEIPT: sealing.purpose_key(pair, "receipt", b"a1"),
            Kind.GROUP_KEYS: sealing.purpose_key(pair, "group-key", b"a1"),
        }

    @property
    def identity(self) -> AgentIdentity:
        return AgentIdentity("a1", FEDERATION, self.agent, self.static.public, self.signing.public)

    def make_agent(
        self, trainer: Trainer, folder: Path, *, environment: Environment | None = None, **settings: Any
    ) -> Agent:
        """An agent of this federation; by default another process each time, on this machine's disk."""
        return Agent(
            msgspec.convert(settings, AgentSettings),
            self.identity,
            trainer,
            folder,
            self.broker.connect,
            environment or virtual_environment(party=f"agent {len(self.offers)} {self.counter}"),
        )

    async def __aenter__(self) -> Self:
        self.connection = await self.broker.connect(COORDINATOR).__aenter__()
        self._task = asyncio.create_task(self._listen(), name="peer")
        self._ready = asyncio.Event()
        await self._ready.wait()
        if self.keys_known:
            await self.give_keys()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.connection.__aexit__(None, None, None)

    async def until(self, condition: Callable[[], bool], seconds: float = 3000.0) -> None:
        """Wait until something has been heard; in virtual time."""
        async with asyncio.timeout(seconds):
            while not condition():
                self.heard.clear()
                try:
                    async with asyncio.timeout(0.1):
                        await self.heard.wait()
                except TimeoutError:
                    pass

    # What it says.

    async def give_keys(self) -> None:
        self.counter += 1
        body = GroupKeys(term=self.term, counter=self.counter, keys=[self.group])
        frame = frames.seal_frame(
            self._header(Kind.GROUP_KEYS), self.keys[Kind.GROUP_KEYS], messages.encode(body)
        )
        await self.connection.publish(self.topics.keys("a1"), frame, retain=True)

    async def announce(self, **changes: Any) -> None:
        """Sign and publish what is announced, with some fields changed."""
        now = virtual_environment(party="peer").now()
        self.version = msgspec.structs.replace(self.version, issued=now, **changes)
        self.run, self.term = self.version.run, self.version.term
        raw = announcements.sign(self.version, self.signing)
        await self.connection.publish(self.topics.broadcast, raw, retain=True)

    async def publish(self, params: Params, number: int, *, slot: int = -1, leave_out: int = -1) -> None:
        """Publish a version, inside its announcement or in a slot, perhaps without one of its chunks."""
        own = self.schema = schema.infer(params)
        vector, exact = own.pack(params)
        digest = schema.model_digest(own, vector, exact)
        encoded = encodings.encode(vector, own.dtype, np.random.default_rng(0))
        cuts = chunks.plan(own, own.dtype, self.frame)
        payloads = [chunks.cut(own, own.dtype, encoded, exact, cut) for cut in cuts]
        self.counter += 1
        transfer = digest[:12] + self.counter.to_bytes(4, "big")
        common = {
            "number": number,
            "digest": digest,
            "schema": own.digest,
            "transfer": transfer,
            "slot": slot,
        }
        if slot < 0:
            content = ModelContent(schema=own.encode(), chunks=payloads)
            model = self._broadcast(Kind.MODEL_CHUNK, transfer, 0, 1, messages.encode(content))
            await self.announce(**common, model=model)
            return
        sealed = [
            self._broadcast(Kind.MODEL_CHUNK, transfer, n, len(payloads), payload)
            for n, payload in enumerate(payloads)
        ]
        self.sealed = sealed
        for n, frame in enumerate(sealed):
            if n != leave_out:
                await self.connection.publish(self.topics.chunk(slot, n), frame, retain=True)
        whole = messages.encode(
            Manifest(schema=own.encode(), digests=b"".join(frame_digest(frame) for frame in sealed))
        )
        half = len(whole) // 2
        second = self._broadcast(
            Kind.MANIFEST_PAGE, transfer, 1, 2, messages.encode(Page(piece=whole[half:]))
        )
        head = Page(piece=whole[:half], others=frame_digest(second))
        first = self._broadcast(Kind.MANIFEST_PAGE, transfer, 0, 2, messages.encode(head))
        for n, frame in enumerate((first, second)):
            await self.connection.publish(self.topics.page(slot, n), frame, retain=True)
        await self.announce(**common, model=b"", chunks=len(sealed), pages=2, page=frame_digest(first))

    async def say(self, type: str, upload: Upload | Offer | None = None, **more: Any) -> None:
        """Send a receipt."""
        self.counter += 1
        known: dict[str, Any] = {}
        offer = upload.offer if isinstance(upload, Upload) else upload
        if offer is not None:
            known = {"incarnation": offer.incarnation, "sequence": offer.sequence, "digest": offer.digest}
        if isinstance(upload, Upload):
            known["transfer"] = next(id for id, known in self.uploads.items() if known is upload)
        plain: dict[str, Any] = {
            "type": type,
            "term": self.term,
            "counter": self.counter,
            "newest_term": self.term,
            "newest_number": self.version.number,
            **known,
            **more,
        }
        body = messages.encode(msgspec.convert(plain, Receipt))
        frame = frames.seal_frame(self._header(Kind.RECEIPT), self.keys[Kind.RECEIPT], body)
        await self.connection.publish(self.topics.receipts("a1"), frame)

    # What it hears.

    async def _listen(self) -> None:
        async for event in self.connection.events():
            if isinstance(event, Connected):
                await self.connection.subscribe(self.topics.all_updates)
                self._ready.set()
            elif isinstance(event, Message) and not self.deaf:
                await self._frame(event.payload)
                self.heard.set()

    async def _frame(self, payload: bytes) -> None:
        frame = frames.read(payload, LIMIT)
        header = frame.header
        assert (header.federation, header.sender, header.recipient) == (FEDERATION, "a1", COORDINATOR)
        match header.kind:
            case Kind.NOTE:
                plain = frames.open_frame(frame, self.keys[Kind.NOTE])
                self.note_runs.append(header.run)
                await self._note(messages.decode(plain, Note, LIMIT))
            case Kind.OFFER:
                assert header.run == self.run
                key = sealing.update_key(self.pair, header.transfer, self.epoch, header.one_time)
                if header.key_id != sealing.epoch_id(self.epoch.public):
                    await self.say("refused", transfer=header.transfer, reason="unknown-key")
                    return
                offer = messages.decode(frames.open_frame(frame, key), Offer, LIMIT)
                await self._offer(header.transfer, offer, key)
            case _:
                upload = self.uploads[header.transfer]
                send, chunk = messages.unpack(frames.open_frame(frame, upload.key))
                self.sends.append((header.index, send))
                self.chunk_bytes += len(payload)
                if not self.loses(send):
                    await self._chunk(upload, header.index, send, chunk)

    async def _note(self, note: Note) -> None:
        self.notes.append(note)
        if note.type == "hello":
            await self.say("hello")
        elif note.type == "need-key":
            await self.give_keys()
        elif note.type == "probe":
            upload = self.uploads.get(note.transfer)
            if upload is None:
                await self.say("wait", transfer=note.transfer, after=0.0)
            else:
                upload.seen = max(upload.seen, note.send)
                await self._progress(upload)
        elif note.type == "ask" and self.answers_asks:
            for asked in note.updates:
                known = self.outcomes.get(asked.digest)
                if known is not None:
                    await self._repeat(known)

    async def _repeat(self, known: Receipt) -> None:
        plain = {key: value for key, value in msgspec.to_builtins(known, builtin_types=(bytes,)).items()}
        for key in ("type", "term", "counter", "newest_term", "newest_number"):
            plain.pop(key)
        await self.say(known.type, **plain)

    async def _offer(self, transfer: bytes, offer: Offer, key: SymmetricKey) -> None:
        self.offers.append(offer)
        self.transfers.append(transfer)
        upload = self.uploads.setdefault(transfer, Upload(offer, key, Assembly(offer.chunks)))
        upload.seen = max(upload.seen, offer.send)
        if self.answer is not None:
            receipt = self.answer(upload)
            if receipt is not None:
                await self._repeat(receipt)
            return
        if offer.inline:
            upload.payloads = dict(enumerate(offer.inline))
            await self._complete(upload)
        elif upload.assembly.complete:  # it did not hear of it
            await self._complete(upload)
        else:
            await self._progress(upload, "granted")

    async def _progress(self, upload: Upload, type: str = "progress") -> None:
        runs, upto = upload.assembly.missing()
        await self.say(type, upload, window=self.window, send=upload.seen, missing=runs, upto=upto)

    async def _chunk(self, upload: Upload, index: int, send: int, payload: bytes) -> None:
        upload.seen = max(upload.seen, send)
        if upload.assembly.add(index):
            upload.payloads[index] = payload
        if upload.assembly.complete:
            await self._complete(upload)
        elif upload.assembly.count % 2 == 0:
            await self._progress(upload)

    async def _complete(self, upload: Upload) -> None:
        offer = upload.offer
        params = self.read(upload)
        if params is None:
            await self.say("rejected", upload, reason="digest")
            return
        if offer.digest not in self.outcomes:
            self.updates.append((offer, params))
        await self.say("received", upload)
        if self.outcome:
            receipt = Receipt(
                type="applied",
                term=0,
                counter=0,
                newest_term=0,
                newest_number=0,
                incarnation=offer.incarnation,
                sequence=offer.sequence,
                digest=offer.digest,
                version=1,
            )
            receipt = msgspec.structs.replace(receipt, type=self.outcome)  # pyright: ignore
            self.outcomes[offer.digest] = receipt
            await self._repeat(receipt)

    def read(self, upload: Upload) -> Params | None:
        """Decode a complete update, checking what a coordinator checks."""
        offer = upload.offer
        own = self.schema
        if offer.schema_body:
            own = schema.decode(offer.schema_body, LIMIT)
        assert own is not None
        parsed = [chunks.parse(upload.payloads[n], LIMIT) for n in range(offer.chunks)]
        chunks.covers(parsed, own)
        digest = UpdateDigest(own.digest, offer.base, offer.encoding)
        vector, exact = np.zeros(own.size, own.dtype), b""
        for chunk in parsed:
            digest.update(chunks.raw(chunk, own))
            if chunk.section == chunks.VECTOR:
                values = chunks.values(chunk, own)
                vector[chunk.first * 1024 : chunk.first * 1024 + len(values)] = values
            else:
                exact += chunks.raw(chunk, own)
        assert sum(len(upload.payloads[n]) for n in range(offer.chunks)) <= offer.size
        return own.unpack(vector, exact) if digest.digest() == offer.digest else None

    def _header(self, kind: Kind) -> Header:
        return Header(1, FEDERATION, self.run, COORDINATOR, "a1", kind, b"", bytes(16), 0, 1)

    def _broadcast(self, kind: Kind, transfer: bytes, index: int, total: int, plain: bytes) -> bytes:
        header = Header(
            1, FEDERATION, self.run, COORDINATOR, "*", kind, self.group.id, transfer, index, total
        )
        return frames.seal_frame(header, SymmetricKey(self.group.key), plain)


class Running:
    """An agent that runs in the background of a test."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent

    async def __aenter__(self) -> Agent:
        self.task = asyncio.create_task(self.agent.run(), name="agent")
        return self.agent

    async def __aexit__(self, *_: object) -> None:
        self.agent.stop()
        async with asyncio.timeout(60):
            await asyncio.gather(self.task, return_exceptions=True)


def waits(receipt_type: str, **more: Any) -> Callable[[Upload], Receipt]:
    """An answer to every offer."""

    def answer(upload: Upload) -> Receipt:
        offer = upload.offer
        plain: dict[str, Any] = {
            "type": receipt_type,
            "term": 0,
            "counter": 0,
            "newest_term": 0,
            "newest_number": 0,
            "incarnation": offer.incarnation,
            "sequence": offer.sequence,
            "digest": offer.digest,
            **more,
        }
        return msgspec.convert(plain, Receipt)

    return answer
