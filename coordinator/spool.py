"""Updates on disk, sealed as they came: a file each, which nothing but the update's key opens.

Guaranteed: memory for one frame at a time, whatever the update's size. Everything here is disk or CPU work
    and belongs off the event loop. Not done here: deciding what may be written (see
    `antiphon.coordinator.intake`).
"""

from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from antiphon.codecs import frames, messages
from antiphon.codecs.errors import MalformedError
from antiphon.codecs.messages import Offer, UpdateId
from antiphon.codecs.schema import Schema
from antiphon.codecs.sealing import SymmetricKey


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sealed frame lies in the file: bytes from the start, and its size in bytes."""

    at: int
    size: int


@dataclass(frozen=True, slots=True)
class Update:
    """A complete update in the spool.

    Attributes:
        agent: Who sent it.
        id: Names it, with the agent.
        transfer: The transfer in which it came.
        offer: What it said of itself, without content.
        schema: Its tensors.
        path: The file.
        places: One for each chunk in order; one alone, of the offer, if the content is inside that.
        inline: Whether it is.
        frame_limit: Bytes that a frame may have.
        key: Opens every frame of it.
        frame: The sealed offer of an inline update that is kept in the ledger and has no file.
    """

    agent: str
    id: UpdateId
    transfer: bytes
    offer: Offer
    schema: Schema
    path: Path
    places: tuple[Place, ...]
    inline: bool
    frame_limit: int
    key: SymmetricKey = field(repr=False)
    frame: bytes = field(default=b"", repr=False)

    @property
    def chunks(self) -> int:
        """How many chunks it has."""
        return self.offer.chunks

    @property
    def spooled(self) -> int:
        """Bytes on disk."""
        return sum(place.size for place in self.places)


def read_chunk_frame(frame: frames.Frame, key: SymmetricKey) -> tuple[int, bytes]:
    """Open a frame of kind 5; returns its send number and the chunk payload.

    Raises:
        SealError: It does not open.
        MalformedError: It does not hold [send, payload].
    """
    match messages.unpack(frames.open_frame(frame, key), items=2):
        case [int(send), bytes(payload)] if not isinstance(send, bool) and 0 < send <= 1 << 53:
            return send, payload
        case _:
            raise MalformedError("an update frame must hold [send, payload]")


def append(path: Path, at: int, data: bytes) -> Place:
    """Write a frame at a place of the file, which is made if it is not there.

    Raises:
        OSError: The disk is full, for instance.
    """
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.seek(at)
        file.write(data)
    return Place(at, len(data))


class Reader:
    """Opens an update's chunks one by one; a context manager that holds the file."""

    def __init__(self, update: Update) -> None:
        """Nothing is opened yet."""
        self._update = update
        self._file: BinaryIO | None = None
        self._inline: list[bytes] = []

    def __enter__(self) -> Self:
        """Open the file.

        Raises:
            PeerError: An inline update does not hold what an offer must.
        """
        if not self._update.frame:
            self._file = self._update.path.open("rb")
        if self._update.inline:
            try:
                plain = frames.open_frame(self._frame(0), self._update.key)
                self._inline = messages.decode(plain, Offer, self._update.frame_limit).inline
            except BaseException:
                self.__exit__(None, None, None)
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def payload(self, index: int) -> bytes:
        """Return the payload of chunk ``index``.

        Raises:
            PeerError: It does not open or is malformed.
        """
        if self._update.inline:
            return self._inline[index]
        return read_chunk_frame(self._frame(index), self._update.key)[1]

    def _frame(self, index: int) -> frames.Frame:
        if self._update.frame:
            return frames.read(self._update.frame, self._update.frame_limit)
        assert self._file is not None  # a programming error: the reader is a context manager
        place = self._update.places[index]
        self._file.seek(place.at)
        return frames.read(self._file.read(place.size), self._update.frame_limit)
