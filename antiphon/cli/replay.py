"""``antiphon replay``: rebuild a real run's model from its ledger, and confirm that it is the same."""

import errno
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from antiphon.broker_config.disk import RealDisk
from antiphon.codecs.errors import StateError
from antiphon.coordinator.ledger.reading import folder_of
from antiphon.coordinator.ledger.replay import Replayed
from antiphon.coordinator.ledger.replay import replay as repeat

Ledger = Annotated[Path, typer.Argument(help="The federation's folder, its state/, or one of state/runs/.")]


def replay(
    ledger: Ledger,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Merge every version again that the ledger still holds the updates of, and compare the digests.

    Nothing is written, and the coordinator may be running. Ends with 1 if a version differs, or if what it
    was made from is damaged.

    Example: antiphon replay federation
    """
    disk = RealDisk()
    folder = folder_of(ledger, disk)
    try:
        done = repeat(folder, disk, _show if sys.stderr.isatty() and not as_json else None)
    except (StateError, OSError) as error:
        sentence = str(error) if isinstance(error, StateError) else f"cannot read {folder}: {error.strerror}"
        if isinstance(error, OSError) and error.errno in (errno.EROFS, errno.EACCES):
            sentence += "; SQLite must write beside what it reads: copy the folder, and name the copy"
        if as_json:
            print(json.dumps({"confirmed": False, "error": sentence}))
        print(f"antiphon: {sentence}", file=sys.stderr)
        raise typer.Exit(1) from None
    print(json.dumps(_plain(done)) if as_json else _sentence(done))


def _show(number: int, last: int) -> None:
    print(f"\rversion {number} of {last}", end="\n" if number == last else "", file=sys.stderr, flush=True)


def _plain(done: Replayed) -> dict[str, object]:
    return {
        "confirmed": True,
        "run": done.run.hex(),
        "first": done.first,
        "last": done.last,
        "versions": done.versions,
        "updates": done.updates,
        "digest": done.digest.hex(),
    }


def _sentence(done: Replayed) -> str:
    said = f"run {done.run.hex()}: "
    if not done.versions:
        return (
            f"{said}only version {done.last} is kept, there is nothing to replay; "
            f"its digest {done.digest.hex()} is confirmed"
        )
    begin = "the update that brought it" if done.first < 0 else f"version {done.first}"
    return (
        f"{said}{done.versions} versions merged again from {begin} on, with {done.updates} updates; "
        f"version {done.last} has the same digest {done.digest.hex()}"
    )
