"""What is known without asking the disk."""

from antiphon.codecs.messages import UpdateId
from antiphon.coordinator.ledger.books import RECENT, Books, Changes, Open
from antiphon.coordinator.ledger.records import Outcome

ONE = ("a", UpdateId(b"i" * 16, 1))


def test_outcomes_in_memory_are_bounded_and_the_newest_stay() -> None:
    books = Books(1000, 10)
    names = [("a", UpdateId(b"i" * 16, n)) for n in range(1, RECENT + 3)]
    books.take(Changes(settled=dict.fromkeys(names, Outcome("refused"))))
    assert [books.known(names[n]) is None for n in (0, 1, 2, -1)] == [True, True, False, False]


def test_update_is_open_then_settled_and_the_counters_follow() -> None:
    books = Books(1000, 10)
    books.take(Changes(opened={ONE: Open(1, b"d", None, 5)}, received=1))
    assert books.known(ONE) == Outcome("received", b"d")
    applied = Outcome("applied", b"d", 3)
    books.take(Changes(settled={ONE: applied}, marks={("a", b"i" * 16): 1}, applied=1))
    assert books.known(ONE) == applied
    assert books.open == {}
    assert books.below_mark(ONE)
    assert (books.received, books.applied, books.rejected) == (1, 1, 0)


def test_marks_are_bounded_for_each_agent_alone() -> None:
    books = Books(1000, 1)
    books.take(Changes(marks={("a", b"i" * 16): 4}))
    assert books.has_room("a", b"i" * 16)
    assert not books.has_room("a", b"j" * 16)
    assert books.has_room("b", b"j" * 16)
    assert not books.below_mark(("a", UpdateId(b"i" * 16, 5)))
    assert not books.below_mark(("a", UpdateId(b"i" * 16, 0)))


def test_versions_are_recognised_by_number_and_digest() -> None:
    books = Books(1, 1)
    for n in range(3):
        books.add_version(bytes([n]) * 32)
    assert books.is_base(2, bytes([2]) * 32)
    assert not books.is_base(2, bytes([1]) * 32)
    assert not books.is_base(3, b"")
