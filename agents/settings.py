"""What a person decides about an agent, and who it is: frozen values, read once (``agent.toml``).

This module knows no file: `antiphon.broker_config.settings.load` reads them.
"""

import math
from dataclasses import dataclass, field
from typing import Annotated, Literal

import msgspec

from antiphon.codecs.errors import ConfigError
from antiphon.codecs.sealing import SecretKey

Encoding = Literal["lossless", "float64", "float32", "float16", "bfloat16", "int8"]
Bytes = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0.0, le=1e8)]


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What others, or a long outage, could push against."""

    announcement: Bytes = 16 << 20
    """Bytes of an announcement; a small model is inside."""
    schema: Bytes = 4 << 20
    """Bytes of a model's schema."""
    model: Bytes = 8 << 30
    """Bytes of a model's vector."""
    frame: Bytes = 16 << 20
    """Bytes of one sealed frame from the coordinator."""
    outbox: Bytes = 4 << 30
    """Bytes of updates on disk; then the oldest on an old version goes, or training waits."""
    spare: Annotated[int, msgspec.Meta(ge=0)] = 64 << 20
    """Bytes that stay free on the outbox's disk."""
    backlog: int = 2
    """Trained updates that the coordinator has not got yet; then training waits."""
    window: int = 12
    """Chunks asked for at once in a pull, 1 to 16."""

    def __post_init__(self) -> None:
        """Refuse what could not work."""
        if not 1 <= self.window <= 16:
            raise ConfigError(f"limits.window is {self.window}: use 1 to 16")
        if self.backlog < 1:
            raise ConfigError(f"limits.backlog is {self.backlog}: use at least 1")


class Timers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Waits in seconds; ``docs/protocol.md`` section 9 says what each is for."""

    rto: Seconds = 2.0
    longest_rto: Seconds = 60.0
    longest_rto_offline: Seconds = 300.0
    ask: Seconds = 600.0
    silence: Seconds = 3.0
    absent: Seconds = 10.0
    pulling: Seconds = 30.0
    pull: Seconds = 3600.0
    key: Seconds = 2.0
    longest_key: Seconds = 300.0
    frozen: Seconds = 600.0
    retry: Seconds = 5.0
    """After a trainer or a disk failed; doubles."""
    longest_retry: Seconds = 300.0
    settle: Seconds = 30.0
    """For the last outcomes after the run is over; then the agent leaves."""


class AgentSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How one agent behaves."""

    encoding: Encoding = "lossless"
    """How Δ travels: ``lossless`` is the vector's own float32 or float64, ``int8`` is smallest."""
    error_feedback: bool = True
    """What a lossy encoding leaves out of one update goes into the next."""
    may_initialise: bool = False
    """Offer the trainer's own parameters as version 0 when the coordinator asks for one."""
    stay: bool = False
    """Keep waiting for another run when the run is over."""
    interval: float = 0.0
    """Seconds between the beginnings of two trainings, at least."""
    report: Annotated[float, msgspec.Meta(ge=1.0, le=1e8)] = 1.0
    """Seconds between two messages on the status topic, and on the metrics topic, at least."""
    limits: Limits = Limits()
    timers: Timers = Timers()

    def __post_init__(self) -> None:
        """Refuse what could not work."""
        if not 0 <= self.interval < math.inf:
            raise ConfigError(f"interval is {self.interval}: use seconds, 0 or more")


@dataclass(frozen=True, slots=True)
class AgentIdentity:
    """Who the agent is, and whom it believes.

    Attributes:
        id: Its name, broker user name and client id.
        federation: The federation's name.
        key: Its X25519 secret; never leaves the host.
        coordinator: The coordinator's static X25519 public key, 32 bytes.
        signing: The coordinator's Ed25519 verify key, 32 bytes.
        prefix: The federation's topic prefix.
    """

    id: str
    federation: str
    key: SecretKey = field(repr=False)
    coordinator: bytes
    signing: bytes
    prefix: str = ""
