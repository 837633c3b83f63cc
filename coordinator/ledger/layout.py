"""Where things lie in the state folder, and how an ended run is moved out of the way.

Guaranteed: a move that a crash interrupts is finished at the next start, before anything is read.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from antiphon.broker_config.disk import Disk
from antiphon.codecs.errors import StateError

MOVED = (
    "spool",
    "checkpoints",
    "published",
    "model.safetensors",
    "ledger.db",
    "ledger.db-wal",
    "ledger.db-shm",
)
"""What belongs to one run, in the order in which it is moved."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths below a state folder."""

    folder: Path

    @property
    def database(self) -> Path:
        """The ledger's tables."""
        return self.folder / "ledger.db"

    @property
    def spool(self) -> Path:
        """Folder of sealed updates that came in several frames."""
        return self.folder / "spool"

    @property
    def checkpoints(self) -> Path:
        """Folder of versions that are too large for the tables."""
        return self.folder / "checkpoints"

    @property
    def model(self) -> Path:
        """The newest version for people, written when a run ends."""
        return self.folder / "model.safetensors"

    @property
    def runs(self) -> Path:
        """Folder of earlier runs."""
        return self.folder / "runs"

    @property
    def lock(self) -> Path:
        """Held by the coordinator that uses the folder."""
        return self.folder / "lock"

    @property
    def moving(self) -> Path:
        """Names the folder that a run is being moved to."""
        return self.folder / "moving"


def move_run(layout: Layout, disk: Disk, name: str) -> None:
    """Move everything of a run to ``runs/<name>/``; its database must be closed.

    Raises:
        OSError: The disk is full or broken; what was moved so far is there, `finish` goes on.
    """
    disk.make(layout.runs / name)
    disk.write(layout.moving, [name.encode()], sync=True)
    finish(layout, disk)


def finish(layout: Layout, disk: Disk) -> None:
    """Finish a move that was interrupted, if there is one.

    Raises:
        OSError: The disk is full or broken.
        StateError: The note about it is damaged.
    """
    if disk.size(layout.moving) is None:
        return
    name = disk.read(layout.moving).decode("ascii", "replace")
    if not name or not all(letter.isalnum() or letter == "-" for letter in name):
        raise StateError(f"{layout.moving} is damaged: restore the state folder from a backup")
    disk.make(layout.runs / name)
    for each in MOVED:
        if each in disk.names(layout.folder):
            disk.move(layout.folder / each, layout.runs / name / each)
    disk.remove(layout.moving)


def sweep(folder: Path, disk: Disk, named: set[str]) -> None:
    """Remove what no row names. A file that cannot be removed now can be the next time."""
    for name in disk.names(folder):
        if name not in named:
            with suppress(OSError):
                disk.remove(folder / name)
