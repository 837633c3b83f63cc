"""Updates on disk, sealed as they came: a file each, which nothing but the update's key opens.

A spool file is a row of records, ``[4 bytes, big-endian: length][sealed frame]``, in the order of arrival. It
describes itself: what of it survived a crash is found by reading it (`scan`). An update that came inside its
offer has no file: it is small, and what it holds is kept with it.
Guaranteed: memory for one frame at a time, whatever the update's size. Everything here is disk or CPU work
    and belongs off the event loop. Not done here: deciding what may be written (see
    `antiphon.coordinator.intake`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from antiphon.broker_config.disk import Disk
from antiphon.codecs import frames, messages
from antiphon.codecs.errors import MalformedError, PeerError
from antiphon.codecs.frames import Kind
from antiphon.codecs.messages import Offer, UpdateId
from antiphon.codecs.schema import Schema
from antiphon.codecs.sealing import SymmetricKey

LENGTH = 4
"""Bytes before each frame that say how long it is."""


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
        path: The file; there is none of that name if the content is inside the offer.
        places: One for each chunk in order; one alone, of ``frame``, if the content is inside the offer.
        inline: Whether it is.
        frame_limit: Bytes that a frame may have.
        key: Opens every frame of it.
        frame: The sealed offer if the content is inside it, until the ledger has it or as the ledger gave it
            back. Otherwise empty.
        payloads: What was inside it, if this process opened it; else `Reader` does.
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
    payloads: tuple[bytes, ...] = field(default=(), repr=False, compare=False)

    @property
    def chunks(self) -> int:
        """How many chunks it has."""
        return self.offer.chunks

    @property
    def spooled(self) -> int:
        """Bytes on disk."""
        return sum(place.size for place in self.places)

    def received(self) -> "Update":
        """Return it as it waits to be merged: not both sealed, which the ledger has now, and opened."""
        return replace(self, frame=b"") if self.payloads else self


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


def append(disk: Disk, path: Path, at: int, data: bytes) -> Place:
    """Write a frame as the record at ``at``, where the one before it ended; it is not durable yet.

    Raises:
        OSError: The disk is full, for instance.
    """
    disk.append(path, at, len(data).to_bytes(LENGTH, "big") + data)
    return Place(at + LENGTH, len(data))


def end(place: Place) -> int:
    """Where the record after that of a frame begins."""
    return place.at + place.size


@dataclass(frozen=True, slots=True)
class Found:
    """A chunk's frame that `scan` found whole: which chunk, its send number, and where it lies."""

    index: int
    send: int
    place: Place


def scan(
    disk: Disk, path: Path, transfer: bytes, total: int, key: SymmetricKey, limit: int
) -> Iterator[Found]:
    """Read back what a crash left of a spool file, until the first record that is torn or does not open.

    Args:
        disk: Where it lies.
        path: The file; there need not be one.
        transfer: The transfer whose chunks it holds.
        total: How many chunks that has.
        key: Opens them.
        limit: Bytes that a frame may have.

    Yields:
        Every frame in the order of arrival. What follows the last of them belongs to nobody: cut it off.

    Raises:
        OSError: The file cannot be read.
    """
    if disk.size(path) is None:
        return
    at = 0
    with disk.open(path) as file:
        while len(head := file.read(LENGTH)) == LENGTH:
            size = int.from_bytes(head, "big")
            if not 0 < size <= limit or len(data := file.read(size)) < size:
                return
            found = _open(data, transfer, total, key, Place(at + LENGTH, size))
            if found is None:
                return
            yield found
            at = end(found.place)


def _open(data: bytes, transfer: bytes, total: int, key: SymmetricKey, place: Place) -> Found | None:
    try:
        frame = frames.read(data, len(data))
        send, _ = read_chunk_frame(frame, key)
    except PeerError:
        return None
    header = frame.header
    if (header.kind, header.transfer, header.total) != (Kind.UPDATE_CHUNK, transfer, total):
        return None
    return Found(header.index, send, place)


class Reader:
    """Opens an update's chunks one by one.

    No file stays open between two of them: a merge reads as many updates at once as there are agents, and a
    process may have about a thousand files open.
    """

    def __init__(self, update: Update, disk: Disk) -> None:
        """Open the offer of an inline update unless that was done; of another nothing is opened yet.

        Raises:
            PeerError: An inline update does not hold what an offer must.
        """
        self._update, self._disk = update, disk
        self._inline: Sequence[bytes] = update.payloads
        if update.inline and not update.payloads:
            plain = frames.open_frame(frames.read(update.frame, update.frame_limit), update.key)
            self._inline = messages.decode(plain, Offer, update.frame_limit).inline

    def payload(self, index: int) -> bytes:
        """Return the payload of chunk ``index``.

        Raises:
            PeerError: It does not open or is malformed.
            OSError: The file is gone.
        """
        update = self._update
        if update.inline:
            return self._inline[index]
        place = update.places[index]
        with self._disk.open(update.path) as file:
            file.seek(place.at)
            data = file.read(place.size)
        return read_chunk_frame(frames.read(data, update.frame_limit), update.key)[1]
