"""What lies in the outbox: one trained update, and how far it is.

Guarantees: the bytes that `Entry.content` returns are as many as the head says. Not done here: writing,
removing, deciding (`antiphon.agents.outbox`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from antiphon.codecs import messages
from antiphon.codecs.errors import StateError
from antiphon.codecs.sealing import SecretKey

HEAD_LIMIT = 16 << 20
"""Bytes of a head; the schema is in it."""


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What an update is, without its numbers."""

    run: bytes
    incarnation: bytes
    sequence: int
    base: bytes
    base_term: int
    base_number: int
    schema: bytes  # the schema's bytes
    digest: bytes  # root digest
    encoding: str
    vector_bytes: int
    exact_bytes: int
    raw_bytes: int  # of the vector as floats, for the metrics
    examples: int
    steps: int = 0
    seconds: float = 0.0
    metrics: dict[str, float] = {}
    fed: bool = False  # whether the residual takes it back when it does not count

    @property
    def initial(self) -> bool:
        """Whether this is version 0 rather than a change to a version."""
        return self.base == messages.NO_DIGEST

    @property
    def size(self) -> int:
        """Bytes of the encoded vector and the exact section."""
        return self.vector_bytes + self.exact_bytes


@dataclass(frozen=True, slots=True)
class Record:
    """How the chunks of an update are sealed and cut: a restarted agent goes on with the same transfer.

    Attributes:
        transfer: The transfer's id, 16 bytes.
        secret: Its one-time key.
        epoch: The coordinator's epoch key that it was made for, 32 bytes.
        frame_limit: Bytes of the largest frame that the cut was planned for.
        reserved: Send numbers up to this one may have been used.
    """

    transfer: bytes
    secret: SecretKey
    epoch: bytes
    frame_limit: int
    reserved: int


@dataclass(slots=True, eq=False)
class Entry:
    """One update in the outbox.

    Attributes:
        head: What it is.
        ordinal: Its place in the order of offering.
        file: The name of its payload's file; "" when the payload is in the row, or gone.
        state: pending; received by the coordinator; or gone from the outbox, or about to go.
        whole: Whether the payload is still here.
        shown: Whether the coordinator may have all of it, without this agent knowing.
        record: Its transfer, if there is one that can be resumed.
    """

    head: Head
    ordinal: int
    file: str
    state: Literal["pending", "received", "gone"] = "pending"
    whole: bool = True
    shown: bool = False
    record: Record | None = field(default=None, repr=False)
    read: Callable[[], memoryview] = field(default=lambda: memoryview(b""), repr=False)
    open: memoryview | None = field(default=None, repr=False)

    @property
    def light(self) -> bool:
        """Whether its state changes in memory alone: its row goes with the next transaction."""
        return not self.file and self.record is None

    @property
    def id(self) -> messages.UpdateId:
        """What names the update for ever, with the agent's id."""
        return messages.UpdateId(self.head.incarnation, self.head.sequence)

    def content(self) -> tuple[memoryview, bytes]:
        """Return the encoded vector (of a file: mapped, not read) and the exact section. Blocks.

        Raises:
            StateError: They are gone or cut short.
            OSError: The disk does not answer.
        """
        number = self.head.sequence
        if self.open is None:
            try:
                self.open = self.read()
            except FileNotFoundError:
                raise StateError(f"cannot read update {number}: {self.file} is gone") from None
        if len(self.open) != self.head.size:
            raise StateError(
                f"cannot read update {number}: {len(self.open)} bytes of {self.head.size} are left "
                f"in {self.file or 'its row'}"
            )
        middle = self.head.vector_bytes
        return self.open[:middle], bytes(self.open[middle:])

    def close(self) -> None:
        """Let go of the mapped file; views that somebody still holds keep it until they go."""
        self.open = None
