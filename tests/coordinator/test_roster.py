"""Who is admitted and who is there."""

import pytest

from antiphon.broker_config.folders import RosterEntry
from antiphon.codecs.sealing import SecretKey, SigningKey
from antiphon.coordinator.keys import Identity
from antiphon.coordinator.roster import COUNTERS, Roster

IDENTITY = Identity("f", SecretKey.generate(), SigningKey.generate())


def entry(id: str, **more: bool) -> RosterEntry:
    return RosterEntry(id, SecretKey.generate().public, **more)


def test_changes_are_told_once_and_in_order() -> None:
    roster = Roster(IDENTITY, 60.0)
    entries = {id: entry(id) for id in ("b", "a")}
    assert roster.change(entries).added == ("a", "b")
    assert roster.change(entries).added == ()
    del entries["a"]
    change = roster.change(entries)
    assert [peer.id for peer in change.removed] == ["a"]
    assert roster.removed["a"].id == "a"
    assert sorted(roster.peers) == ["b"]


def test_agent_with_another_key_is_another_agent() -> None:
    roster = Roster(IDENTITY, 60.0)
    roster.change({"a": entry("a")})
    before = roster.peers["a"].pair
    change = roster.change({"a": entry("a")})
    assert ([peer.id for peer in change.removed], change.added) == (["a"], ("a",))
    assert roster.peers["a"].pair != before


def test_agent_that_may_bring_the_first_version_now_is_no_newcomer() -> None:
    roster = Roster(IDENTITY, 60.0)
    first = entry("a")
    roster.change({"a": first})
    change = roster.change({"a": RosterEntry("a", first.public, True)})
    assert (change.added, change.removed) == ((), ())
    assert roster.peers["a"].may_initialise


def test_low_order_key_is_refused_and_the_others_are_taken() -> None:
    roster = Roster(IDENTITY, 60.0)
    change = roster.change({"a": RosterEntry("a", bytes(32)), "b": entry("b")})
    assert (change.refused, change.added) == (("a",), ("b",))


def test_agent_is_there_for_a_while_after_its_last_frame() -> None:
    roster = Roster(IDENTITY, 60.0)
    assert roster.heard("a", b"1" * 16, 0.0)
    assert not roster.heard("a", b"1" * 16, 30.0)
    assert roster.live(90.0) == 1
    assert roster.left(90.0) == []
    assert roster.live(91.0) == 0
    assert roster.left(91.0) == ["a"]
    assert roster.left(92.0) == []
    assert roster.heard("a", b"1" * 16, 93.0)
    assert roster.heard("a", b"2" * 16, 94.0)  # a new process of the same agent


def test_who_left_long_ago_is_counted_out_whoever_came_first() -> None:
    roster = Roster(IDENTITY, 60.0)
    for id, now in (("c", 0.0), ("a", 1.0), ("b", 2.0), ("c", 50.0), ("d", 51.0)):
        roster.heard(id, b"1" * 16, now)
    assert roster.live(62.0) == 3  # of a nothing was heard for 61 s
    assert roster.live(70.0) == 2
    assert roster.left(70.0) == ["a", "b"]
    assert roster.heard("b", b"1" * 16, 71.0)
    assert roster.live(110.5) == 2
    assert roster.left(200.0) == ["b", "c", "d"]


def test_older_notes_are_ignored_for_each_process_start() -> None:
    roster = Roster(IDENTITY, 60.0)
    assert roster.is_newer("a", b"1" * 16, 5, 0.0)
    assert not roster.is_newer("a", b"1" * 16, 5, 0.0)
    assert not roster.is_newer("a", b"1" * 16, 4, 0.0)
    assert roster.is_newer("a", b"2" * 16, 1, 0.0)
    for n in range(COUNTERS):
        assert roster.is_newer("a", bytes([n]) * 16, 1, 0.0)
    assert roster.is_newer("a", b"1" * 16, 1, 0.0)  # long forgotten


def test_round_trips_are_smoothed_and_the_slowest_live_one_counts() -> None:
    roster = Roster(IDENTITY, 60.0)
    assert roster.slowest_round_trip(0.0) is None
    roster.asked("nobody", 0.0)
    roster.answered("nobody", 1.0)
    for id, trip in (("a", 0.1), ("b", 0.5)):
        roster.heard(id, b"1" * 16, 0.0)
        roster.asked(id, 10.0)
        roster.answered(id, 10.0 + trip)
        roster.answered(id, 50.0)  # answers nothing
    assert roster.slowest_round_trip(10.0) == pytest.approx(0.5)
    roster.asked("b", 20.0)
    roster.answered("b", 20.1)
    assert roster.slowest_round_trip(20.0) == pytest.approx(0.45)
    roster.heard("a", b"1" * 16, 100.0)
    assert roster.slowest_round_trip(100.0) == pytest.approx(0.1)
