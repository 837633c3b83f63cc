"""Starts: after crashes at any disk operation and power cuts, with another's folder, with a damaged one."""

from pathlib import Path
from typing import Any

import pytest

from antiphon.broker_config.disk import RealDisk
from antiphon.codecs.errors import StateError
from antiphon.codecs.messages import GroupKey
from antiphon.codecs.sealing import SecretKey
from antiphon.coordinator.ending import Report
from antiphon.coordinator.ledger.records import (
    CloseUpload,
    DropEpoch,
    DropPin,
    OpenUpload,
    Outcome,
    PutEpoch,
    PutGroupKey,
    PutPin,
    PutSlot,
    PutState,
    Recovered,
    Retention,
    Settle,
)
from antiphon.coordinator.ledger.replay import replay
from antiphon.coordinator.publication import Publication
from antiphon.coordinator.spool import Update
from antiphon.simulation.disk import Crashed, MemoryDisk
from tests.coordinator.ledger.stage import FOLDER, LARGE, OWNER, SMALL, Stage, token


def upload_of(update: Update, at: float = 5.0) -> OpenUpload:
    return OpenUpload(
        update.agent,
        update.transfer,
        update.offer,
        update.schema,
        update.key,
        update.frame_limit,
        update.path.name,
        at,
    )


def test_empty_folder_becomes_a_new_run() -> None:
    stage = Stage()
    found = stage.open()
    assert found == Recovered(run=bytes(range(16)), started=stage.now)
    assert stage.ledger.run == found.run
    assert stage.ledger.term == int(stage.now)


def test_dropped_epoch_key_is_in_no_file_any_more(tmp_path: Path) -> None:
    stage = Stage(disk=RealDisk(), folder=tmp_path / "state")
    stage.open()
    secret = SecretKey.generate()

    def files_with_it() -> list[str]:
        return [
            file.name for file in (tmp_path / "state").glob("ledger*") if secret.export() in file.read_bytes()
        ]

    stage.ledger.commit([PutEpoch(b"old-----", secret, 1.0)])
    assert files_with_it()
    stage.ledger.commit([DropEpoch(b"old-----")])
    assert not files_with_it()
    stage.ledger.close()


def test_restart_goes_on_with_everything_that_was_committed() -> None:
    stage = Stage(large=True, params=LARGE)
    stage.open()
    started = stage.now
    stage.begin()
    first_at = stage.now
    stage.rounds(2)
    waiting = [stage.receive("a"), stage.receive("b", base=1), stage.receive("a")]
    half = stage.offer("c")
    secret, key = SecretKey.generate(), GroupKey(id=b"12345678", key=b"k" * 32)
    publication = Publication(b"p" * 16, key.id, b"", 1, 3, 1, b"d" * 32, 9000)
    epochs = [PutEpoch(b"old-----", SecretKey.generate(), 1.0, 2.0), PutEpoch(b"new-----", secret, 3.0)]
    stage.ledger.commit(
        [
            upload_of(half),
            PutSlot(0, None, -1, 7, 2),
            PutSlot(1, publication, 2, 3, 1),
            PutPin("a", publication.id, 4.5),
            PutPin("b", publication.id, 4.5),
            DropPin("b", publication.id),
            PutPin("c", publication.id, 4.5),
            DropPin("c", publication.id),
            *epochs,
            PutEpoch(b"gone----", SecretKey.generate(), 0.5, 0.6),
            DropEpoch(b"gone----"),
            PutGroupKey(GroupKey(id=b"first---", key=b"f" * 32)),
            PutGroupKey(key),
            PutState(over=True),
        ]
    )
    state, model, step = stage.state, stage.model, stage.step
    stage.ledger.close()
    found = stage.open()
    assert (found.run, found.started, found.over) == (bytes(range(16)), started, True)
    assert (found.received, found.applied, found.rejected, found.first_at) == (9, 6, 0, first_at)
    assert [each.update for each in found.waiting] == waiting
    assert [each.admission for each in found.waiting] == [7, 8, 9]
    assert found.uploads == (upload_of(half),)
    assert found.slots == (PutSlot(0, None, -1, 7, 2), PutSlot(1, publication, 2, 3, 1))
    assert found.pins == (PutPin("a", publication.id, 4.5),)
    assert found.epochs == (epochs[1], epochs[0])
    assert [each.id for each in found.group_keys] == [b"12345678", b"first---"]
    assert stage.state == state
    assert found.version is not None
    assert model is not None
    assert found.version.model.digest == model.digest
    assert (found.version.model.vector == model.vector).all()
    assert found.version.model.exact == model.exact
    assert found.version.step == step
    assert found.version.rule == stage.rule
    assert found.version.memory.reports == {"a": Report(3, {"loss": 0.25})}
    assert [agent for agent, _ in found.version.batch] == ["a", "b", "c"]
    stage.ledger.commit([PutState(over=False)])
    stage.ledger.close()
    assert not stage.open().over


def test_upload_is_closed_by_its_receipt_or_by_name() -> None:
    stage = Stage(large=True, params=LARGE)
    stage.open()
    stage.begin()
    updates = [stage.offer(agent) for agent in ("a", "b", "c", "c")]
    stage.ledger.commit([upload_of(update) for update in updates])
    stage.ledger.commit([stage.checked(updates[0])])
    stage.ledger.commit([CloseUpload(updates[1].path.name)])
    stage.ledger.commit([CloseUpload(updates[2].path.name)])
    stage.ledger.commit([CloseUpload("nobody")])
    left = sorted([updates[0].path.name, updates[3].path.name])
    assert stage.disk.names(FOLDER / "spool") == left
    stage.ledger.close()
    found = stage.open()
    assert [upload.file for upload in found.uploads] == [updates[3].path.name]
    assert stage.disk.names(FOLDER / "spool") == left


def test_files_that_no_row_names_are_removed_at_a_start() -> None:
    stage = Stage(large=True, params=LARGE)
    stage.open()
    stage.begin()
    kept = stage.receive("a")
    stage.offer("b")
    stage.disk.write(FOLDER / "checkpoints" / "7.safetensors", [b"x"], sync=True)
    stage.disk.write(FOLDER / "checkpoints" / ".8.safetensors.new", [b"x"], sync=True)
    stage.ledger.close()
    stage.open()
    assert stage.disk.names(FOLDER / "spool") == [kept.path.name]
    assert stage.disk.names(FOLDER / "checkpoints") == ["0.safetensors"]


def test_folder_is_for_one_coordinator_at_a_time() -> None:
    stage = Stage()
    stage.open()
    held = stage.ledger
    with pytest.raises(StateError, match="in use by another coordinator"):
        stage.open()
    held.close()
    stage.open()


def test_everything_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    stage = Stage(disk=RealDisk(), folder=tmp_path / "f" / "state", large=True, params=LARGE)
    stage.open()
    stage.begin()
    stage.receive("a")
    modes = {
        str(path.relative_to(tmp_path)): path.stat().st_mode & 0o777
        for path in sorted((tmp_path / "f").rglob("*"))
    }
    stage.ledger.close()
    folders = {"f/state", "f/state/spool", "f/state/checkpoints"}
    assert {name for name, mode in modes.items() if mode == 0o700} >= folders
    assert all(mode == 0o600 for name, mode in modes.items() if name not in folders)
    assert "f/state/checkpoints/0.safetensors" in modes


# Crashes at every disk operation, and power cuts.


def life(stage: Stage, told: list[tuple[str, Any]]) -> None:
    """A start and some work; what a coordinator would have said afterwards goes into ``told``."""
    stage.open()
    if stage.model is None:
        stage.begin()
        told.append(("version", stage.model))
    for agent in "ab":
        told.append(("received", stage.receive(agent, base=stage.number)))
    update = stage.offer("c")
    stage.ledger.commit([upload_of(update)] if stage.large else [])
    record = stage.checked(update)
    outcome = Outcome("rejected", update.offer.digest, -1, "norm", "")
    stage.ledger.commit([record, Settle("c", update.id, outcome)])
    told.append(("rejected", update))
    told.append(("version", stage.flush()))
    stage.ledger.close()


def check(stage: Stage, told: list[tuple[str, Any]], found: Recovered) -> None:
    """Whatever was said holds, and everything was applied or rejected at most once."""
    applied = 0
    for said, value in told:
        if said == "version":
            assert stage.ledger.is_base(value.number, value.digest)
            continue
        outcome = stage.ledger.outcome(value.agent, value.id)
        assert outcome is not None
        assert outcome.type in {"received": ("received", "applied"), "rejected": ("rejected",)}[said]
        applied += outcome.type == "applied"
    assert found.received == found.applied + found.rejected + len(found.waiting)
    assert found.applied >= applied
    if found.version is not None:
        assert replay(FOLDER, stage.disk).digest == found.version.model.digest


@pytest.mark.parametrize("power", [False, True])
@pytest.mark.parametrize("large", [False, True])
def test_crash_at_any_disk_operation_loses_nothing_that_was_said(large: bool, power: bool) -> None:
    at, crashes = 1, 0
    while True:
        stage = Stage(
            disk=MemoryDisk(seed=at),
            large=large,
            params=LARGE if large else SMALL,
            keep=Retention(keep_versions=3),
        )
        disk = stage.disk
        assert isinstance(disk, MemoryDisk)
        told: list[tuple[str, Any]] = []
        disk.trip(at, lambda disk=disk: disk.fence(power))
        try:
            for _ in range(2):
                life(stage, told)
            break
        except Crashed:
            crashes += 1
        stage.sequences = {agent: count + 10 for agent, count in stage.sequences.items()}
        check(stage, told, stage.open())
        stage.ledger.close()
        life(stage, told)
        check(stage, told, stage.open())
        at += 1
    disk.trip(0, disk.fence)  # never: the work is done
    assert crashes > (40 if large else 25)
    check(stage, told, stage.open())


def test_crash_while_a_run_is_put_aside_is_finished_at_the_next_start() -> None:
    at = 1
    while True:
        stage = Stage(large=True, params=LARGE, disk=MemoryDisk(at))
        disk = stage.disk
        assert isinstance(disk, MemoryDisk)
        stage.open()
        stage.begin()
        stage.rounds(2)
        stage.ledger.commit([PutSlot(2, None, -1, 40, 3)])
        term = stage.ledger.term
        stage.ledger.close()
        disk.trip(disk.operations + at, lambda disk=disk: disk.fence(True))
        new, done = stage.new_ledger(), False
        try:
            new.new_run(OWNER, stage.now + 1, lambda size: b"n" * size)
            done = True
            new.close()
        except Crashed:
            pass
        disk.trip(0, disk.fence)
        stage.now += 5
        found = stage.new_ledger().open(OWNER, stage.now, lambda size: b"m" * size)
        old = FOLDER / "runs" / bytes(range(16)).hex()
        if found.run == bytes(range(16)):
            assert found.version is not None
            assert replay(FOLDER, disk).versions == 2
        else:
            assert found.version is None
            assert replay(old, disk).versions == 2
            assert disk.names(FOLDER / "spool") == []
        if done:
            assert found.run == b"n" * 16
            assert found.slots == (PutSlot(2, None, -1, 40, 3),)
            assert found.started > term - 5
            break
        at += 1
    assert at > 8


def test_new_run_knows_of_the_former_one_wherever_its_beginning_was_interrupted() -> None:
    operation, died = 0, True
    while died:
        operation += 1
        disk = MemoryDisk()
        stage = Stage(disk=disk)
        stage.open()
        stage.begin()
        stage.ledger.outrank(2_000_000_000)
        stage.ledger.commit([PutSlot(0, None, -1, 7, 3)])
        term = stage.ledger.term
        stage.ledger.close()
        stage.ledger = stage.new_ledger()
        disk.trip(disk.operations + operation, lambda disk=disk: disk.fence(power=True))
        died = False
        try:
            stage.ledger.new_run(*stage.arguments(b"n" * 16))
        except Crashed:
            died = True
            assert [(slot.retained_chunks, slot.retained_pages) for slot in stage.open().slots] == [(7, 3)]
        assert stage.ledger.term > term
    assert operation > 6


def test_new_run_has_a_larger_term_even_if_the_clock_went_back() -> None:
    stage = Stage()
    stage.open()
    term = stage.ledger.term
    stage.ledger.close()
    new = stage.new_ledger()
    new.new_run(OWNER, 5.0, lambda size: b"n" * size)
    assert new.term == term + 1
    assert (new.run, new.received) == (b"n" * 16, 0)


def test_new_run_in_an_empty_folder_is_a_new_run() -> None:
    stage = Stage()
    found = stage.ledger.new_run(OWNER, 5.0, token)
    assert found.started == 5.0
    assert FOLDER / "runs" not in [FOLDER / name for name in stage.disk.names(FOLDER)]


def test_full_disk_at_a_start_is_a_sentence() -> None:
    stage = Stage()
    assert isinstance(stage.disk, MemoryDisk)
    stage.disk.full = True
    with pytest.raises(StateError, match=r"cannot use .*No space left.*make room"):
        stage.open()
    stage.disk.full = False
    stage.open()
