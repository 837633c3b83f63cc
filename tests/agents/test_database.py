"""The agent's database: ours, whole, or a sentence that says what to do; rows come back."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from outboxes import head, mark

from antiphon.agents import database
from antiphon.agents.database import Residual, StateDatabase
from antiphon.agents.entries import Entry, Record
from antiphon.broker_config.disk import RealDisk
from antiphon.codecs.errors import MalformedError, StateError
from antiphon.codecs.sealing import SecretKey
from antiphon.simulation.disk import MemoryDisk


def opened(folder: Path, federation: str = "banks", agent: str = "a1") -> StateDatabase:
    return StateDatabase(folder / "state.db", RealDisk(), federation, agent)


def sql(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def test_a_new_database_is_opened_again(tmp_path: Path) -> None:
    store = opened(tmp_path / "a1")
    with store.transaction() as cursor:
        cursor.execute("INSERT INTO trained VALUES (1, x'00', 0.0, 1, 2, x'00')")
    store.close()
    store.close()
    again = opened(tmp_path / "a1")
    assert again.rows("SELECT number FROM trained WHERE one = ?", (1,)) == [(2,)]
    again.close()
    assert (tmp_path / "a1" / "state.db").stat().st_mode & 0o77 == 0


def test_a_closed_database_says_so(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.close()
    with pytest.raises(StateError, match="is closed"):
        store.rows("SELECT 1")


def test_a_damaged_database_is_refused_with_what_to_do(tmp_path: Path) -> None:
    opened(tmp_path).close()
    body = bytearray((tmp_path / "state.db").read_bytes())
    body[4096 * 2 : 4096 * 4] = b"\xff" * 8192
    (tmp_path / "state.db").write_bytes(body)
    with pytest.raises(StateError, match=r"damaged.*backup.*or remove state\.db and outbox/"):
        opened(tmp_path)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"hello" * 1000)
    with pytest.raises(StateError, match="state\\.db"):
        opened(tmp_path)


def test_somebody_elses_database_is_refused(tmp_path: Path) -> None:
    sql(tmp_path / "state.db", "CREATE TABLE notes (text)")
    with pytest.raises(StateError, match="is not an agent's database"):
        opened(tmp_path)


def test_a_database_of_another_release_is_refused(tmp_path: Path) -> None:
    opened(tmp_path).close()
    sql(tmp_path / "state.db", "PRAGMA user_version = 7")
    with pytest.raises(StateError, match="layout 7, this release reads 1"):
        opened(tmp_path)


@pytest.mark.parametrize(("federation", "agent"), [("shops", "a1"), ("banks", "a2")])
def test_the_database_of_another_agent_is_refused(tmp_path: Path, federation: str, agent: str) -> None:
    opened(tmp_path).close()
    with pytest.raises(StateError, match="belongs to agent a1 of banks"):
        opened(tmp_path, federation, agent)
    sql(tmp_path / "state.db", "DELETE FROM owner")
    with pytest.raises(StateError, match="belongs to nobody"):
        opened(tmp_path)


def test_a_full_disk_at_the_first_start_passes(tmp_path: Path) -> None:
    disk = MemoryDisk()
    disk.full = True
    with pytest.raises(OSError, match="space"):
        StateDatabase(tmp_path / "state.db", disk, "banks", "a1")
    disk.full = False
    StateDatabase(tmp_path / "state.db", disk, "banks", "a1").close()


def test_a_folder_that_is_none_does_not_pass(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="cannot use"):
        opened(tmp_path / "file")


@pytest.fixture
def store() -> Iterator[StateDatabase]:
    made = StateDatabase(Path("/agent/state.db"), MemoryDisk(), "banks", "a1")
    yield made
    made.close()


def test_the_newest_mark_is_kept(store: StateDatabase) -> None:
    assert database.read_mark(store) is None
    for number in (3, 4):
        with store.transaction() as cursor:
            database.put_mark(cursor, mark(number))
    assert database.read_mark(store) == mark(4)


def test_an_update_goes_through_its_states(store: StateDatabase) -> None:
    record = Record(b"t" * 16, SecretKey.generate(), b"e" * 32, 5000, 1024)
    with store.transaction() as cursor:
        database.put_update(cursor, Entry(head(1), 0, ""), b"content")
        database.put_update(cursor, Entry(head(2), 1, "1.payload"), None)
        database.put_transfer(cursor, 1, record)
    (first, second) = database.read_updates(store)
    assert (first[0], first[1], first[3], first[4]) == (0, "pending", "", 7)
    assert (second[0], second[1], second[3], second[4]) == (1, "pending", "1.payload", None)
    assert database.read_head(second[2]) == head(2)
    assert database.read_transfers(store) == {1: record}
    with store.transaction() as cursor:
        database.put_state(cursor, 1, "received")
    assert database.read_updates(store)[1][1] == "received"
    assert database.read_transfers(store) == {}
    with store.transaction() as cursor:
        database.empty_update(cursor, 0)
        database.put_name(cursor, 1, 7, head(9))
    (first, second) = database.read_updates(store)
    assert (first[1], first[3], first[4]) == ("received", "", None)
    assert (second[0], database.read_head(second[2]).sequence) == (7, 9)


def test_a_transfer_is_replaced_and_goes_with_its_update(store: StateDatabase) -> None:
    with store.transaction() as cursor:
        database.put_update(cursor, Entry(head(1), 0, ""), b"")
        for reserved in (1024, 2048):
            record = Record(b"t" * 16, SecretKey.generate(), b"e" * 32, 5000, reserved)
            database.put_transfer(cursor, 0, record)
    assert [record.reserved for record in database.read_transfers(store).values()] == [2048]
    with store.transaction() as cursor:
        database.drop_update(cursor, 0)
    assert database.read_transfers(store) == {}


def test_a_transfer_is_not_kept_when_the_last_word_came_first(store: StateDatabase) -> None:
    record = Record(b"t" * 16, SecretKey.generate(), b"e" * 32, 5000, 1024)
    with store.transaction() as cursor:
        database.put_update(cursor, Entry(head(1), 0, ""), b"")
        database.put_state(cursor, 0, "received")
    with store.transaction() as cursor:
        database.put_transfer(cursor, 0, record)
        database.drop_update(cursor, 0)
        database.put_transfer(cursor, 0, record)
    assert database.read_transfers(store) == {}


def test_there_is_one_residual_or_none(store: StateDatabase) -> None:
    for residual in (Residual(b"r" * 16, b"s" * 32, ""), Residual(b"r" * 16, b"s" * 32, "2.residual"), None):
        with store.transaction() as cursor:
            database.put_residual(cursor, residual, None)
        assert database.read_residual(store) == residual


def test_what_is_no_head_is_refused() -> None:
    with pytest.raises(MalformedError):
        database.read_head(b"\xc1")
