"""What an operator may set: ``coordinator.toml`` as one frozen value, with every bound on what peers can do.

Every key has a default, a unit and a reason (``docs/coordinator.md`` lists them). Nothing here reads a file:
`antiphon.broker_config.settings.load` does, strictly.
"""

import math
from typing import Annotated, Any, Literal

import msgspec

from antiphon.codecs.errors import ConfigError

Count = Annotated[int, msgspec.Meta(ge=0)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(ge=0.0)]

SMALLEST_FRAME = 16 * 1024
"""Bytes: a smaller frame would be mostly header, seal and packet."""


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every bound that a peer could push against: ``[limits]``.

    Attributes:
        frame: Bytes of one sealed update frame. What the codecs, the broker and paho handle well.
        packet: Bytes of one packet that the coordinator publishes: chunks, pages, announcements.
        offer: Bytes of an offer frame. It is opened before anything is granted, so it is small.
        intake_bytes: Bytes of update frames under way from all agents together.
        intake_messages: Messages under way from all agents: half of what a broker may queue for us by
            default.
        grant_idle: Seconds without a frame after which a grant lapses.
        upload_idle: Seconds without a frame after which an incomplete upload is forgotten.
        update_bytes: Bytes of an update's chunk payloads; 0: what the schema needs in its widest encoding.
        spool_bytes: Bytes of all spooled updates on disk; offers wait beyond it.
        base_bytes: Bytes of versions older than ``[ledger]`` keeps: the anchor "current" needs them as bases.
        slot_bytes: Bytes in the broker for versions that do not fit one packet; never fewer than 3 slots.
        waiting_updates: Updates of one agent that wait to be merged; its further offers wait.
        model_bytes: Bytes of a first version that an agent brings: what memory the coordinator may need.
        norm: Largest Euclidean norm of an update; 0: what ``norm_factor`` allows.
        norm_factor: Times the norm of the model, or the median of accepted updates if that is larger, above
            which an update comes from a broken trainer; 0: no such bound. See `coordinator.norms`.
        staleness: Versions; an offer staler than this *and* than 10 times its agent's median is refused; 0:
            none.
        outcomes: Settled updates of an agent whose outcome is remembered word for word; older ones are
            "settled".
        incarnations: Process starts of one agent that the ledger tells apart.
        receipts: Receipts that wait for the line.
        checks: Complete updates that wait for their check; the intake waits when there are more.
        live: Seconds since an agent's last sealed frame during which it counts as there.
        resend: Seconds between two copies of the same chunk, page, key or announcement.
        events_bytes: Bytes of ``events.jsonl`` before it becomes ``events.1.jsonl``.
        event_rate: Seconds between two events about dropped frames with the same sender and reason.
    """

    frame: Annotated[int, msgspec.Meta(ge=SMALLEST_FRAME, le=8 << 20)] = 512 << 10
    packet: Annotated[int, msgspec.Meta(ge=SMALLEST_FRAME, le=8 << 20)] = 512 << 10
    offer: Annotated[int, msgspec.Meta(ge=1 << 10, le=1 << 20)] = 16 << 10
    intake_bytes: Positive = 64 << 20
    intake_messages: Positive = 200
    grant_idle: Seconds = 30.0
    upload_idle: Seconds = 3600.0
    update_bytes: Count = 0
    spool_bytes: Positive = 8 << 30
    base_bytes: Positive = 2 << 30
    slot_bytes: Positive = 64 << 20
    waiting_updates: Positive = 4
    model_bytes: Positive = 2 << 30
    norm: Annotated[float, msgspec.Meta(ge=0.0)] = 0.0
    norm_factor: Annotated[float, msgspec.Meta(ge=0.0)] = 1000.0
    staleness: Count = 0
    outcomes: Positive = 1000
    incarnations: Positive = 4096
    receipts: Positive = 10_000
    checks: Positive = 256
    live: Seconds = 900.0
    resend: Seconds = 10.0
    events_bytes: Positive = 64 << 20
    event_rate: Seconds = 10.0


class End(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When the run is over: ``[end]``. Whichever comes first; nothing set: never.

    Attributes:
        max_versions: Number of the last version; 0: no such end.
        time_budget: Seconds since the first version; 0: no such end.
        target_metric: Name of a metric that agents report with their updates; empty: no such end.
        target_value: Where its mean (latest of each agent, weighted by examples) ends the run.
        target_direction: Whether the metric has to rise or to fall to its target.
        target_agents: The mean of fewer agents than this proves nothing.
        linger: Seconds for which late offers and questions are still answered.
    """

    max_versions: Count = 0
    time_budget: Seconds = 0.0
    target_metric: str = ""
    target_value: float = 0.0
    target_direction: Literal["at-least", "at-most"] = "at-least"
    target_agents: Positive = 2
    linger: Seconds = 5.0


class Metrics(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What monitors may see: ``[metrics]``.

    Attributes:
        public: Metrics of the agents whose mean is published in clear; none by default, they say something
            about the agents' data.
        interval: Seconds between two messages on ``metrics/coordinator``, and until ``status/coordinator``
            shows another version.
    """

    public: tuple[str, ...] = ()
    interval: Annotated[float, msgspec.Meta(ge=1.0)] = 1.0


class LedgerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the ledger keeps of earlier versions: ``[ledger]``. The oldest go first.

    Attributes:
        keep_versions: Versions from which `antiphon replay` can begin, the newest included.
        keep_bytes: Bytes on disk of these and of the updates merged between them; the newest version stays
            whatever its size.
    """

    keep_versions: Positive = 100
    keep_bytes: Positive = 1 << 30


class CoordinatorSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``coordinator.toml``.

    Attributes:
        preset: A named algorithm of `antiphon.coordinator.aggregation.presets`.
        aggregation: What differs from the preset, axis by axis.
        limits: See `Limits`.
        end: See `End`.
        metrics: See `Metrics`.
        ledger: See `LedgerSettings`.
        roles: Role of a tensor of the first version by its name, where the default is wrong: weight,
            statistic, variance, keep or max (see ``docs/protocol.md``, section 5).
        hints: Training settings that the operator proposes to every agent, e.g. ``proximal_mu``.
        spread: Seconds over which agents spread their first offers after a start; below 0: agents / 200.
        durability: "fsync" syncs updates and versions to the disk before anybody is told of them; "flush"
            leaves that to the operating system: a killed process loses nothing, a power cut may lose the
            newest, or make the state folder one that only a backup mends.

    Raises:
        ConfigError: From `check`, for values that contradict each other.
    """

    preset: str = "fedbuff"
    aggregation: dict[str, Any] = {}
    limits: Limits = Limits()
    end: End = End()
    metrics: Metrics = Metrics()
    ledger: LedgerSettings = LedgerSettings()
    roles: dict[str, str] = {}
    hints: dict[str, float] = {}
    spread: float = -1.0
    durability: Literal["fsync", "flush"] = "fsync"

    def check(self) -> None:
        """Refuse what each key allows but all together do not.

        Raises:
            ConfigError: Names the keys and what to do.
        """
        if self.limits.offer > self.limits.frame:
            raise ConfigError("limits.offer is larger than limits.frame: an offer is a frame too, lower it")
        if self.limits.intake_bytes < self.limits.frame:
            raise ConfigError(
                "limits.intake_bytes is smaller than one limits.frame: nothing could be granted"
            )
        if self.end.target_metric == "" and self.end.target_value != 0.0:
            raise ConfigError(
                "end.target_value without end.target_metric: name the metric or remove the value"
            )
        if len(self.hints) > 64:
            raise ConfigError("more than 64 hints: every announcement carries them all, remove some")
        numbers = [*self.hints.values(), self.end.target_value, self.spread]
        numbers += [self.limits.norm, self.limits.norm_factor]
        if not all(math.isfinite(number) for number in numbers):
            raise ConfigError(
                "hints, end.target_value, spread, limits.norm and limits.norm_factor must be finite numbers"
            )
