"""Updates on disk: whole or not at all, bounded, found again after a crash."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
from outboxes import LARGE, SMALL, closed, fresh, head, mark, put

from antiphon.agents.entries import Record
from antiphon.agents.outbox import ResidualSpec
from antiphon.broker_config.disk import Disk, RealDisk
from antiphon.codecs.errors import StateError
from antiphon.codecs.sealing import SecretKey
from antiphon.simulation.disk import MemoryDisk

REST = ResidualSpec(b"r" * 16, b"s" * 32, 4)


@pytest.fixture(params=[RealDisk, MemoryDisk], ids=["real", "memory"])
def disk(request: pytest.FixtureRequest) -> Disk:
    return request.param()


@pytest.mark.parametrize("vector", [SMALL, LARGE], ids=["row", "file"])
def test_an_update_comes_back_after_a_restart(tmp_path: Path, disk: Disk, vector: bytes) -> None:
    outbox = fresh(tmp_path, disk)
    put(outbox, 1, vector)
    put(outbox, 2, vector, mark=7)
    outbox.close()
    again = fresh(tmp_path, disk)
    assert [entry.head for entry in again.pending] == [head(1, vector), head(2, vector)]
    assert all(entry.shown for entry in again.pending)
    content, exact = again.pending[0].content()
    assert (bytes(content), exact) == (vector, b"ex")
    assert again.mark == mark(7)
    assert put(again, 3).ordinal > again.entries[1].ordinal


def test_large_payloads_are_files_and_small_ones_are_not(tmp_path: Path, disk: Disk) -> None:
    outbox = fresh(tmp_path, disk)
    small, large = put(outbox, 1), put(outbox, 2, LARGE)
    assert disk.names(tmp_path / "outbox") == [large.file]
    assert (small.file, small.light, large.light) == ("", True, False)


def test_the_file_of_a_received_update_goes_and_its_record_stays(tmp_path: Path, disk: Disk) -> None:
    outbox = fresh(tmp_path, disk)
    entry = put(outbox, 1, LARGE)
    entry.content()
    outbox.received(entry)
    outbox.received(entry)
    assert (outbox.pending, outbox.entries, entry.whole) == ((), (entry,), False)
    assert disk.names(tmp_path / "outbox") == []
    outbox.close()
    again = fresh(tmp_path, disk)
    assert [(e.state, e.whole) for e in again.entries] == [("received", False)]
    again.settle(again.entries[0])
    again.close()
    assert fresh(tmp_path, disk).entries == ()


def test_what_error_feedback_may_want_back_stays_when_it_is_received(tmp_path: Path, disk: Disk) -> None:
    outbox = fresh(tmp_path, disk)
    outbox.received(put(outbox, 1, LARGE, fed=True))
    outbox.close()
    (entry,) = fresh(tmp_path, disk).entries
    assert (entry.state, entry.whole) == ("received", True)
    assert bytes(entry.content()[0]) == LARGE


def test_a_small_update_that_was_received_is_offered_again_after_a_restart(
    tmp_path: Path, disk: Disk
) -> None:
    outbox = fresh(tmp_path, disk)
    entry = put(outbox)
    outbox.received(entry)
    assert (entry.state, outbox.pending) == ("received", ())
    outbox.close()
    assert len(fresh(tmp_path, disk).pending) == 1


def test_an_update_that_the_coordinator_lost_is_pending_again_if_it_is_whole(
    tmp_path: Path, disk: Disk
) -> None:
    outbox = fresh(tmp_path, disk)
    kept, dropped = put(outbox, 1, LARGE, fed=True), put(outbox, 2, LARGE)
    assert not outbox.again(kept)  # it was never received
    for entry in (kept, dropped):
        outbox.received(entry)
    assert (outbox.again(kept), outbox.again(dropped)) == (True, False)
    outbox.close()
    assert [entry.head.sequence for entry in fresh(tmp_path, disk).pending] == [1]


def test_small_updates_that_are_settled_go_with_the_next_transaction(tmp_path: Path) -> None:
    disk = MemoryDisk()
    outbox = fresh(tmp_path, disk)
    first = put(outbox, 1)
    before = disk.operations
    outbox.received(first)
    outbox.settle(first)
    outbox.settle(first)
    assert (disk.operations, first.state, outbox.entries) == (before, "gone", ())
    put(outbox, 2)
    disk.fence()
    assert [entry.head.sequence for entry in fresh(tmp_path, disk).entries] == [2]


def test_closing_writes_down_what_was_settled(tmp_path: Path, disk: Disk) -> None:
    outbox = fresh(tmp_path, disk)
    outbox.settle(put(outbox))
    outbox.close()
    outbox.close()
    assert fresh(tmp_path, disk).entries == ()


def test_a_closed_outbox_says_so(tmp_path: Path, disk: Disk) -> None:
    outbox = fresh(tmp_path, disk)
    outbox.close()
    with pytest.raises(StateError, match="closed"):
        put(outbox)
    assert disk.names(tmp_path / "outbox") == []


def test_a_file_damaged_while_running_is_a_clear_error(tmp_path: Path, disk: Disk) -> None:
    outbox = fresh(tmp_path, disk)
    first, second = put(outbox, 1, LARGE), put(outbox, 2, LARGE)
    disk.cut(tmp_path / "outbox" / first.file, 3)
    disk.remove(tmp_path / "outbox" / second.file)
    for entry in (first, second):
        with pytest.raises(StateError, match=r"cannot read update .*\.payload"):
            entry.content()


def test_the_bound_in_bytes_counts_what_is_here(tmp_path: Path, disk: Disk) -> None:
    outbox = fresh(tmp_path, disk, limit=100_000)
    assert outbox.over(20_000) == ""
    entry = put(outbox, 1, LARGE)
    assert outbox.over(30_000) == ""
    assert "limits.outbox" in outbox.over(40_000)
    assert "more than limits.outbox" in outbox.over(100_001)
    outbox.received(entry)
    assert outbox.over(40_000) == ""


def test_a_copy_of_what_was_received_can_go(tmp_path: Path, disk: Disk) -> None:
    outbox = fresh(tmp_path, disk, limit=100_000)
    for entry in (put(outbox, 1, LARGE, fed=True), put(outbox, 2, fed=True)):
        outbox.received(entry)
        outbox.shed(entry)
    assert outbox.over(99_999) == ""
    outbox.close()
    assert [(e.state, e.whole) for e in fresh(tmp_path, disk).entries] == [("received", False)] * 2


def test_a_disk_without_room_is_told_apart(tmp_path: Path) -> None:
    disk = MemoryDisk()
    outbox = closed(tmp_path, disk, spare=900)
    outbox.load()
    disk.capacity = disk.used + 1000
    assert outbox.room(50) == ""
    assert "1000 bytes free: an update needs 1100" in outbox.room(200)


def test_a_disk_that_does_not_answer_has_no_room(tmp_path: Path) -> None:
    assert "cannot use" in closed(tmp_path / "nowhere").room(1)


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path, disk: Disk) -> None:
    outbox = fresh(tmp_path, disk)

    def full() -> Iterator[tuple[bytes, memoryview]]:
        yield LARGE, memoryview(b"e")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StateError, match="space"):
        outbox.add(full(), b"", head, size=len(LARGE), rest=REST)
    with pytest.raises(ZeroDivisionError):
        outbox.add([(LARGE, memoryview(b""))], b"", lambda: head(1 // 0), size=len(LARGE))
    assert disk.names(tmp_path / "outbox") == []
    assert outbox.entries == ()


@pytest.mark.parametrize("vector", [SMALL, LARGE], ids=["row", "file"])
def test_a_full_disk_changes_nothing(tmp_path: Path, vector: bytes) -> None:
    disk = MemoryDisk()
    outbox = fresh(tmp_path, disk)
    put(outbox, 1, LARGE, mark=4)
    disk.full = True
    with pytest.raises(StateError, match="No space left"):
        put(outbox, 2, vector, mark=5)
    disk.full = False
    put(outbox, 3, vector)
    outbox.close()
    again = fresh(tmp_path, disk)
    assert [entry.head.sequence for entry in again.pending] == [1, 3]
    assert again.mark == mark(4)


def test_what_a_full_disk_does_not_let_us_note_is_found_out_again(tmp_path: Path) -> None:
    disk = MemoryDisk()
    outbox = fresh(tmp_path, disk)
    first, second, third = put(outbox, 1, LARGE), put(outbox, 2, LARGE), put(outbox, 3, LARGE, fed=True)
    outbox.received(third)
    disk.full = True
    outbox.received(first)
    outbox.settle(second)
    assert outbox.again(third)
    assert (first.state, outbox.entries) == ("received", (first, third))
    disk.fence()
    disk.full = False
    states = [(entry.head.sequence, entry.state) for entry in fresh(tmp_path, disk).entries]
    assert states == [(1, "pending"), (2, "pending"), (3, "received")]


def test_what_could_not_be_removed_goes_when_there_is_room_again(tmp_path: Path) -> None:
    disk = MemoryDisk()
    outbox = fresh(tmp_path, disk)
    entry = put(outbox, 1, LARGE)
    disk.full = True
    outbox.settle(entry)
    disk.full = False
    put(outbox, 2)
    assert disk.names(tmp_path / "outbox") == []
    outbox.close()
    assert len(fresh(tmp_path, disk).entries) == 1


def test_a_folder_that_cannot_be_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="cannot use"):
        closed(tmp_path / "file").load()
    (tmp_path / "outbox").write_text("")
    with pytest.raises(StateError, match="cannot use the outbox"):
        closed(tmp_path).load()


@pytest.mark.parametrize("vector", [SMALL, LARGE], ids=["row", "file"])
def test_an_update_can_take_another_id_and_the_last_place(tmp_path: Path, disk: Disk, vector: bytes) -> None:
    outbox = fresh(tmp_path, disk)
    old, other = put(outbox, 1, vector), put(outbox, 2)
    outbox.keep(old, Record(b"t" * 16, SecretKey.generate(), b"e" * 32, 5000, 1024))
    outbox.rename(old, b"j" * 16, 9)
    outbox.close()
    assert old.state == "gone"
    again = fresh(tmp_path, disk)
    assert [entry.id.sequence for entry in again.entries] == [other.id.sequence, 9]
    entry = again.entries[1]
    assert (entry.id.incarnation, entry.record) == (b"j" * 16, None)
    assert bytes(entry.content()[0]) == vector
    again.received(entry)
    with pytest.raises(StateError, match="no payload"):
        again.rename(entry, b"k" * 16, 1)


def test_an_update_that_is_dropped_while_it_takes_another_id_is_gone(tmp_path: Path, disk: Disk) -> None:
    outbox = fresh(tmp_path, disk)
    entry = put(outbox, 1, LARGE, fed=True)
    number = outbox._storage.number  # pyright: ignore[reportPrivateUsage]

    def meanwhile() -> int:
        outbox._storage.number = number  # pyright: ignore[reportPrivateUsage]
        outbox.take_back(entry, [memoryview(b"back")], REST)
        entry.state = "pending"  # as it was when somebody looked
        return number()

    outbox._storage.number = meanwhile  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(StateError, match="dropped"):
        outbox.rename(entry, b"j" * 16, 9)
    assert outbox.entries == ()
    outbox.close()
    assert fresh(tmp_path, disk).entries == ()


def test_a_full_disk_keeps_the_old_id(tmp_path: Path) -> None:
    disk = MemoryDisk()
    outbox = fresh(tmp_path, disk)
    entry = put(outbox)
    disk.full = True
    with pytest.raises(StateError, match="cannot rename"):
        outbox.rename(entry, b"j" * 16, 9)
    assert outbox.pending == (entry,)


def test_two_updates_written_at_the_same_time_get_files_of_their_own(tmp_path: Path, disk: Disk) -> None:
    outbox = fresh(tmp_path, disk)

    def parts() -> Iterator[tuple[bytes, memoryview]]:
        yield LARGE, memoryview(b"")
        put(outbox, 2, LARGE)  # as another thread does

    outbox.add(parts(), b"ex", lambda: head(1, LARGE), size=len(LARGE) + 2)
    outbox.close()
    again = fresh(tmp_path, disk)
    assert sorted(entry.head.sequence for entry in again.entries) == [1, 2]
    assert all(bytes(entry.content()[0]) == LARGE for entry in again.entries)


def test_a_transfer_comes_back_with_its_update_and_goes_with_it(tmp_path: Path, disk: Disk) -> None:
    outbox = fresh(tmp_path, disk)
    entry = put(outbox, 1, LARGE)
    record = Record(b"t" * 16, SecretKey.generate(), b"e" * 32, 5000, 1024)
    outbox.keep(entry, record)
    outbox.close()
    again = fresh(tmp_path, disk)
    assert again.entries[0].record == record
    assert "***" in repr(record.secret)
    again.received(again.entries[0])
    again.close()
    assert fresh(tmp_path, disk).entries[0].record is None


def test_a_transfer_of_an_update_that_was_settled_meanwhile_is_forgotten(tmp_path: Path, disk: Disk) -> None:
    outbox = fresh(tmp_path, disk)
    entry = put(outbox, 1, LARGE)
    outbox.settle(entry)
    outbox.keep(entry, Record(b"t" * 16, SecretKey.generate(), b"e" * 32, 5000, 1024))
    outbox.close()
    assert fresh(tmp_path, disk).entries == ()


def test_no_trace_of_a_transfers_key_stays_on_the_disk(tmp_path: Path) -> None:
    outbox = fresh(tmp_path)
    entry = put(outbox, 1, LARGE)
    secret = SecretKey.generate()
    outbox.keep(entry, Record(b"t" * 16, secret, b"e" * 32, 5000, 1024))
    outbox.settle(entry)
    outbox.close()
    assert all(secret.export() not in path.read_bytes() for path in tmp_path.glob("state.db*"))


def test_the_residual_is_replaced_with_the_update_it_belongs_to(tmp_path: Path, disk: Disk) -> None:
    outbox = fresh(tmp_path, disk)

    def add(sequence: int, left: bytes, rest: ResidualSpec | None) -> None:
        outbox.add([(SMALL, memoryview(left))], b"ex", lambda: head(sequence), size=10, rest=rest)

    add(1, b"1111", REST)
    add(2, b"2222", REST)
    assert outbox.residual(REST) == b"2222"
    outbox.close()
    outbox = fresh(tmp_path, disk)
    assert outbox.residual(REST) == b"2222"
    assert outbox.residual(ResidualSpec(b"x" * 16, REST.schema, 4)) is None
    assert outbox.residual(ResidualSpec(REST.run, b"x" * 32, 4)) is None
    assert outbox.residual(ResidualSpec(REST.run, REST.schema, 5)) is None
    large = ResidualSpec(REST.run, REST.schema, len(LARGE))
    add(3, LARGE, large)
    first = disk.names(tmp_path / "outbox")
    add(4, LARGE[::-1], large)
    second = disk.names(tmp_path / "outbox")
    assert (len(first), len(second), first == second) == (1, 1, False)
    disk.remove(tmp_path / "outbox" / second[0])
    assert outbox.residual(large) is None
    add(5, b"", None)  # no feedback any more
    outbox.close()
    assert fresh(tmp_path, disk).residual(REST) is None


def test_residual_and_update_change_places_in_one_transaction(tmp_path: Path) -> None:
    disk = MemoryDisk()
    outbox = fresh(tmp_path, disk)
    entry = put(outbox, 1, LARGE, fed=True)
    disk.full = True
    with pytest.raises(OSError, match="space"):
        outbox.take_back(entry, [memoryview(LARGE)], ResidualSpec(REST.run, REST.schema, len(LARGE)))
    disk.full = False
    assert outbox.pending == (entry,)
    outbox.take_back(entry, [memoryview(b"back")], REST)
    disk.fence()
    again = fresh(tmp_path, disk)
    assert (again.entries, again.residual(REST)) == ((), memoryview(b"back"))
    assert disk.names(tmp_path / "outbox") == []
