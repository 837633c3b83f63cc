"""Updates on disk until the coordinator answers for them: plain files, whole or not at all.

An update is written, synced and renamed before its first frame goes; it survives crashes and days offline.
When the coordinator has it (`received`), a small record takes the file's place; a final receipt removes that
too. The bytes on disk are bounded. Every function here blocks: services call them by ``environment.run``.

File: the encoded vector, the exact section, the head (msgpack map of `Head`), 8 bytes length of the head
(big-endian). A record is head and length alone. Names sort in the order of offering.
"""

import mmap
import os
import shutil
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from antiphon.codecs import messages
from antiphon.codecs.errors import MalformedError, StateError

UPDATE, RECORD, ASIDE = ".update", ".record", ".new"
HEAD_LIMIT = 16 << 20
PIECE = 4 << 20


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

    @property
    def initial(self) -> bool:
        """Whether this is version 0 rather than a change to a version."""
        return self.base == messages.NO_DIGEST


@dataclass(slots=True)
class Entry:
    """One update in the outbox. ``state``: pending (payload here), received (record only), gone."""

    head: Head
    path: Path
    ordinal: int
    state: Literal["pending", "received", "gone"] = "pending"
    _open: mmap.mmap | None = field(default=None, repr=False)

    @property
    def id(self) -> messages.UpdateId:
        """What names the update for ever, with the agent's id."""
        return messages.UpdateId(self.head.incarnation, self.head.sequence)

    def content(self) -> tuple[memoryview, bytes]:
        """Return the encoded vector (mapped, not read) and the exact section. Blocks.

        Raises:
            StateError: The file is gone or cut short.
        """
        try:
            if self._open is None:
                with self.path.open("rb") as file:
                    self._open = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            view = memoryview(self._open)
        except (OSError, ValueError) as error:
            raise StateError(f"cannot read the update {self.path}: {error}") from None
        middle = self.head.vector_bytes
        end = middle + self.head.exact_bytes
        if len(view) < end + 8:
            raise StateError(f"the update {self.path} is damaged and is left alone: remove the file")
        return view[:middle], bytes(view[middle:end])

    def close(self) -> None:
        """Let go of the mapped file; views that somebody still holds keep it until they go."""
        self._open = None


class Outbox:
    """The updates of one agent, oldest first.

    Args:
        folder: Made if it is not there.
        limit: Bytes of pending updates.
        spare: Bytes that stay free on the disk.
    """

    def __init__(self, folder: Path, limit: int, spare: int) -> None:
        """Nothing is read yet: `load` does that."""
        self.folder, self._limit, self._spare = folder, limit, spare
        self._entries: list[Entry] = []
        self._next = 0
        self._lock = threading.Lock()

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Everything without a final answer, in the order of offering."""
        return tuple(self._entries)

    @property
    def pending(self) -> tuple[Entry, ...]:
        """What the coordinator has not got yet, in the order of offering."""
        return tuple(entry for entry in self._entries if entry.state == "pending")

    def load(self) -> list[str]:
        """Read what earlier processes left; returns sentences about files that are no updates. Blocks.

        Raises:
            StateError: The folder cannot be made or read.
        """
        complaints: list[str] = []
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            names = sorted(path.name for path in self.folder.iterdir())
        except OSError as error:
            raise StateError(
                f"cannot use the outbox {self.folder}: {os.strerror(error.errno or 0)}"
            ) from None
        for name in names:
            path = self.folder / name
            if name.endswith(ASIDE):
                path.unlink(missing_ok=True)  # a write that a crash cut short: nothing of it was ever sent
            elif name.endswith((UPDATE, RECORD)):
                try:
                    self._take(path)
                except (MalformedError, ValueError, OSError) as error:
                    complaints.append(f"{path} is not a readable update and is left alone: {error}")
        return complaints

    def room(self, size: int) -> str:
        """Return why an update of ``size`` bytes may not be added, or ``""``. Blocks shortly."""
        used = sum(entry.head.vector_bytes + entry.head.exact_bytes for entry in self.pending)
        if used + size > self._limit:
            return f"{used} bytes of updates wait in {self.folder}, at most {self._limit} may (limits.outbox)"
        try:
            free = shutil.disk_usage(self.folder).free
        except OSError as error:
            return f"cannot use {self.folder}: {os.strerror(error.errno or 0)}"
        if free < size + self._spare:
            return f"the disk of {self.folder} has {free} bytes free: an update needs {size + self._spare}"
        return ""

    def add(self, parts: Iterable[bytes], exact: bytes, head: Callable[[], Head]) -> Entry:
        """Write an update: durable when this returns. Blocks.

        Args:
            parts: The encoded vector, piece by piece, so that it never lies in memory as a whole.
            exact: The exact section.
            head: Called after ``parts`` ran dry: the digest is known only then.

        Raises:
            StateError: The disk is full or the folder gone; nothing of the update is left.
        """
        with self._lock:  # an update may be renamed while another one is being written
            ordinal, self._next = self._next, self._next + 1
        path = self.folder / f"{ordinal:012d}{UPDATE}"
        aside = path.with_suffix(ASIDE)
        try:
            with aside.open("wb") as file:
                file.writelines(parts)
                file.write(exact)
                final = head()
                _write_head(file, final)
            os.replace(aside, path)
            _sync_folder(self.folder)
        except BaseException as error:
            _remove(aside)
            if isinstance(error, OSError):
                raise StateError(f"cannot write {path}: {os.strerror(error.errno or 0)}") from None
            raise
        entry = Entry(final, path, ordinal)
        self._entries.append(entry)
        return entry

    def received(self, entry: Entry) -> None:
        """The coordinator has it: keep the record, drop the payload. Blocks."""
        if entry.state != "pending":
            return
        entry.state = "received"
        entry.close()
        record, aside = entry.path.with_suffix(RECORD), entry.path.with_suffix(ASIDE)
        try:
            with aside.open("wb") as file:
                _write_head(file, entry.head)
            os.replace(aside, record)
            entry.path.unlink(missing_ok=True)
            _sync_folder(self.folder)
            entry.path = record
        except OSError:  # a full disk: the whole file is its own record, and is offered again after a restart
            _remove(aside)

    def settle(self, entry: Entry) -> None:
        """A final receipt came: forget the update. Blocks."""
        entry.close()
        entry.state = "gone"
        if entry in self._entries:
            self._entries.remove(entry)
        _remove(entry.path)  # where that fails, it is asked about once more after a restart

    def give_up(self, entry: Entry) -> None:
        """Forget an update that cannot be read, but leave its file to whoever looks into the folder."""
        entry.close()
        entry.state = "gone"
        if entry in self._entries:
            self._entries.remove(entry)

    def rename(self, entry: Entry, incarnation: bytes, sequence: int) -> None:
        """Give an update another id: somebody else's content has its old one. Blocks.

        Raises:
            StateError: Its payload is gone, or the file cannot be written.
        """
        if entry.state != "pending":
            raise StateError(f"the update {entry.path} has no payload any more")
        vector, exact = entry.content()
        head = msgspec.structs.replace(entry.head, incarnation=incarnation, sequence=sequence)
        parts = (bytes(vector[at : at + PIECE]) for at in range(0, len(vector), PIECE))
        self.add(parts, exact, lambda: head)
        self.settle(entry)

    def _take(self, path: Path) -> None:
        ordinal = int(path.stem)
        whole = path.suffix == UPDATE
        with path.open("rb") as file:
            head, before = _read_head(file)
        if before != (head.vector_bytes + head.exact_bytes if whole else 0):
            raise MalformedError("its length is not what its head says")
        self._next = max(self._next, ordinal + 1)
        if not whole and any(entry.ordinal == ordinal for entry in self._entries):
            return  # both are here after a crash between two steps: the whole one counts
        entry = Entry(head, path, ordinal, "pending" if whole else "received")
        self._entries = [e for e in self._entries if e.ordinal != ordinal] + [entry]


def _remove(path: Path) -> None:
    """Delete a file if the disk lets us: what is left over is harmless."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _write_head(file: BinaryIO, head: Head) -> None:
    body = messages.encode(head)
    file.write(body + len(body).to_bytes(8, "big"))
    file.flush()
    os.fsync(file.fileno())


def _read_head(file: BinaryIO) -> tuple[Head, int]:
    """Return the head at the end of a file, and how many bytes lie before it."""
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - 8))
    size = int.from_bytes(file.read(8), "big")
    if not 0 < size <= min(end - 8, HEAD_LIMIT):
        raise MalformedError("it has no head")
    file.seek(end - 8 - size)
    return messages.decode(file.read(size), Head, HEAD_LIMIT), end - 8 - size


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # other systems cannot open folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
