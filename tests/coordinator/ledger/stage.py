"""A coordinator's ledger without a coordinator: agents' updates, checked, received, merged, committed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from antiphon.broker_config.disk import Disk
from antiphon.broker_config.topics import COORDINATOR
from antiphon.codecs import chunks, encodings, frames, messages
from antiphon.codecs.chunks import UpdateDigest
from antiphon.codecs.errors import Rejected
from antiphon.codecs.frames import Header, Kind
from antiphon.codecs.messages import NO_DIGEST, WIRE, Offer, UpdateId
from antiphon.codecs.schema import Schema, infer, model_digest
from antiphon.codecs.sealing import SymmetricKey
from antiphon.coordinator import merging, spool
from antiphon.coordinator.aggregation.anchor import Current
from antiphon.coordinator.aggregation.history import Arrival, RuleState, admitted, init_state, init_step
from antiphon.coordinator.aggregation.plan import Plan, plan
from antiphon.coordinator.aggregation.presets import build_rule
from antiphon.coordinator.aggregation.rule import Rule
from antiphon.coordinator.aggregation.step import StepState
from antiphon.coordinator.buffer import Accepted
from antiphon.coordinator.checking import check
from antiphon.coordinator.ending import Report
from antiphon.coordinator.ledger.ledger import Ledger
from antiphon.coordinator.ledger.records import (
    Memory,
    Outcome,
    Owner,
    Receive,
    Recovered,
    Retention,
    Settle,
    VersionRecord,
)
from antiphon.coordinator.merging import Merged
from antiphon.coordinator.models import Model
from antiphon.coordinator.spool import Place, Update
from antiphon.simulation.disk import MemoryDisk

FOLDER = Path("/house/state")
OWNER = Owner("house", b"s" * 32, b"v" * 32)
KEY = SymmetricKey(bytes(range(32)))
LIMIT = 512 << 10
SMALL: dict[str, Any] = {
    "w": np.zeros(1500, np.float32),
    "n": np.array([4, 5]),
    "bn.running_var": np.zeros(9, np.float32),
}
LARGE: dict[str, Any] = {"w": np.zeros(20_000, np.float32), "n": np.array([1])}


def token(size: int) -> bytes:
    """Ids need not be random here."""
    return bytes(range(size))


def make_ledger(
    disk: Disk, folder: Path = FOLDER, keep: Retention | None = None, *, sync: bool = True, **more: int
) -> Ledger:
    """A ledger that is not open yet."""
    limits = {"outcomes": 1000, "incarnations": 100} | more
    return Ledger(folder, disk, keep or Retention(), sync=sync, **limits)


def update_id(sequence: int, incarnation: bytes = b"i" * 16) -> UpdateId:
    """Names an update of whatever agent."""
    return UpdateId(incarnation, sequence)


@dataclass
class Stage:
    """A run under test; the same numbers whatever the disk.

    Attributes:
        disk: What everything lies on; a start of the coordinator uses a mount of it.
        ledger: Open after `open`.
        params: Of the model.
        preset, options: The rule.
        large: Whether updates come in several frames.
    """

    disk: Disk = field(default_factory=MemoryDisk)
    folder: Path = FOLDER
    keep: Retention = field(default_factory=Retention)
    params: Mapping[str, Any] = field(default_factory=lambda: SMALL)
    preset: str = "fedbuff"
    options: Mapping[str, Any] = field(default_factory=lambda: dict[str, Any](k=2))
    large: bool = False
    sync: bool = True
    now: float = 1_000_000.0
    files: int = 0
    encoding: str = ""

    def __post_init__(self) -> None:
        self.rule: Rule = build_rule(self.preset, self.options)
        self.schema: Schema = infer(self.params)
        self.at: Disk = self.disk
        self.rng = np.random.default_rng(7)
        self.ledger = self.new_ledger()
        self.model: Model | None = None
        self.step: StepState | None = None
        self.state: RuleState = init_state()
        self.waiting: list[Accepted] = []
        self.sequences: dict[str, int] = {}

    def new_ledger(self, **more: int) -> Ledger:
        """Another ledger over the same folder."""
        self.at = self.disk.mount() if isinstance(self.disk, MemoryDisk) else self.disk
        return make_ledger(self.at, self.folder, self.keep, sync=self.sync, **more)

    def open(self, **more: int) -> Recovered:
        """Open it, as a start of the coordinator would, and go on from what is found."""
        self.now += 10.0
        self.ledger = self.new_ledger(**more)
        found = self.ledger.open(*self.arguments())
        self.go_on(found)
        return found

    def open_again(self) -> Recovered:
        """Stop and start."""
        self.ledger.close()
        return self.open()

    def arguments(self, run: bytes = b"") -> tuple[Owner, float, Callable[[int], bytes]]:
        """What `Ledger.open` and `Ledger.new_run` take."""
        return OWNER, self.now, (lambda size: run) if run else token

    def go_on(self, found: Recovered) -> None:
        version = found.version
        self.model = version.model if version else None
        self.step = version.step if version else None
        self.state = version.rule_state if version else init_state()
        for each in found.admissions:
            self.state = admitted(self.rule, self.state, each.agent, each.at)
        self.waiting = [
            Accepted(
                each.update, each.checked, self._arrival(each.update, each.admitted_at, each.checked.sumsq)
            )
            for each in found.waiting
        ]
        for each in self.waiting:
            self.ledger.hold(each.update.offer.base_number)

    @property
    def number(self) -> int:
        return -1 if self.model is None else self.model.number

    def begin(self, scale: float = 1.0) -> None:
        """Commit the operator's first version."""
        vector = (self.rng.normal(size=self.schema.size) * scale).astype(self.schema.dtype)
        exact = bytes(self.schema.exact_size)
        model = Model(self.schema, np.abs(vector), exact, 0, model_digest(self.schema, np.abs(vector), exact))
        self.commit(model, init_step(self.rule, self.schema.size, self.schema.dtype), (), None)

    def offer(self, agent: str, *, base: int | None = None, value: float | None = None) -> Update:
        """An update as an agent would send it, complete in the spool."""
        base = self.number if base is None else base
        sequence = self.sequences[agent] = self.sequences.get(agent, 0) + 1
        delta: npt.NDArray[Any] = self.rng.normal(size=self.schema.size).astype(self.schema.dtype)
        if value is not None:
            delta = np.full(self.schema.size, value, self.schema.dtype)
        exact = self.rng.integers(0, 9, self.schema.exact_size, np.uint8).tobytes()
        # A first version names no base.
        digest = NO_DIGEST if base < 0 else self.digest_of(base)
        encoding = self.encoding or self.schema.dtype
        made = _Made(self.schema, delta, exact, digest, base, encoding, sequence)
        self.files += 1
        path = self.folder / "spool" / f"{agent}-{self.files}.update"
        return made.chunked(agent, self.at, path) if self.large else made.inline(agent, path)

    def digest_of(self, number: int) -> bytes:
        """The root digest that an agent would name; only its length matters here."""
        return bytes([number % 251]) * 32

    def checked(self, update: Update) -> Receive:
        """What the intake puts down about a complete update."""
        self.now += 1.0
        return Receive(update, check(update, float("inf"), self.at), self.now, update.frame)

    def receive(self, agent: str, **more: Any) -> Update:
        """An update is received: committed, and waits."""
        record = self.checked(self.offer(agent, **more))
        self.ledger.commit([record])
        self.admit(record)
        return record.update

    def admit(self, record: Receive) -> None:
        """What happens in memory once it is durable."""
        update = record.update
        self.state = admitted(self.rule, self.state, update.agent, record.admitted_at)
        arrival = self._arrival(update, record.admitted_at, record.checked.sumsq)
        self.waiting.append(Accepted(update, record.checked, arrival))
        self.ledger.hold(update.offer.base_number)

    def _arrival(self, update: Update, at: float, sumsq: float) -> Arrival:
        return Arrival(update.agent, update.offer.base_number, update.offer.examples, at, sumsq)

    def reject(self, update: Update, reason: str = "revoked") -> None:
        """An update is rejected, durably."""
        error = Rejected(reason, "because")
        outcome = Outcome("rejected", update.offer.digest, -1, error.reason, error.detail)
        self.ledger.commit([Settle(update.agent, update.id, outcome)])
        self.waiting = [each for each in self.waiting if each.update is not update]

    def flush(self) -> Model:
        """Merge what waits, the first of each agent, and commit the version."""
        if self.model is None:
            return self._first()
        batch = list({each.update.agent: each for each in reversed(self.waiting)}.values())[::-1]
        assert self.step is not None
        scalars = self.planned(batch)
        merged = merging.merge(self.rule, scalars, self.model, self.step, batch, self.bases(batch), self.at)
        assert isinstance(merged, Merged), merged
        self.state = scalars.state
        return self.commit(merged.model, merged.step, batch, scalars)

    def planned(self, batch: Sequence[Accepted]) -> Plan:
        arrivals = [each.arrival for each in batch]
        return plan(self.rule, self.state, arrivals, self.number, max(2, len(batch)), self.now)

    def bases(self, batch: Sequence[Accepted]) -> list[npt.NDArray[Any]] | None:
        if not isinstance(self.rule.anchor, Current):
            return None
        found = [self.ledger.vector(each.arrival.base_number) for each in batch]
        assert all(each is not None for each in found)
        return [each for each in found if each is not None]

    def _first(self) -> Model:
        model = merging.first_version(self.waiting[0], self.at)
        assert isinstance(model, Model)
        step = init_step(self.rule, self.schema.size, self.schema.dtype)
        return self.commit(model, step, self.waiting[:1], None)

    def record(
        self, model: Model, step: StepState, batch: Sequence[Accepted], scalars: Plan | None, **more: Any
    ) -> VersionRecord:
        names = tuple((each.update.agent, each.update.id) for each in batch)
        memory = Memory({"a": (1.5, (0, 1))}, [0.5, 2.0], {"a": Report(3, {"loss": 0.25})})
        return VersionRecord(
            model, step, self.rule, self.state, names, scalars, memory, self.ledger.term, self.now, **more
        )

    def commit(
        self, model: Model, step: StepState, batch: Sequence[Accepted], scalars: Plan | None, **more: Any
    ) -> Model:
        self.ledger.commit_version(self.record(model, step, batch, scalars, **more))
        self.model, self.step = model, step
        self.waiting = [each for each in self.waiting if not any(each is gone for gone in batch)]
        for each in batch:
            self.ledger.release(each.update.offer.base_number)
        return model

    def rounds(self, count: int, agents: str = "abc") -> None:
        """Versions in which each agent took part, the later ones with a base of their own age."""
        for _ in range(count):
            for lag, agent in enumerate(agents):
                self.receive(agent, base=max(0, self.number - lag))
            self.flush()


@dataclass
class _Made:
    """An agent's update before it is sealed."""

    schema: Schema
    delta: npt.NDArray[Any]
    exact: bytes
    base: bytes
    base_number: int
    encoding: str
    sequence: int

    def _payloads(self, frame: int) -> tuple[list[bytes], Offer]:
        encoded = encodings.encode(self.delta, self.encoding, np.random.default_rng(0))
        digest = UpdateDigest(self.schema.digest, self.base, self.encoding)
        digest.update(encoded)
        digest.update(self.exact)
        cuts = chunks.plan(self.schema, self.encoding, frame)
        payloads = [chunks.cut(self.schema, self.encoding, encoded, self.exact, cut) for cut in cuts]
        return payloads, Offer(
            incarnation=b"i" * 16,
            sequence=self.sequence,
            base=self.base,
            base_number=self.base_number,
            schema=self.schema.digest,
            digest=digest.digest(),
            encoding=self.encoding,
            chunks=len(payloads),
            size=sum(len(payload) for payload in payloads),
            examples=3 + self.sequence,
            metrics={"loss": 1.0 / self.sequence},
        )

    def _seal(self, agent: str, kind: Kind, index: int, total: int, plain: bytes) -> bytes:
        header = Header(WIRE, "house", bytes(16), agent, COORDINATOR, kind, bytes(8), b"t" * 16, index, total)
        return frames.seal_frame(header, KEY, plain)

    def inline(self, agent: str, path: Path) -> Update:
        payloads, offer = self._payloads(LIMIT)
        full = msgspec.structs.replace(offer, inline=payloads)
        frame = self._seal(agent, Kind.UPDATE_CHUNK, 0, 1, messages.encode(full))
        places = (Place(0, len(frame)),)
        id = UpdateId(offer.incarnation, offer.sequence)
        return Update(agent, id, b"t" * 16, offer, self.schema, path, places, True, LIMIT, KEY, frame)

    def chunked(self, agent: str, disk: Disk, path: Path) -> Update:
        payloads, offer = self._payloads(20_000)
        at, places = 0, list[Place]()
        for index, payload in enumerate(payloads):
            plain = messages.pack([index + 1, payload])
            data = self._seal(agent, Kind.UPDATE_CHUNK, index, len(payloads), plain)
            places.append(spool.append(disk, path, at, data))
            at = spool.end(places[-1])
        id = UpdateId(offer.incarnation, offer.sequence)
        return Update(agent, id, b"t" * 16, offer, self.schema, path, tuple(places), False, LIMIT, KEY)
