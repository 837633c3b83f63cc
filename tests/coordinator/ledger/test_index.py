"""What is known without asking the disk."""

from antiphon.codecs.messages import UpdateId
from antiphon.coordinator.ledger.index import RECENT, Changes, Index, Open
from antiphon.coordinator.ledger.records import Outcome

ONE = ("a", UpdateId(b"i" * 16, 1))


def test_outcomes_in_memory_are_bounded_and_the_newest_stay() -> None:
    index = Index(1000, 10)
    names = [("a", UpdateId(b"i" * 16, n)) for n in range(1, RECENT + 3)]
    index.take(Changes(settled=dict.fromkeys(names, Outcome("refused"))))
    assert [index.known(names[n]) is None for n in (0, 1, 2, -1)] == [True, True, False, False]


def test_update_is_open_then_settled_and_the_counters_follow() -> None:
    index = Index(1000, 10)
    index.take(Changes(opened={ONE: Open(1, b"d", None, 5)}, received=1))
    assert index.known(ONE) == Outcome("received", b"d")
    applied = Outcome("applied", b"d", 3)
    index.take(Changes(settled={ONE: applied}, marks={("a", b"i" * 16): 1}, applied=1))
    assert index.known(ONE) == applied
    assert index.open == {}
    assert index.below_mark(ONE)
    assert (index.received, index.applied, index.rejected) == (1, 1, 0)


def test_marks_are_bounded_for_each_agent_alone() -> None:
    index = Index(1000, 1)
    index.take(Changes(marks={("a", b"i" * 16): 4}))
    assert index.has_room("a", b"i" * 16)
    assert not index.has_room("a", b"j" * 16)
    assert index.has_room("b", b"j" * 16)
    assert not index.below_mark(("a", UpdateId(b"i" * 16, 5)))
    assert not index.below_mark(("a", UpdateId(b"i" * 16, 0)))


def test_versions_are_recognised_by_number_and_digest() -> None:
    index = Index(1, 1)
    for n in range(3):
        index.add_version(bytes([n]) * 32)
    assert index.is_base(2, bytes([2]) * 32)
    assert not index.is_base(2, bytes([1]) * 32)
    assert not index.is_base(3, b"")
