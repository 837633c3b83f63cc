"""Exactly once: received, settled, applied; whatever is committed twice, together, or not at all."""

import sqlite3
from collections.abc import Callable

import numpy as np
import pytest

from antiphon.codecs.errors import Rejected
from antiphon.codecs.messages import UpdateId
from antiphon.codecs.schema import model_digest
from antiphon.coordinator.aggregation.history import init_step
from antiphon.coordinator.ledger.records import Outcome, Receive, Retention, Settle
from antiphon.coordinator.models import Model
from antiphon.simulation.disk import MemoryDisk
from tests.coordinator.ledger.stage import FOLDER, LARGE, Stage, update_id


def opened(**more: int) -> Stage:
    stage = Stage()
    stage.open(**more)
    stage.begin()
    return stage


def disk_of(stage: Stage) -> MemoryDisk:
    assert isinstance(stage.disk, MemoryDisk)
    return stage.disk


def refused(version: int = -1) -> Outcome:
    return Outcome("refused", b"", version, "stale", "too old")


def test_received_then_applied_is_applied_once_for_ever() -> None:
    stage = opened()
    update = stage.receive("a")
    assert stage.ledger.outcome("a", update.id) == Outcome("received", update.offer.digest)
    assert (stage.ledger.received, stage.ledger.applied, stage.ledger.rejected) == (1, 0, 0)
    stage.flush()
    applied = Outcome("applied", update.offer.digest, 1)
    for _ in range(2):
        assert stage.ledger.outcome("a", update.id) == applied
        stage.ledger.commit([Settle("a", update.id, Outcome("rejected", b"", -1, "revoked"))])
        assert stage.ledger.outcome("a", update.id) == applied
        assert (stage.ledger.received, stage.ledger.applied, stage.ledger.rejected) == (1, 1, 0)
        stage.ledger.close()
        stage.open()


def test_received_then_rejected_leaves_no_content_behind() -> None:
    stage = Stage(large=True, params=LARGE)
    stage.open()
    stage.begin()
    update = stage.receive("a")
    assert stage.disk.size(update.path)
    stage.reject(update)
    assert stage.disk.names(FOLDER / "spool") == []
    assert stage.ledger.outcome("a", update.id) == Outcome(
        "rejected", update.offer.digest, -1, "revoked", "because"
    )
    assert stage.ledger.rejected == 1
    stage.ledger.close()
    assert stage.open().waiting == ()


def test_refused_without_being_received_is_settled_too() -> None:
    stage = opened()
    stage.ledger.commit([Settle("a", update_id(3), refused())])
    assert stage.ledger.outcome("a", update_id(3)) == refused()
    assert stage.ledger.outcome("a", update_id(2)) == Outcome("settled")
    assert stage.ledger.outcome("a", update_id(4)) is None
    assert stage.ledger.outcome("a", update_id(0)) is None
    assert stage.ledger.outcome("b", update_id(3)) is None
    assert stage.ledger.outcome("a", update_id(3, b"j" * 16)) is None


def test_open_update_below_the_mark_is_still_open_and_can_be_applied() -> None:
    stage = opened()
    update = stage.receive("a")
    stage.ledger.commit([Settle("a", update_id(5), refused())])
    assert stage.ledger.outcome("a", update.id) == Outcome("received", update.offer.digest)
    stage.ledger.close()
    stage.open()
    assert stage.ledger.outcome("a", update.id) == Outcome("received", update.offer.digest)
    stage.flush()
    assert stage.ledger.outcome("a", update.id) == Outcome("applied", update.offer.digest, 1)
    assert stage.ledger.outcome("a", update_id(5)) == refused()
    assert stage.ledger.outcome("a", update_id(6)) is None


def test_everything_in_one_commit_happens_in_order() -> None:
    stage = opened()
    one, two = stage.checked(stage.offer("a")), stage.checked(stage.offer("b"))
    rejected = Settle("a", one.update.id, Outcome("rejected", b"", -1, "revoked"))
    stage.ledger.commit([one, rejected, two, rejected])
    assert stage.ledger.outcome("a", one.update.id) == rejected.outcome
    assert (stage.ledger.received, stage.ledger.rejected) == (2, 1)
    stage.ledger.close()
    found = stage.open()
    assert [each.update.agent for each in found.waiting] == ["b"]
    assert [each.admission for each in found.waiting] == [2]
    # The rejected one was admitted all the same: rates and gaps have seen it.
    assert [each.agent for each in found.admissions] == ["a", "b"]


def test_nothing_to_commit_is_fine() -> None:
    stage = opened()
    stage.ledger.commit([])
    assert stage.ledger.received == 0


def test_full_disk_leaves_nothing_of_a_commit_and_the_next_try_works() -> None:
    stage = opened()
    update = stage.checked(stage.offer("a"))
    settle = Settle("b", update_id(1), refused())
    disk_of(stage).full = True
    with pytest.raises(OSError, match="No space"):
        stage.ledger.commit([update, settle])
    assert stage.ledger.outcome("a", update.update.id) is None
    assert stage.ledger.outcome("b", update_id(1)) is None
    assert (stage.ledger.received, stage.ledger.rejected) == (0, 0)
    disk_of(stage).full = False
    stage.ledger.commit([update, settle])
    assert stage.ledger.outcome("a", update.update.id) == Outcome("received", update.update.offer.digest)


@pytest.mark.parametrize("large", [False, True])
def test_full_disk_leaves_nothing_of_a_version_and_the_next_try_works(large: bool) -> None:
    stage = Stage(large=large, params=LARGE if large else {"w": np.zeros(5, np.float32)})
    stage.open()
    stage.begin()
    update = stage.receive("a")
    disk_of(stage).full = True
    with pytest.raises(OSError, match="No space"):
        stage.flush()
    assert not stage.ledger.is_base(1, bytes(32))
    assert stage.ledger.outcome("a", update.id) == Outcome("received", update.offer.digest)
    disk_of(stage).full = False
    model = stage.flush()
    assert stage.ledger.is_base(1, model.digest)
    assert stage.ledger.outcome("a", update.id) == Outcome("applied", update.offer.digest, 1)


def test_same_update_cannot_be_received_twice() -> None:
    stage = opened()
    record = stage.checked(stage.offer("a"))
    stage.ledger.commit([record])
    with pytest.raises(sqlite3.IntegrityError):
        stage.ledger.commit([record])
    assert stage.ledger.received == 1


def test_settled_update_cannot_be_received_again() -> None:
    stage = opened()
    record = stage.checked(stage.offer("a"))
    stage.ledger.commit([record])
    stage.admit(record)
    stage.flush()
    with pytest.raises(sqlite3.IntegrityError, match="settled update"):
        stage.ledger.commit([record])
    assert (stage.ledger.received, stage.ledger.applied) == (1, 1)


def version(stage: Stage, number: int) -> Model:
    vector = np.ones(stage.schema.size, np.float32)
    exact = bytes(stage.schema.exact_size)
    return Model(stage.schema, vector, exact, number, model_digest(stage.schema, vector, exact))


@pytest.mark.parametrize("number", [0, 2])
def test_version_that_is_not_the_next_one_is_a_defect(number: int) -> None:
    stage = opened()
    stage.receive("a")
    plan = None if number == 0 else stage.planned(stage.waiting)
    step = init_step(stage.rule, stage.schema.size, stage.schema.dtype)
    with pytest.raises(sqlite3.IntegrityError, match="not the next one"):
        stage.commit(version(stage, number), step, stage.waiting, plan)
    assert len(stage.waiting) == 1


def test_update_that_does_not_wait_cannot_be_merged() -> None:
    stage = opened()
    stage.receive("a")
    stale = stage.waiting[0]
    stage.flush()
    stage.waiting.append(stale)
    with pytest.raises(ValueError, match="does not wait"):
        stage.flush()
    assert stage.ledger.applied == 1
    assert not stage.ledger.is_base(2, bytes(32))


def test_only_committed_versions_are_bases() -> None:
    stage = opened()
    assert stage.model is not None
    assert stage.ledger.is_base(0, stage.model.digest)
    assert not stage.ledger.is_base(0, bytes(32))
    assert not stage.ledger.is_base(1, stage.model.digest)
    assert not stage.ledger.is_base(-1, stage.model.digest)


def test_outcomes_are_kept_for_the_newest_of_each_agent_and_marks_for_ever() -> None:
    stage = opened(outcomes=3)
    for sequence in range(1, 6):
        stage.ledger.commit([Settle("a", update_id(sequence), refused())])
    stage.ledger.commit([Settle("b", update_id(1), refused())])
    stage.ledger.close()
    stage.open(outcomes=3)
    known = [stage.ledger.outcome("a", update_id(n)) for n in range(1, 7)]
    assert known == [Outcome("settled"), Outcome("settled"), refused(), refused(), refused(), None]
    assert stage.ledger.outcome("b", update_id(1)) == refused()
    stage.ledger.close()
    stage.open(outcomes=2)
    stage.ledger.commit([Settle("a", update_id(6), refused())])
    assert stage.ledger.outcome("a", update_id(4)) == Outcome("settled")
    assert stage.ledger.outcome("a", update_id(5)) == refused()


def test_more_process_starts_than_the_bound_are_refused_and_leave_no_mark() -> None:
    stage = opened(incarnations=2)
    for n in range(2):
        stage.ledger.check_incarnation("a", update_id(1, bytes([n]) * 16))
        stage.ledger.commit([Settle("a", update_id(1, bytes([n]) * 16), refused())])
    with pytest.raises(Rejected, match="quota"):
        stage.ledger.check_incarnation("a", update_id(1, b"z" * 16))
    stage.ledger.check_incarnation("a", update_id(2, bytes(16)))
    stage.ledger.check_incarnation("b", update_id(1, b"z" * 16))
    stage.ledger.commit([Settle("a", update_id(9, b"z" * 16), refused())])
    assert stage.ledger.outcome("a", update_id(8, b"z" * 16)) is None
    assert stage.ledger.outcome("a", update_id(9, b"z" * 16)) == refused()


@pytest.mark.parametrize("name", [update_id(9, b"z" * 16), update_id(0)])
def test_refusal_that_leaves_no_mark_is_written_down_once_although_a_restart_forgot_it(
    name: UpdateId,
) -> None:
    stage = opened(incarnations=1)
    stage.ledger.commit([Settle("a", update_id(1), refused())])
    for _ in range(2):
        stage.ledger.commit([Settle("a", name, refused())])
        stage.ledger.close()
        stage.open(incarnations=1)
        assert stage.ledger.outcome("a", name) == refused()
    assert stage.ledger.rejected == 2


def test_term_grows_with_each_start_and_above_one_that_was_seen() -> None:
    stage = opened()
    first = stage.ledger.term
    assert first == int(stage.now)
    stage.ledger.outrank(first - 1)
    assert stage.ledger.term == first
    stage.ledger.outrank(first + 500)
    assert stage.ledger.term == first + 501
    stage.ledger.close()
    stage.open()
    assert stage.ledger.term == first + 502
    stage.now += 10_000
    stage.ledger.close()
    stage.open()
    assert stage.ledger.term == int(stage.now)


def test_term_that_cannot_be_written_is_not_used() -> None:
    stage = opened()
    before = stage.ledger.term
    disk_of(stage).full = True
    with pytest.raises(OSError, match="No space"):
        stage.ledger.outrank(before + 5)
    assert stage.ledger.term == before


def test_ledger_that_is_not_open_says_so() -> None:
    with pytest.raises(RuntimeError, match="not open"):
        Stage().ledger.commit([])


@pytest.mark.parametrize("large", [False, True])
def test_values_of_earlier_versions_are_read_back_and_missing_ones_are_none(large: bool) -> None:
    stage = Stage(large=large, params=LARGE if large else {"w": np.zeros(5, np.float32)})
    stage.keep = Retention(keep_versions=2, bases=True, base_bytes=0)
    stage.open()
    stage.begin()
    seen = [stage.model]
    for _ in range(3):
        stage.receive("a")
        seen.append(stage.flush())
    for _ in range(2):
        found = [stage.ledger.vector(number) for number in range(5)]
        assert [value is None for value in found] == [True, True, False, False, True]
        assert [stage.ledger.keeps(number) for number in range(5)] == [False, False, True, True, False]
        for number in (2, 3):
            model, value = seen[number], found[number]
            assert model is not None
            assert value is not None
            assert (value == model.vector).all()
            assert not value.flags.writeable
        stage.ledger.close()
        stage.open()


def test_value_that_rotted_is_gone() -> None:
    stage = Stage(large=True, params=LARGE, keep=Retention(bases=True))
    stage.open()
    stage.begin()
    path = FOLDER / "checkpoints" / "0.safetensors"
    data = bytearray(stage.disk.read(path))
    data[4000] ^= 1
    stage.disk.write(path, [bytes(data)], sync=True)
    assert stage.ledger.vector(0) is None
    stage.disk.remove(path)
    assert stage.ledger.vector(0) is None


def test_values_are_not_needed_without_the_anchor_that_wants_them() -> None:
    stage = opened()
    assert stage.ledger.keeps(12345)


def test_many_updates_are_one_transaction() -> None:
    stage = opened()
    records = [stage.checked(stage.offer(agent)) for agent in "abcdef"]
    before = disk_of(stage).operations
    stage.ledger.commit([*records, Settle("z", update_id(1), refused())])
    assert disk_of(stage).operations - before <= 2
    assert stage.ledger.received == 6


def test_spool_files_are_synced_before_the_transaction_unless_told_otherwise() -> None:
    taken: list[int] = []
    for sync in (True, False):
        stage = Stage(large=True, params=LARGE, sync=sync)
        stage.open()
        stage.begin()
        record = stage.checked(stage.offer("a"))
        before = disk_of(stage).operations
        stage.ledger.commit([record])
        taken.append(disk_of(stage).operations - before)
    assert taken[0] - taken[1] == 2  # the file, and its folder


CALLS: list[Callable[[Stage], object]] = [
    lambda stage: stage.ledger.close(),
    lambda stage: stage.ledger.release(5),
]


@pytest.mark.parametrize("call", CALLS)
def test_what_is_closed_or_released_already_can_be_again(call: Callable[[Stage], object]) -> None:
    stage = opened()
    call(stage)
    call(stage)


def test_inline_frame_is_kept_whether_the_record_or_the_update_carries_it() -> None:
    stage = opened()
    update = stage.offer("a")
    record = stage.checked(update)
    stage.ledger.commit([Receive(update, record.checked, 5.0)])
    stage.ledger.close()
    (found,) = stage.open().waiting
    assert found.update.frame == update.frame
    assert (found.checked.block_sums == record.checked.block_sums).all()
    assert found.checked.tiles == record.checked.tiles
    assert found.checked.sumsq == record.checked.sumsq
    assert found.update.offer == update.offer
    assert found.update.key == update.key
