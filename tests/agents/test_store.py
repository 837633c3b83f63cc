"""The agent's database: ours, whole, or a sentence that says what to do."""

import sqlite3
from pathlib import Path

import pytest

from antiphon.agents.store import Store
from antiphon.broker_config.disk import RealDisk
from antiphon.codecs.errors import StateError
from antiphon.simulation.disk import MemoryDisk


def opened(folder: Path, federation: str = "banks", agent: str = "a1") -> Store:
    return Store(folder / "state.db", RealDisk(), federation, agent)


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
        Store(tmp_path / "state.db", disk, "banks", "a1")
    disk.full = False
    Store(tmp_path / "state.db", disk, "banks", "a1").close()


def test_a_folder_that_is_none_does_not_pass(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="cannot use"):
        opened(tmp_path / "file")
