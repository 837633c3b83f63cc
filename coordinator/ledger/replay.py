"""Repeat what the coordinator computed, and compare: the model is what the ledger says, bit for bit.

Each version is merged again from the one before it, by the code that merged it (`merging.merge`), from the
sealed updates, with its own rule and the stored scalars; its digest must be that of the ledger. Begins at the
earliest version from which everything is kept. Nothing is written; the coordinator may be running.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antiphon.broker_config.disk import Disk
from antiphon.codecs.errors import StateError
from antiphon.coordinator import merging
from antiphon.coordinator.aggregation.anchor import Current
from antiphon.coordinator.aggregation.history import Arrival, init_step
from antiphon.coordinator.aggregation.step import StepState
from antiphon.coordinator.buffer import Accepted
from antiphon.coordinator.ledger import updates, versions
from antiphon.coordinator.ledger.checkpoints import step_digest
from antiphon.coordinator.ledger.layout import Layout
from antiphon.coordinator.ledger.reading import reading
from antiphon.coordinator.ledger.records import Received
from antiphon.coordinator.ledger.recovery import Recovery, load
from antiphon.coordinator.ledger.recovery import reading as decoding
from antiphon.coordinator.merging import Merged, Spoiled
from antiphon.coordinator.models import Model

BATCH = f"SELECT {updates.COLUMNS} FROM updates JOIN contents USING (admission) WHERE version = ?"

KEPT = "SELECT count(*) FROM updates JOIN contents USING (admission) WHERE version = ?"

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Replayed:
    """What was repeated.

    Attributes:
        first: The version that it began from; -1: from nothing, an agent brought the first version.
        last: The newest version, whose digest is confirmed.
        versions: How many were merged again.
        updates: How many updates that took.
        digest: Of the newest version, 32 bytes.
        run: The run's id, 16 bytes.
    """

    first: int
    last: int
    versions: int
    updates: int
    digest: bytes
    run: bytes


@dataclass(frozen=True, slots=True)
class _Version:
    """A row of ``versions``."""

    number: int
    digest: bytes
    updates: int
    started_step: bool
    rule: bytes
    plan: bytes | None


def replay(folder: Path, disk: Disk, progress: Progress | None = None) -> Replayed:
    """Rebuild the newest version from the earliest that is kept, and confirm every digest on the way.

    Args:
        folder: A state folder.
        disk: What it lies on.
        progress: Told of each version and the last.

    Returns:
        What was done; ``versions`` is 0 if only the newest version is kept: then its digest is confirmed.

    Raises:
        StateError: Names the first version that differs, or what is damaged or missing.
        OSError: Something cannot be read.
    """
    with reading(folder, disk) as recovery:
        return _Replay(recovery, Layout(folder), disk).run(progress or _silent)


def _silent(number: int, last: int) -> None:
    del number, last


class _Replay:
    def __init__(self, recovery: Recovery, layout: Layout, disk: Disk) -> None:
        self._recovery, self._layout, self._disk = recovery, layout, disk
        rows = recovery.rows(
            "SELECT number, digest, updates, started_step, rule, plan FROM versions ORDER BY number"
        )
        self._versions = [_Version(n, digest, k, bool(began), *rest) for n, digest, k, began, *rest in rows]

    def run(self, progress: Progress) -> Replayed:
        ((run,),) = self._recovery.rows("SELECT run FROM run")
        if not self._versions:
            raise StateError(f"there is no first version in {self._layout.folder} yet")
        last = self._versions[-1]
        start = self._start()
        model, step, first = self._begin(start)
        count = 0
        for version in self._versions[start + 1 :]:
            batch = self._batch(version)
            model, step = self._merge(version, model, step, batch)
            count += version.updates
            progress(version.number, last.number)
        self._confirm(last, model, step)
        made = last.number - first
        count += self._versions[start].updates if first < 0 else 0
        return Replayed(first, last.number, made, count, last.digest, run)

    def _start(self) -> int:
        """Index of the version to begin from: the earliest after which every update and base is kept."""
        for index in range(len(self._versions) - 1, 0, -1):
            if not self._is_whole(self._versions[index]):
                return index
        return 0

    def _is_whole(self, version: _Version) -> bool:
        """Whether a version can be merged again: not if retention took an update, or a base of one."""
        ((kept,),) = self._recovery.rows(KEPT, (version.number,))
        if kept < version.updates:
            return False
        if not isinstance(self._rule(version).anchor, Current):
            return True
        batch = self._batch(version)
        return all(self._recovery.checkpoint(each.update.offer.base_number) is not None for each in batch)

    def _rule(self, version: _Version) -> Any:
        with decoding(self._layout.database, f"the rule of version {version.number}"):
            return versions.decode_rule(version.rule)

    def _begin(self, start: int) -> tuple[Model, StepState, int]:
        """Load the version to begin from; the first that an agent brought is made from its update."""
        version = self._versions[start]
        batch = self._batch(version) if version.number == 0 else []
        if not batch:
            return *self._load(version), version.number
        found = merging.first_version(_accepted(batch)[0], self._disk)
        if isinstance(found, Spoiled):
            raise self._spoiled(version, batch, found)
        step = init_step(self._rule(version), found.schema.size, found.schema.dtype)
        self._compare(version, found)
        return found, step, -1

    def _load(self, version: _Version) -> tuple[Model, StepState]:
        kept = self._recovery.checkpoint(version.number)
        if kept is None or kept.digest != version.digest:
            raise StateError(f"{self._layout.database} does not hold version {version.number} as it was")
        return load(kept, self._layout, self._disk)

    def _batch(self, version: _Version) -> list[Received]:
        rows = self._recovery.rows(f"{BATCH} ORDER BY place", (version.number,))
        with decoding(self._layout.database, f"an update of version {version.number}"):
            return [updates.received(row, self._recovery.schemas[row[7]], self._layout.spool) for row in rows]

    def _merge(
        self, version: _Version, model: Model, step: StepState, batch: Sequence[Received]
    ) -> tuple[Model, StepState]:
        rule = self._rule(version)
        with decoding(self._layout.database, f"the scalars of version {version.number}"):
            scalars = versions.decode_plan(version.plan or b"")
        if version.started_step:
            step = init_step(rule, model.schema.size, model.schema.dtype)
        bases = [self._base(each) for each in batch] if isinstance(rule.anchor, Current) else None
        try:
            merged = merging.merge(rule, scalars, model, step, _accepted(batch), bases, self._disk)
        except (ValueError, FileNotFoundError) as error:
            raise StateError(f"version {version.number} cannot be merged again: {error}") from None
        if isinstance(merged, Merged):
            self._compare(version, merged.model)
            return merged.model, merged.step
        raise self._spoiled(version, batch, merged)

    def _base(self, each: Received) -> Any:
        kept = self._recovery.checkpoint(each.update.offer.base_number)
        if kept is None:
            raise StateError(f"version {each.update.offer.base_number}, a base, is no longer kept")
        return load(kept, self._layout, self._disk, mapped=True)[0].vector

    def _spoiled(self, version: _Version, batch: Sequence[Received], spoiled: Spoiled) -> StateError:
        update = batch[spoiled.index].update
        return StateError(
            f"version {version.number} cannot be merged again: the update of {update.agent} in "
            f"{self._layout.database if update.frame else update.path} is damaged ({spoiled.detail})"
        )

    def _compare(self, version: _Version, model: Model) -> None:
        if model.digest != version.digest:
            raise StateError(
                f"version {version.number} is the first that differs: replayed {model.digest.hex()[:16]}, "
                f"the ledger says {version.digest.hex()[:16]}"
            )

    def _confirm(self, last: _Version, model: Model, step: StepState) -> None:
        """The newest version's stored values are those too, the optimiser's included."""
        stored, kept = self._load(last)
        if stored.digest != model.digest or step_digest(kept) != step_digest(step):
            raise StateError(f"the optimiser after version {last.number} differs from the replayed one")


def _accepted(batch: Sequence[Received]) -> list[Accepted]:
    """As the buffer held them; the numbers that a plan is made from are not needed again."""
    return [
        Accepted(
            each.update,
            each.checked,
            Arrival(
                each.update.agent, each.update.offer.base_number, each.update.offer.examples, each.admitted_at
            ),
        )
        for each in batch
    ]
