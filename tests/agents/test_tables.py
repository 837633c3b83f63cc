"""Rows that come back as they were written."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from outboxes import head, mark

from antiphon.agents import tables
from antiphon.agents.entries import Entry, Record
from antiphon.agents.store import Store
from antiphon.agents.tables import Residual
from antiphon.codecs.errors import MalformedError
from antiphon.codecs.sealing import SecretKey
from antiphon.simulation.disk import MemoryDisk


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store(Path("/agent/state.db"), MemoryDisk(), "banks", "a1")
    yield made
    made.close()


def test_the_newest_mark_is_kept(store: Store) -> None:
    assert tables.read_mark(store) is None
    for number in (3, 4):
        with store.transaction() as cursor:
            tables.put_mark(cursor, mark(number))
    assert tables.read_mark(store) == mark(4)


def test_an_update_goes_through_its_states(store: Store) -> None:
    record = Record(b"t" * 16, SecretKey.generate(), b"e" * 32, 5000, 1024)
    with store.transaction() as cursor:
        tables.put_update(cursor, Entry(head(1), 0, ""), b"content")
        tables.put_update(cursor, Entry(head(2), 1, "1.payload"), None)
        tables.put_transfer(cursor, 1, record)
    (first, second) = tables.read_updates(store)
    assert (first[0], first[1], first[3], first[4]) == (0, "pending", "", 7)
    assert (second[0], second[1], second[3], second[4]) == (1, "pending", "1.payload", None)
    assert tables.read_head(second[2]) == head(2)
    assert tables.read_transfers(store) == {1: record}
    with store.transaction() as cursor:
        tables.put_state(cursor, 1, "received")
    assert tables.read_updates(store)[1][1] == "received"
    assert tables.read_transfers(store) == {}
    with store.transaction() as cursor:
        tables.empty_update(cursor, 0)
        tables.put_name(cursor, 1, 7, head(9))
    (first, second) = tables.read_updates(store)
    assert (first[1], first[3], first[4]) == ("received", "", None)
    assert (second[0], tables.read_head(second[2]).sequence) == (7, 9)


def test_a_transfer_is_replaced_and_goes_with_its_update(store: Store) -> None:
    with store.transaction() as cursor:
        tables.put_update(cursor, Entry(head(1), 0, ""), b"")
        for reserved in (1024, 2048):
            record = Record(b"t" * 16, SecretKey.generate(), b"e" * 32, 5000, reserved)
            tables.put_transfer(cursor, 0, record)
    assert [record.reserved for record in tables.read_transfers(store).values()] == [2048]
    with store.transaction() as cursor:
        tables.drop_update(cursor, 0)
    assert tables.read_transfers(store) == {}


def test_a_transfer_is_not_kept_when_the_last_word_came_first(store: Store) -> None:
    record = Record(b"t" * 16, SecretKey.generate(), b"e" * 32, 5000, 1024)
    with store.transaction() as cursor:
        tables.put_update(cursor, Entry(head(1), 0, ""), b"")
        tables.put_state(cursor, 0, "received")
    with store.transaction() as cursor:
        tables.put_transfer(cursor, 0, record)
        tables.drop_update(cursor, 0)
        tables.put_transfer(cursor, 0, record)
    assert tables.read_transfers(store) == {}


def test_there_is_one_residual_or_none(store: Store) -> None:
    for residual in (Residual(b"r" * 16, b"s" * 32, ""), Residual(b"r" * 16, b"s" * 32, "2.residual"), None):
        with store.transaction() as cursor:
            tables.put_residual(cursor, residual, None)
        assert tables.read_residual(store) == residual


def test_what_is_no_head_is_refused() -> None:
    with pytest.raises(MalformedError):
        tables.read_head(b"\xc1")
