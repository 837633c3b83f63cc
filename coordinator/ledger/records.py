"""What goes into the ledger and comes out of it: plain frozen values.

An operation is durable when `antiphon.coordinator.ledger.ledger.Ledger.commit` returns; several together are
one transaction. Nothing here touches the disk.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from antiphon.codecs.messages import GroupKey, Offer, ReceiptType, UpdateId
from antiphon.codecs.schema import Schema
from antiphon.codecs.sealing import SecretKey, SymmetricKey
from antiphon.coordinator.aggregation.history import RuleState
from antiphon.coordinator.aggregation.plan import Plan
from antiphon.coordinator.aggregation.rule import Rule
from antiphon.coordinator.aggregation.step import StepState
from antiphon.coordinator.checking import Checked
from antiphon.coordinator.ending import Report
from antiphon.coordinator.models import Model
from antiphon.coordinator.publication import Publication
from antiphon.coordinator.spool import Update

Weighed = tuple[float, tuple[int, ...]]
"""Of an agent's merged updates: the sum of their weights, and the staleness of the last, in versions."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an update. ``digest`` is the root digest that it had; empty if that is forgotten."""

    type: ReceiptType
    digest: bytes = b""
    version: int = -1
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Receive:
    """An update is complete and checked: from now on it is the coordinator's to apply or reject, once.

    Its spool file is synced before the transaction. Closes the upload that has the same file.

    Attributes:
        update: As it lies in the spool: ``update.path`` is ``spool/<name>``, a name that is never used twice,
            unless it is inline: then there is no such file.
        checked: What the check found.
        admitted_at: Wall time, seconds.
        frame: The sealed offer of an inline update, which has no file then; empty otherwise.
    """

    update: Update
    checked: Checked
    admitted_at: float
    frame: bytes = b""


@dataclass(frozen=True, slots=True)
class Settle:
    """An update is rejected or refused, whether it was received before or not. Its file goes with its row.

    The first outcome of an update is the one that counts: a second `Settle` of the same changes nothing.
    """

    agent: str
    id: UpdateId
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class OpenUpload:
    """An upload of several frames begins.

    Attributes:
        agent, transfer: Whose, and in which transfer.
        offer: What was said of the update, without content.
        schema: Its tensors.
        key: Opens its frames.
        frame_limit: Bytes that a frame may have.
        file: Name of the file below ``spool/``; never used twice.
        opened_at: Wall time, seconds.
    """

    agent: str
    transfer: bytes
    offer: Offer
    schema: Schema
    key: SymmetricKey = field(repr=False)
    frame_limit: int
    file: str
    opened_at: float


@dataclass(frozen=True, slots=True)
class CloseUpload:
    """The upload with that file came to nothing; the file is removed."""

    file: str


@dataclass(frozen=True, slots=True)
class PutSlot:
    """What lies in a slot, and how much the broker ever retained there.

    Attributes:
        slot: Its number; -1 for a version inside its announcement.
        publication: What is in it; None while it is being replaced.
        number: The version's; -1 without one.
        retained_chunks, retained_pages: The highest numbers ever published there, which must be cleared
            when fewer are. They outlive the run.
    """

    slot: int
    publication: Publication | None
    number: int
    retained_chunks: int
    retained_pages: int


@dataclass(frozen=True, slots=True)
class PutPin:
    """An agent pulls a publication (its id) since that wall time, seconds."""

    agent: str
    publication: bytes
    since: float


@dataclass(frozen=True, slots=True)
class DropPin:
    """An agent pulls a publication no longer."""

    agent: str
    publication: bytes


@dataclass(frozen=True, slots=True)
class PutEpoch:
    """An epoch key as it is now; wall times, seconds; ``superseded_at`` None: it is announced."""

    id: bytes
    secret: SecretKey = field(repr=False)
    made_at: float
    superseded_at: float | None = None


@dataclass(frozen=True, slots=True)
class DropEpoch:
    """An epoch key is destroyed."""

    id: bytes


@dataclass(frozen=True, slots=True)
class PutGroupKey:
    """A group key that models are sealed under from now on."""

    key: GroupKey


@dataclass(frozen=True, slots=True)
class PutState:
    """Whether the run is over."""

    over: bool


Operation = (
    Receive
    | Settle
    | OpenUpload
    | CloseUpload
    | PutSlot
    | PutPin
    | DropPin
    | PutEpoch
    | DropEpoch
    | PutGroupKey
    | PutState
)


@dataclass(frozen=True, slots=True)
class Memory:
    """What the coordinator remembers of agents, whole, in values that msgpack takes as they are.

    Attributes:
        influence: By agent: `antiphon.coordinator.buffer.Influence.plain`.
        norms: `antiphon.coordinator.norms.Norms.plain`.
        reports: By agent: the latest.
    """

    influence: Mapping[str, Weighed] = field(default_factory=dict[str, Weighed])
    norms: Sequence[float] = ()
    reports: Mapping[str, Report] = field(default_factory=dict[str, Report])


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """A version that is about to exist.

    Attributes:
        model: It.
        step: The optimiser's state after it.
        rule: The rule that made it, and that makes the next unless the operator changes it.
        rule_state: The rule's memory at this moment: its ``admissions`` says which admissions it has seen.
        batch: What it merged, (agent, id), in the order of ``plan``; the update that an agent brought as the
            first version; none for the operator's.
        plan: The scalars; None for version 0.
        memory: See `Memory`.
        term: This start's.
        committed_at: Wall time, seconds.
        started_step: Whether the optimiser began this step from zeros although it had a state: a setting was
            changed.
    """

    model: Model
    step: StepState
    rule: Rule
    rule_state: RuleState
    batch: tuple[tuple[str, UpdateId], ...]
    plan: Plan | None
    memory: Memory
    term: int
    committed_at: float
    started_step: bool = False


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose ledger it is: the federation's name and the coordinator's public keys, 32 bytes each."""

    federation: str
    static: bytes
    signing: bytes


@dataclass(frozen=True, slots=True)
class Retention:
    """What is kept of earlier versions.

    Attributes:
        keep_versions: Checkpoints, the newest included.
        keep_bytes: Bytes of checkpoints and of the updates merged between them; never less than the newest
            checkpoint alone.
        bases: Whether merging needs the values of earlier versions (anchor "current").
        base_bytes: Bytes of checkpoints older than that which are kept as bases, those in use always.
    """

    keep_versions: int = 100
    keep_bytes: int = 1 << 30
    bases: bool = False
    base_bytes: int = 2 << 30


@dataclass(frozen=True, slots=True)
class RecoveredVersion:
    """The newest committed version, its digest compared; as in `VersionRecord`.

    An agent whose update is in ``batch`` may not have been told.
    """

    model: Model
    step: StepState
    rule: Rule
    rule_state: RuleState
    memory: Memory
    term: int
    committed_at: float
    batch: tuple[tuple[str, UpdateId], ...] = ()


@dataclass(frozen=True, slots=True)
class Received:
    """An update that waits to be merged. ``admission`` counts from 1 within the run.

    An inline one has its sealed offer in ``update.frame`` and no file.
    """

    admission: int
    update: Update
    checked: Checked
    admitted_at: float


@dataclass(frozen=True, slots=True)
class Admission:
    """An admission that the stored rule state has not seen; wall time, seconds."""

    agent: str
    at: float


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a start finds.

    Attributes:
        run: 16 bytes.
        started: Wall time at which the run began, seconds.
        over: Whether the run was over.
        version: The newest; None before the first.
        first_at: Wall time at which the first version was committed, seconds; None before.
        admissions: Those after ``version.rule_state`` in order, to be folded into it by `history.admitted`.
        waiting: Updates to be merged, in order of admission.
        uploads: Incomplete ones, oldest first; their files may be torn, or not be there yet.
        slots, pins: As last put, by slot, and by agent and publication.
        epochs, group_keys: As last put, the newest first.
        received, applied, rejected: Updates so far; rejected ones include the refused.
    """

    run: bytes
    started: float
    over: bool = False
    version: RecoveredVersion | None = None
    first_at: float | None = None
    admissions: tuple[Admission, ...] = ()
    waiting: tuple[Received, ...] = ()
    uploads: tuple[OpenUpload, ...] = ()
    slots: tuple[PutSlot, ...] = ()
    pins: tuple[PutPin, ...] = ()
    epochs: tuple[PutEpoch, ...] = ()
    group_keys: tuple[GroupKey, ...] = ()
    received: int = 0
    applied: int = 0
    rejected: int = 0
