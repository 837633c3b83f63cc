"""Which slot the next version may take."""

import pytest

from antiphon.coordinator.slots import Slots, count_slots, hold_seconds


def filled(count: int = 4) -> Slots:
    slots = Slots(count)
    for n in range(count):
        slots.take(n, bytes([n]) * 16, float(n))
    return slots


@pytest.mark.parametrize(
    ("size", "count"), [(300 << 20, 3), (64 << 20, 3), (8 << 20, 8), (1 << 10, 16), (0, 16)]
)
def test_slots_fill_the_budget_but_are_three_to_sixteen(size: int, count: int) -> None:
    assert count_slots(size, 64 << 20) == count


@pytest.mark.parametrize(("trip", "hold"), [(None, 2.0), (0.001, 0.02), (0.1, 1.0), (5.0, 2.0)])
def test_hold_is_ten_round_trips_within_bounds(trip: float | None, hold: float) -> None:
    assert hold_seconds(trip) == hold


def test_longest_superseded_slot_is_taken_first() -> None:
    assert filled().free(10.0, 1.0) == 0


def test_newest_slot_is_never_free() -> None:
    slots = Slots(3)
    slots.take(0, b"a" * 16, 0.0)
    for _ in range(5):
        slot = slots.free(1e9, 1.0)
        assert slot is not None
        assert slot != 0


def test_slot_superseded_a_moment_ago_rests() -> None:
    slots = filled(3)
    slots.take(0, b"x" * 16, 3.0)  # supersedes slot 2 at 3.0; slot 1 was superseded at 2.0
    assert slots.free(2.5, 1.0) is None
    assert slots.free_at(2.5, 1.0) == 3.0
    assert slots.free(3.0, 1.0) == 1


def test_pinned_slot_is_kept_while_notes_come_and_thirty_seconds_longer() -> None:
    slots = filled(4)
    assert slots.pin(bytes([0]) * 16, "a", 10.0)
    assert slots.free(10.0, 1.0) == 1
    assert slots.pin(bytes([0]) * 16, "a", 35.0)
    slots.take(1, b"n" * 16, 36.0)
    slots.take(2, b"m" * 16, 37.0)
    assert slots.free(60.0, 1.0) == 3
    assert slots.free(66.0, 1.0) == 0


def test_pull_that_takes_an_hour_loses_its_pin() -> None:
    slots = filled(4)
    for now in range(0, 3600, 20):
        assert slots.pin(bytes([0]) * 16, "a", float(now))
    assert not slots.pin(bytes([0]) * 16, "a", 3600.0)
    assert slots.free(3600.0, 1.0) == 0


def test_pins_leave_two_slots_for_new_versions() -> None:
    slots = filled(4)
    assert slots.pin(bytes([0]) * 16, "a", 10.0)
    assert slots.pin(bytes([1]) * 16, "b", 10.0)
    assert not slots.pin(bytes([2]) * 16, "c", 10.0)
    assert slots.pin(bytes([1]) * 16, "c", 10.0)  # several may pull the same one
    assert slots.free(10.0, 1.0) == 2


def test_agents_that_pin_all_they_can_delay_a_version_by_one_pin_at_most() -> None:
    slots = filled(3)
    slots.pin(bytes([0]) * 16, "a", 10.0)
    slots.pin(bytes([1]) * 16, "b", 10.0)
    assert slots.free_at(10.0, 1.0) <= 40.0


def test_publication_that_is_gone_cannot_be_pinned() -> None:
    slots = filled(3)
    slots.empty(0)
    assert not slots.pin(bytes([0]) * 16, "a", 1.0)
    assert not slots.pin(b"", "a", 1.0)
    assert slots.slot_of(bytes([1]) * 16) == 1


def test_agent_that_lost_its_slot_twice_keeps_the_next_version() -> None:
    slots = filled(4)
    slots.wish(b"gone" * 4, "a", 10.0)
    slots.take(0, b"next" * 4, 11.0)
    for slot in (1, 2, 3):
        slots.take(slot, bytes([slot + 10]) * 16, 12.0)
    assert slots.free(20.0, 1.0) == 1
    assert slots.free_at(20.0, 1.0) == 20.0


def test_wish_for_the_newest_pins_it_now() -> None:
    slots = filled(4)
    slots.wish(bytes([3]) * 16, "a", 4.0)
    slots.take(0, b"n" * 16, 5.0)
    slots.take(1, b"m" * 16, 5.0)
    slots.take(2, b"o" * 16, 5.0)
    assert slots.free(10.0, 1.0) == 0
    slots.forget("a")
    assert slots.free(10.0, 1.0) in (0, 1, 3)


def test_slots_of_a_former_process_rest_and_go_oldest_version_first() -> None:
    slots = Slots(4)
    slots.restore(2, b"c" * 16, 7, 100.0)
    slots.restore(0, b"a" * 16, 9, 100.0)
    slots.restore(1, b"b" * 16, 8, 100.0)
    slots.take(0, b"a" * 16, 101.0)  # the newest is announced again
    assert slots.slot_of(b"a" * 16) == 0
    assert slots.free(100.5, 1.0) == 3  # it holds nothing
    slots.take(3, b"d" * 16, 101.0)
    assert slots.free(100.5, 1.0) is None
    assert slots.free(110.0, 1.0) == 2


def test_pins_of_a_former_process_live_thirty_seconds_and_no_longer_than_their_hour() -> None:
    slots = Slots(3)
    slots.restore(0, b"a" * 16, 1, 100.0)
    slots.restore(1, b"b" * 16, 2, 100.0)
    slots.restore_pin(b"a" * 16, "slow", 90.0, 100.0)
    slots.restore_pin(b"b" * 16, "old", 100.0 - 3590.0, 100.0)
    slots.restore_pin(b"gone" * 4, "lost", 90.0, 100.0)
    assert slots.pins(100.0) == {("slow", b"a" * 16): 90.0, ("old", b"b" * 16): -3490.0}
    assert list(slots.pins(111.0)) == [("slow", b"a" * 16)]
    assert slots.pins(131.0) == {}


def test_newest_that_is_announced_again_keeps_its_pins() -> None:
    slots = Slots(3)
    slots.restore(0, b"a" * 16, 1, 100.0)
    slots.restore_pin(b"a" * 16, "slow", 90.0, 100.0)
    slots.take(0, b"a" * 16, 101.0)
    assert list(slots.pins(102.0)) == [("slow", b"a" * 16)]
    slots.empty(0)
    assert slots.pins(102.0) == {}
