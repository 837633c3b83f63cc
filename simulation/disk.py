"""A disk in memory, which forgets what was not synced: the twin of `antiphon.broker_config.disk.RealDisk`.

Guaranteed: it behaves like the real one (``tests/contracts/test_disk.py`` runs over both), and every fault
that a disk can have is at hand and decided by a seed: full, a capacity, the death of the process that uses it
at any operation, and a power cut that keeps, drops or tears whatever was not synced. Not simulated: a medium
that returns other bytes than were written; write those yourself.
"""

import errno
import io
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO, cast

from antiphon.broker_config.disk import Closing
from antiphon.simulation.database import Base, Handle
from antiphon.simulation.medium import Crashed, File, Life, Medium, split

__all__ = ["Crashed", "MemoryDisk"]


class MemoryDisk:
    """A disk that outlives the processes that use it; see `antiphon.broker_config.disk.Disk`.

    The object itself is for whoever stages the run and always works; a process gets a `mount`, which dies
    with it.
    """

    def __init__(self, seed: int = 0, capacity: int | None = None) -> None:
        """An empty disk.

        Args:
            seed: Decides what a power cut does.
            capacity: Bytes of content that fit; None for no limit.
        """
        self._medium = Medium(seed, capacity)
        self._life: Life | None = None

    def mount(self) -> "MemoryDisk":
        """Return the disk as one process sees it: everything made through it dies with the next `fence`."""
        disk = object.__new__(MemoryDisk)
        disk._medium, disk._life = self._medium, self._medium.life
        return disk

    # For whoever stages the run.

    @property
    def full(self) -> bool:
        """Whether everything that takes room raises ENOSPC."""
        return self._medium.full

    @full.setter
    def full(self, full: bool) -> None:
        self._medium.full = full

    @property
    def capacity(self) -> int | None:
        """Bytes of content that fit; None for no limit."""
        return self._medium.capacity

    @capacity.setter
    def capacity(self, capacity: int | None) -> None:
        self._medium.capacity = capacity

    @property
    def used(self) -> int:
        """Bytes of content."""
        return self._medium.used()

    @property
    def operations(self) -> int:
        """How many times the content was about to change, or to become durable, so far."""
        return self._medium.operations

    def trip(self, operation: int, crash: Callable[[], None]) -> None:
        """Let the process die in the middle of a job.

        Args:
            operation: When `operations` would become this number, the disk calls ``crash``, which must
                `fence` it, and the operation raises `Crashed` without having happened.
            crash: Kills the process: `antiphon.simulation.crash.Party.crash`.
        """
        self._medium.trap = (operation, crash)

    def fence(self, power: bool = False) -> None:
        """Cut off the process that uses the disk: every later call of what it had raises `Crashed`.

        Args:
            power: The machine died with it: un-synced data is kept, dropped or torn.
        """
        self._medium.fence(power)

    # What processes call: see `antiphon.broker_config.disk.Disk`.

    def make(self, folder: Path) -> None:
        """See `Disk.make`."""
        self._check()
        medium, path = self._medium, str(folder)
        if path in medium.folders:
            return
        medium.room(0, path)
        medium.tick()
        for each in [path, *(str(parent) for parent in folder.parents)]:
            if medium.find(each) is not None:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), each)
            medium.folders.setdefault(each, {})

    def names(self, folder: Path) -> list[str]:
        """See `Disk.names`."""
        self._check()
        path = str(folder)
        if path in self._medium.folders:
            return sorted([*self._medium.folders[path], *self._medium.below(path)])
        if self._medium.find(path) is not None:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return []

    def size(self, path: Path) -> int | None:
        """See `Disk.size`."""
        self._check()
        node = self._medium.find(str(path))
        return None if node is None else node.size

    def read(self, path: Path) -> bytes:
        """See `Disk.read`."""
        self._check()
        return bytes(self._medium.node(str(path)).content)

    def open(self, path: Path) -> BinaryIO:
        """See `Disk.open`."""
        self._check()
        raw = _Reading(self._medium.node(str(path)), self._life or self._medium.life)
        return cast("BinaryIO", raw)  # the same methods; typing has no protocol for files

    def map(self, path: Path) -> memoryview:
        """See `Disk.map`."""
        return memoryview(self.read(path))

    def write(self, path: Path, parts: Iterable[bytes | memoryview], *, sync: bool) -> None:
        """See `Disk.write`."""
        self._check()
        medium = self._medium
        content = b"".join(parts)
        folder, name = split(str(path))
        names = medium.names(folder, str(path))
        medium.room(len(content), str(path))
        medium.tick()
        aside = f".{name}.new"
        new = File(content)
        if not sync:
            medium.unsettled(new)
        medium.set_name(folder, aside, new)
        medium.tick()
        del names[aside]
        medium.unsynced_names.get(folder, {}).pop(aside, None)
        medium.set_name(folder, name, new)
        if sync:
            medium.tick()
            medium.settle_names(folder)

    def append(self, path: Path, at: int, data: bytes | memoryview) -> None:
        """See `Disk.append`."""
        self._check()
        medium, name = self._medium, str(path)
        folder, leaf = split(name)
        names = medium.names(folder, name)
        data = bytes(data)
        medium.tick()
        fits = min(len(data), medium.left())
        if fits or not data:
            if leaf not in names:
                medium.set_name(folder, leaf, File())
            medium.change(medium.file(name), at, data[:fits])
        if fits < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)

    def sync(self, paths: Iterable[Path]) -> None:
        """See `Disk.sync`."""
        self._check()
        medium = self._medium
        folders: dict[str, None] = {}
        for path in paths:
            node = medium.node(str(path))
            medium.tick()
            if isinstance(node, File):
                medium.settle(node)
            folders[split(str(path))[0]] = None
        for folder in folders:
            medium.tick()
            medium.settle_names(folder)

    def cut(self, path: Path, size: int) -> None:
        """See `Disk.cut`."""
        self._check()
        file = self._medium.file(str(path))
        self._medium.tick()
        self._medium.change(file, size, None)

    def move(self, source: Path, target: Path) -> None:
        """See `Disk.move`."""
        self._check()
        self._medium.room(0, str(target))
        self._medium.tick()
        self._medium.move(str(source), str(target))

    def remove(self, path: Path) -> None:
        """See `Disk.remove`."""
        self._check()
        medium = self._medium
        folder, name = split(str(path))
        if str(path) in medium.folders:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if name in medium.folders.get(folder, {}):
            medium.tick()
            medium.set_name(folder, name, None)

    def free(self, folder: Path) -> int:
        """See `Disk.free`."""
        self._check()
        self._medium.names(str(folder), str(folder))
        return self._medium.left()

    def lock(self, path: Path) -> Closing:
        """See `Disk.lock`."""
        self._check()
        medium, name = self._medium, str(path)
        folder, leaf = split(name)
        if leaf not in medium.names(folder, name):
            medium.room(0, name)
            medium.set_name(folder, leaf, File())
        if name in medium.locks:
            raise BlockingIOError(errno.EAGAIN, "somebody else holds it", name)
        medium.locks[name] = held = _Held(medium, name)
        return held

    def database(self, path: Path, *, sync: bool) -> Handle:
        """See `Disk.database`. What is committed survives a power cut even without ``sync``."""
        self._check()
        medium, name = self._medium, str(path)
        folder, leaf = split(name)
        node = medium.names(folder, name).get(leaf)
        if node is None or isinstance(node, File):
            if node is None:
                medium.room(0, name)
            node = Base(path, b"" if node is None else bytes(node.content))
            medium.set_name(folder, leaf, node)
            medium.settle_names(folder)
        return Handle(path, node, medium, self._life or medium.life)

    def _check(self) -> None:
        if self._life is not None:
            self._life.check()


class _Reading(io.RawIOBase):
    """A file open for reading; sees what is written meanwhile, as the operating system's does."""

    def __init__(self, node: File | Base, life: Life) -> None:
        self._node, self._life, self._at = node, life, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._node.size}[whence]
        if start + offset < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._at = start + offset
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        self._life.check()
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        content = self._node.content
        end = len(content) if size is None or size < 0 else self._at + size
        data = bytes(content[self._at : end])
        self._at += len(data)
        return data

    def readinto(self, buffer: "bytearray | memoryview", /) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        target = memoryview(buffer).cast("B")
        data = self.read(len(target))
        target[: len(data)] = data
        return len(data)


class _Held:
    """A lock that is held."""

    def __init__(self, medium: Medium, name: str) -> None:
        self._medium, self._name = medium, name

    def close(self) -> None:
        if self._medium.locks.get(self._name) is self:
            del self._medium.locks[self._name]
