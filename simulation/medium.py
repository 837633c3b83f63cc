"""What lies on a disk in memory, and what a power cut does to it.

Each file knows its durable content and what was written since; each folder knows which of its names were not
synced. A power cut decides for each of those, by seeded choice, whether it had reached the disk.
"""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from antiphon.simulation.database import Base, Crashed, Life

__all__ = ["Crashed", "File", "Life", "Medium", "split"]

WRITTEN_BACK = 64
"""Un-synced changes of a file, names of a folder, and files that are remembered: the system writes older ones
back by itself."""

ROOM = 1 << 40
"""Bytes of a disk without a limit."""


@dataclass(eq=False, slots=True)
class File:
    """A file's content, what of it is durable, and what was changed since: (at, data), or (size, None)."""

    content: bytes | bytearray = b""
    durable: bytearray | None = None
    changes: list[tuple[int, bytes | None]] = field(default_factory=list[tuple[int, bytes | None]])

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.content)


Node = File | Base


def split(path: str) -> tuple[str, str]:
    """Return the folder and the name in it."""
    return os.path.split(path)


class Medium:
    """The content, shared by all who mount the disk."""

    def __init__(self, seed: int, capacity: int | None) -> None:
        """Nothing is on it."""
        self.capacity, self.full = capacity, False
        self.life = Life()
        self.operations = 0
        self.trap: tuple[int, Callable[[], None]] | None = None
        self.folders: dict[str, dict[str, Node]] = {"/": {}}
        self.locks: dict[str, object] = {}
        self.unsynced_names: dict[str, dict[str, Node | None]] = {}
        """By folder: what durably had a name that was changed since."""
        self._unsynced: dict[File, None] = {}
        self._rng = np.random.default_rng(seed)

    def tick(self) -> None:
        """Count a change that is about to happen.

        Raises:
            Crashed: The process dies here.
        """
        self.operations += 1
        if self.trap is not None and self.operations == self.trap[0]:
            crash, self.trap = self.trap[1], None
            crash()
            raise Crashed("the process died in the middle of a job")

    def used(self) -> int:
        """Bytes of content."""
        return sum(node.size for names in self.folders.values() for node in names.values())

    def left(self) -> int:
        """Bytes there is room for."""
        if self.full:
            return 0
        return ROOM if self.capacity is None else max(0, self.capacity - self.used())

    def room(self, size: int, path: str) -> None:
        """Refuse what does not fit.

        Raises:
            OSError: ENOSPC.
        """
        if self.full or (self.capacity is not None and size > self.left()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    def names(self, folder: str, path: str) -> dict[str, Node]:
        """Return what lies in a folder.

        Raises:
            FileNotFoundError: There is no such folder. ``path`` is named.
            NotADirectoryError: It is a file.
        """
        names = self.folders.get(folder)
        if names is None:
            number = errno.ENOENT if self.find(folder) is None else errno.ENOTDIR
            raise OSError(number, os.strerror(number), path)
        if path in self.folders and path != folder:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        return names

    def below(self, folder: str) -> list[str]:
        """Return the names of the folders in a folder."""
        return [split(each)[1] for each in self.folders if each != "/" and split(each)[0] == folder]

    def find(self, path: str) -> Node | None:
        """Return what has this name, if it is a file."""
        folder, name = split(path)
        return self.folders.get(folder, {}).get(name)

    def node(self, path: str) -> Node:
        """Return the file of this name.

        Raises:
            OSError: It is not there, or a folder.
        """
        folder, name = split(path)
        node = self.names(folder, path).get(name)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return node

    def file(self, path: str) -> File:
        """As `node`; a database becomes the file that it is."""
        node = self.node(path)
        if isinstance(node, Base):
            node = File(node.content)
            folder, name = split(path)
            self.folders[folder][name] = node
        return node

    def change(self, file: File, at: int, data: bytes | None) -> None:
        """Write into a file, or shorten it; not durable."""
        if file.durable is None:
            file.durable = bytearray(file.content)
            self._remember(file)
        if not isinstance(file.content, bytearray):
            file.content = bytearray(file.content) if file.content or data is None else _grown(data, at)
        _apply(file.content, at, data)
        file.changes.append((at, data))
        if len(file.changes) > WRITTEN_BACK:
            _apply(file.durable, *file.changes.pop(0))

    def unsettled(self, file: File) -> None:
        """A new file was written, and nothing of it is durable."""
        file.durable = bytearray()
        file.changes.append((0, bytes(file.content)))
        self._remember(file)

    def _remember(self, file: File) -> None:
        self._unsynced[file] = None
        if len(self._unsynced) > WRITTEN_BACK:
            self.settle(next(iter(self._unsynced)))

    def settle(self, file: File) -> None:
        """The file's content is durable."""
        file.durable = None
        file.changes.clear()
        self._unsynced.pop(file, None)

    def set_name(self, folder: str, name: str, node: Node | None) -> None:
        """Give a name to a file, or take it away; not durable."""
        names = self.folders[folder]
        unsynced = self.unsynced_names.setdefault(folder, {})
        unsynced.setdefault(name, names.get(name))
        if len(unsynced) > WRITTEN_BACK:
            del unsynced[next(iter(unsynced))]
        if node is None:
            del names[name]
        else:
            names[name] = node

    def settle_names(self, folder: str) -> None:
        """A folder's names are durable."""
        self.unsynced_names.pop(folder, None)

    def move(self, source: str, target: str) -> None:
        """Rename a file or folder, durably.

        Raises:
            OSError: As the operating system's rename.
        """
        folder, name = split(target)
        if source in self.folders:
            self._move_folder(source, target)
            return
        node = self.node(source)
        self.names(folder, target)
        old_folder, old_name = split(source)
        del self.folders[old_folder][old_name]
        self.folders[folder][name] = node
        self.settle_names(old_folder)
        self.settle_names(folder)

    def _move_folder(self, source: str, target: str) -> None:
        self.names(split(target)[0], split(target)[0])
        if self.find(target) is not None:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), target)
        if self.folders.get(target) or self.below(target):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), target)
        for table in (self.folders, self.unsynced_names):
            for each in [each for each in table if each == source or each.startswith(source + "/")]:
                table[target + each[len(source) :]] = table.pop(each)  # pyright: ignore[reportArgumentType]

    def fence(self, power: bool) -> None:
        """The process that uses the disk died; with ``power`` the machine did."""
        self.life.over = True
        self.life = Life()
        self.locks.clear()
        self.trap = None
        for names in self.folders.values():
            for node in names.values():
                if isinstance(node, Base):
                    node.recover()
        if power:
            self._lose()

    def _lose(self) -> None:
        for file in self._unsynced:
            assert file.durable is not None  # what is in this table was changed
            for at, data in file.changes:
                kept = self._rng.random() * 1.5  # a third dropped, a third torn, a third whole
                if data is None:
                    if kept > 0.5:
                        _apply(file.durable, at, None)
                elif kept > 0.5:
                    _apply(file.durable, at, data[: int(len(data) * min(1.0, 2 * (kept - 0.5)))])
            file.content, file.durable = file.durable, None
            file.changes.clear()
        self._unsynced.clear()
        for folder, names in self.unsynced_names.items():
            for name, node in names.items():
                if self._rng.random() < 0.5:
                    if node is None:
                        self.folders[folder].pop(name, None)
                    else:
                        self.folders[folder][name] = node
        self.unsynced_names.clear()


def _grown(data: bytes, at: int) -> bytearray:
    """An empty file that becomes as large as it has to at once: cheaper than growing."""
    return bytearray(at + len(data))


def _apply(content: bytearray, at: int, data: bytes | None) -> None:
    """Write at a place, zeros before it if there is nothing; or shorten or lengthen to a size."""
    if data is None:
        del content[at:]
        content.extend(bytes(at - len(content)))
        return
    if at > len(content):
        content.extend(bytes(at - len(content)))
    content[at : at + len(data)] = data
