"""Who gets a message."""

from typing import Any, cast

from antiphon.simulation.pipe import Line, Pipe
from antiphon.simulation.session import Session
from antiphon.simulation.subscriptions import Subscriptions


def session(name: str) -> Session:
    return Session(name, cast("Any", None), None, Pipe(Line()), Pipe(Line()))


def takers(table: Subscriptions, topic: str) -> list[str]:
    return [each.client_id for each in table.takers(topic)]


def test_exact_filters_come_first_each_in_the_order_of_subscribing() -> None:
    table, one, other = Subscriptions(), session("one"), session("other")
    table.add(other, "a/+")
    table.add(one, "a/b")
    table.add(other, "a/b")
    assert takers(table, "a/b") == ["one", "other", "other"]
    assert takers(table, "a/c") == ["other"]
    assert takers(table, "b") == []


def test_who_left_gets_nothing_and_leaves_nothing() -> None:
    table, one, other = Subscriptions(), session("one"), session("other")
    for each in (one, other):
        table.add(each, "a/#")
        table.add(each, "a/b")
    table.remove_all(one)
    assert takers(table, "a/b") == ["other", "other"]
    assert one.filters == {}
    table.remove(other, "never")
    table.remove_all(other)
    assert takers(table, "a/b") == []


def test_whoever_subscribes_after_the_first_message_gets_the_next() -> None:
    table, one, other = Subscriptions(), session("one"), session("other")
    assert takers(table, "a/b") == []
    table.add(one, "a/b")
    assert takers(table, "a/b") == ["one"]
    table.add(other, "#")
    assert takers(table, "a/b") == ["one", "other"]


def test_filter_given_twice_counts_once() -> None:
    table, one = Subscriptions(), session("one")
    table.add(one, "a")
    table.add(one, "a")
    assert takers(table, "a") == ["one"]
    table.remove(one, "a")
    assert takers(table, "a") == []
