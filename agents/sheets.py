"""Bytes that go to the disk with a row: small ones in it, large ones in a file beside it.

Guarantees: `sync` before the row is committed, and the row never names less than was written. A crash before
that leaves a file that no row names: whoever loads the rows removes it.
"""

from contextlib import suppress
from pathlib import Path

from antiphon.broker_config.disk import Disk

SMALL = 64 << 10
"""Bytes from which on something is a file of its own."""


class Sheet:
    """One stream of bytes being written.

    Args:
        disk: Where.
        path: The file, if it becomes one.
        size: How many bytes will come.
    """

    def __init__(self, disk: Disk, path: Path, size: int) -> None:
        """Nothing is written yet."""
        self._disk, self.path = disk, path
        self._parts: list[bytes] | None = [] if size < SMALL else None
        self._at = 0

    @property
    def file(self) -> str:
        """The file's name, or "" if the row has it."""
        return self.path.name if self._parts is None else ""

    @property
    def content(self) -> bytes | None:
        """What goes into the row, or None if a file has it."""
        return None if self._parts is None else b"".join(self._parts)

    def write(self, part: bytes | memoryview) -> None:
        """Add bytes at the end.

        Raises:
            OSError: The disk is full, say.
        """
        if self._parts is not None:
            self._parts.append(bytes(part))
        else:
            self._disk.append(self.path, self._at, part)
        self._at += len(part)

    def drop(self) -> None:
        """Remove the file if the disk lets us: what is left over goes at the next start."""
        if self._parts is None:
            with suppress(OSError):
                self._disk.remove(self.path)


def sync(disk: Disk, *sheets: Sheet | None) -> None:
    """Return when the files among ``sheets`` would survive a power cut.

    Raises:
        OSError: They might not.
    """
    paths = [sheet.path for sheet in sheets if sheet is not None and sheet.file]
    if paths:
        disk.sync(paths)
