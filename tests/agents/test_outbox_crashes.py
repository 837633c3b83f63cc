"""Every change to the outbox, cut short between any two operations of the disk."""

from collections.abc import Callable
from pathlib import Path

import pytest
from outboxes import LARGE, fresh, head, mark, put

from antiphon.agents.entries import Record
from antiphon.agents.outbox import Outbox, ResidualSpec
from antiphon.codecs.sealing import SecretKey
from antiphon.simulation.disk import Crashed, MemoryDisk

REST = ResidualSpec(b"r" * 16, b"s" * 32, 4)


@pytest.mark.parametrize("power", [False, True], ids=["crash", "power cut"])
@pytest.mark.parametrize("change", ["add", "received", "settle", "take back", "rename", "keep"])
def test_a_crash_between_any_two_disk_operations_leaves_all_of_a_change_or_nothing(
    tmp_path: Path, change: str, power: bool
) -> None:
    def do(outbox: Outbox) -> None:
        entry, large = outbox.entries[0], ResidualSpec(REST.run, REST.schema, len(LARGE))
        match change:
            case "add":
                parts = [(LARGE, memoryview(LARGE))]
                outbox.add(
                    parts, b"ex", lambda: head(2, LARGE), size=len(LARGE) + 2, rest=large, mark=mark(9)
                )
            case "received":
                outbox.received(entry)
            case "settle":
                outbox.settle(entry)
            case "take back":
                outbox.take_back(entry, [memoryview(LARGE)], large)
            case "rename":
                outbox.rename(entry, b"j" * 16, 9)
            case _:
                outbox.keep(entry, Record(b"t" * 16, SecretKey.generate(), b"e" * 32, 5000, 1024))

    def state(outbox: Outbox) -> tuple[object, ...]:
        kept = outbox.residual(ResidualSpec(REST.run, REST.schema, len(LARGE)))
        whole = [(e.id, e.state, e.whole, e.record is None) for e in outbox.entries]
        for entry in outbox.entries:
            assert not entry.whole or bytes(entry.content()[0]) == LARGE
        return whole, kept is None, outbox.mark

    def staged(seed: int) -> tuple[MemoryDisk, Outbox]:
        disk = MemoryDisk(seed)
        outbox = fresh(tmp_path, disk)
        put(outbox, 1, LARGE, mark=4)
        outbox.close()
        return disk, fresh(tmp_path, disk.mount())

    def live(outbox: Outbox) -> None:
        do(outbox)
        outbox.close()

    disk, outbox = staged(0)
    before, first = state(outbox), disk.operations
    live(outbox)
    last = disk.operations
    after = state(fresh(tmp_path, disk))
    assert before != after
    assert last > first
    seen: list[bool] = []
    for operation in range(first + 1, last + 1):
        disk, outbox = staged(operation)
        disk.trip(operation, crash(disk, power))
        with pytest.raises(Crashed):
            live(outbox)
        again = fresh(tmp_path, disk)
        assert state(again) in (before, after), f"operation {operation} of {first} to {last}"
        seen.append(state(again) == after)
        named = {entry.file for entry in again.entries} - {""}
        assert len(disk.names(tmp_path / "outbox")) == len(named) + (not state(again)[1])
    assert seen == sorted(seen)  # once it is done, it stays done
    assert not seen[0]


def crash(disk: MemoryDisk, power: bool) -> Callable[[], None]:
    return lambda: disk.fence(power)
