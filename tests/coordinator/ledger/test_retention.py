"""What is kept of earlier versions: by number, by size, as bases; the oldest goes first."""

from dataclasses import replace

import numpy as np
import pytest

from antiphon.coordinator.ledger.records import Outcome, Retention
from antiphon.coordinator.ledger.retention import Dropped, Kept, StoredVersions
from antiphon.simulation.disk import MemoryDisk
from tests.coordinator.ledger.stage import FOLDER, LARGE, Stage, update_id


def filled(
    retention: Retention, count: int, held: tuple[int, ...] = ()
) -> tuple[StoredVersions, list[Dropped]]:
    stored, dropped = StoredVersions(retention), list[Dropped]()
    for number in range(count):
        new = Kept(number, 10, 5)
        dropped.append(stored.plan(new, held))
        stored.take(new, dropped[-1])
    return stored, dropped


def kept(stored: StoredVersions) -> list[int]:
    return [number for number in range(100) if number in stored]


def test_nothing_goes_while_there_is_room() -> None:
    stored, dropped = filled(Retention(), 5)
    assert dropped == [Dropped(0)] * 5
    assert kept(stored) == [0, 1, 2, 3, 4]
    assert stored.size == 5 * 10 + 4 * 5


def test_oldest_versions_go_beyond_the_number() -> None:
    stored, dropped = filled(Retention(keep_versions=3), 5)
    assert dropped[-2:] == [Dropped(1, (0,)), Dropped(2, (1,))]
    assert kept(stored) == [2, 3, 4]
    assert stored.size == 3 * 10 + 2 * 5


def test_oldest_versions_go_beyond_the_size_with_what_was_merged_after_them() -> None:
    stored, dropped = filled(Retention(keep_bytes=39), 4)
    # 10 + 15 are two versions, 10 + 15 + 15 would be three.
    assert dropped == [Dropped(0), Dropped(0), Dropped(1, (0,)), Dropped(2, (1,))]
    assert kept(stored) == [2, 3]


def test_newest_version_stays_whatever_its_size() -> None:
    stored, dropped = filled(Retention(keep_bytes=1), 3)
    assert kept(stored) == [2]
    assert stored.size == 10
    assert dropped[-1] == Dropped(2, (1,))


def test_older_checkpoints_stay_as_bases_within_their_own_bound() -> None:
    stored, dropped = filled(Retention(keep_versions=2, bases=True, base_bytes=25), 6)
    assert kept(stored) == [2, 3, 4, 5]
    assert dropped[-1] == Dropped(4, (1,))
    assert stored.base_size == 20


def test_base_in_use_stays_while_others_go() -> None:
    stored, dropped = filled(Retention(keep_versions=2, bases=True, base_bytes=15), 6, held=(0, 2))
    assert kept(stored) == [0, 2, 4, 5]
    assert dropped[-1] == Dropped(4, (3,))
    assert stored.plan(Kept(6, 10, 5), ()) == Dropped(5, (0, 2))


def test_bases_go_when_the_rule_needs_them_no_longer() -> None:
    stored = StoredVersions(Retention(keep_versions=2))
    stored.load([Kept(4, 10, 5), Kept(5, 10, 5)], [(1, 10), (3, 10)])
    assert (stored.size, stored.base_size) == (25, 20)
    assert stored.plan(Kept(6, 10, 5), (1,)) == Dropped(5, (1, 3, 4))


@pytest.mark.parametrize("bound", [12, 45, 60, 90, 1000])
@pytest.mark.parametrize("versions", [1, 2, 5])
@pytest.mark.parametrize("bases", [False, True])
def test_what_counts_is_what_is_there(bound: int, versions: int, bases: bool) -> None:
    rng = np.random.default_rng(bound + versions)
    stored = StoredVersions(Retention(versions, bound, bases, 30))
    there: dict[int, Kept] = {}
    first = 0
    for number in range(60):
        new = Kept(number, int(rng.integers(1, 30)), int(rng.integers(0, 30)))
        dropped = stored.plan(new, (number - 7,))
        stored.take(new, dropped)
        there[number] = new
        for gone in dropped.checkpoints:
            del there[gone]
        assert dropped.first >= first
        first = dropped.first
        chain = [there[n] for n in range(first, number + 1)]
        size = sum(each.checkpoint + each.updates for each in chain) - chain[0].updates
        assert stored.size == size
        assert len(chain) == 1 or (size <= bound and len(chain) <= versions)
        older = [each for n, each in there.items() if n < first]
        assert stored.base_size == sum(each.checkpoint for each in older)
        assert bases or not older
        loose = [each for each in older if each.number != number - 7]
        assert sum(each.checkpoint for each in loose) <= 30
        again = StoredVersions(Retention(versions, bound, bases, 30))
        again.load(chain, [(each.number, each.checkpoint) for each in older])
        assert (again.size, again.base_size) == (stored.size, stored.base_size)


def counts(stage: Stage) -> dict[str, int]:
    database = stage.disk.database(FOLDER / "ledger.db", sync=False)
    tables = ("versions", "checkpoints", "updates", "contents", "bases", "admissions", "schemas")
    found = {table: database.rows(f"SELECT count(*) FROM {table}")[0][0] for table in tables}
    database.close()
    return found


@pytest.mark.parametrize("large", [False, True])
def test_disk_does_not_grow_with_the_run(large: bool) -> None:
    stage = Stage(large=large, params=LARGE if large else {"w": np.zeros(900, np.float32)})
    stage.keep = Retention(keep_versions=3)
    stage.open()
    stage.begin()
    stage.rounds(5)
    assert isinstance(stage.disk, MemoryDisk)
    before, files = counts(stage), stage.disk.names(FOLDER / "spool")
    used = stage.disk.used
    stage.rounds(5)
    assert counts(stage) == before | {"bases": 11}
    assert stage.disk.used < used * 1.05
    assert before | {"bases": 6} == {
        "versions": 3,
        "checkpoints": 3,
        "updates": 6,
        "contents": 6,
        "bases": 6,
        "admissions": 0,
        "schemas": 1,
    }
    assert len(files) == len(stage.disk.names(FOLDER / "spool")) == (6 if large else 0)
    if large:
        names = [f"{n}.safetensors" for n in (10, 8, 9)]
        assert stage.disk.names(FOLDER / "checkpoints") == names


def test_retention_by_bytes_counts_updates_and_is_the_same_after_a_restart() -> None:
    stage = Stage(large=True, params=LARGE, keep=Retention(keep_bytes=700_000))
    stage.open()
    stage.begin()
    stage.rounds(3)
    alone = counts(stage)
    again = Stage(large=True, params=LARGE, keep=Retention(keep_bytes=700_000))
    again.open()
    again.begin()
    for _ in range(3):
        again.ledger.close()
        again.open()
        again.rounds(1)
    assert counts(again) == alone
    assert 1 < alone["versions"] < 4


def test_smaller_bounds_act_at_the_next_version() -> None:
    stage = Stage()
    stage.open()
    stage.begin()
    stage.rounds(4)
    stage.ledger.close()
    stage.keep = replace(stage.keep, keep_versions=2)
    stage.open()
    assert counts(stage)["versions"] == 5
    stage.rounds(1)
    assert counts(stage)["versions"] == 2
    assert stage.open_again().version is not None


def test_marks_and_digests_of_versions_outlive_their_values() -> None:
    stage = Stage(keep=Retention(keep_versions=1))
    stage.open()
    stage.begin()
    first = stage.model
    stage.rounds(4)
    stage.open_again()
    assert first is not None
    assert stage.ledger.is_base(0, first.digest)
    outcome = stage.ledger.outcome("a", update_id(1))
    assert outcome is not None
    assert (outcome.type, outcome.version) == ("applied", 1)
    assert counts(stage)["contents"] == 0
    # Who is in the newest version is known, so that they can be told.
    assert counts(stage)["updates"] == 3


def test_base_that_a_waiting_update_needs_is_there_when_it_is_merged() -> None:
    stage = Stage(preset="fedasync", options={}, keep=Retention(keep_versions=1, bases=True, base_bytes=0))
    stage.open()
    stage.begin()
    slow = stage.receive("slow", base=0)
    stage.waiting, late = [], stage.waiting
    for _ in range(3):
        stage.receive("fast")
        stage.flush()
    # Version 2 was in use until version 3, merged from it, was committed.
    assert [stage.ledger.keeps(number) for number in range(4)] == [True, False, True, True]
    stage.waiting = late
    stage.flush()
    assert stage.ledger.outcome("slow", slow.id) == Outcome("applied", slow.offer.digest, 4)
    stage.receive("fast")
    stage.flush()
    assert not stage.ledger.keeps(0)


def test_schemas_of_first_versions_that_were_not_taken_are_forgotten() -> None:
    stage = Stage()
    stage.open()
    stage.receive("a", base=-1)
    other = Stage(params={"w": np.zeros(3, np.float32)}, disk=stage.disk)
    other.at = stage.at
    record = other.checked(other.offer("z", base=-1))
    stage.ledger.commit([record])
    assert counts(stage)["schemas"] == 2
    stage.reject(record.update)
    stage.flush()
    assert counts(stage)["schemas"] == 1
    stage.rounds(1)
    assert stage.open_again().version is not None
