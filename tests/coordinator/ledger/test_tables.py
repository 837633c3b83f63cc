"""What must never happen is impossible: the tables refuse it."""

import sqlite3
from collections.abc import Sequence
from typing import Any

import pytest

from antiphon.broker_config.database import Database
from antiphon.codecs.errors import StateError
from antiphon.coordinator.ledger import tables
from antiphon.simulation.disk import MemoryDisk
from tests.coordinator.ledger.stage import FOLDER, Stage

ID = b"i" * 16


def opened() -> Database:
    """A run with one version and one update, which is in it, and another that waits."""
    stage = Stage()
    stage.open()
    stage.begin()
    stage.receive("a")
    stage.flush()
    stage.receive("b")
    stage.ledger.close()
    return stage.disk.database(FOLDER / "ledger.db", sync=False)


@pytest.mark.parametrize(
    ("sql", "values", "said"),
    [
        ("INSERT INTO updates VALUES (3, 'b', ?, 1, 0, NULL, NULL)", [ID], "UNIQUE"),
        ("INSERT INTO updates VALUES (2, 'c', ?, 1, 0, NULL, NULL)", [ID], "UNIQUE"),
        ("INSERT INTO updates VALUES (3, 'a', ?, 1, 0, NULL, NULL)", [ID], "settled update"),
        ("INSERT INTO updates VALUES (0, 'c', ?, 1, 0, NULL, NULL)", [ID], "CHECK"),
        ("INSERT INTO updates VALUES (3, 'c', ?, 0, 0, NULL, NULL)", [ID], "CHECK"),
        ("INSERT INTO updates VALUES (3, 'c', ?, 1, 0, NULL, NULL)", [b"short"], "CHECK"),
        ("UPDATE updates SET version = 1 WHERE agent = 'b'", [], "CHECK"),
        ("UPDATE updates SET version = 1, place = 0 WHERE agent = 'b'", [], "UNIQUE"),
        ("UPDATE updates SET version = 0, place = 0 WHERE agent = 'a'", [], "belongs to a version already"),
        ("UPDATE updates SET version = 9, place = 0 WHERE agent = 'b'", [], "FOREIGN KEY"),
        ("DELETE FROM updates WHERE agent = 'b'", [], "FOREIGN KEY"),
        ("UPDATE contents SET file = 'x'", [], "CHECK"),
        ("UPDATE contents SET frame = NULL", [], "CHECK"),
        ("UPDATE contents SET key = x'00'", [], "CHECK"),
        (
            "INSERT INTO outcomes VALUES ('a', 2, ?, 1, 'rejected', '', NULL, '', '')",
            [ID],
            "cannot store TEXT",
        ),
        ("INSERT INTO outcomes VALUES ('a', 2, ?, 1, 'rejected', x'', NULL, '', '')", [ID], "UNIQUE"),
        ("INSERT INTO outcomes VALUES ('a', 1, ?, 2, 'rejected', x'', NULL, '', '')", [ID], "UNIQUE"),
        ("INSERT INTO outcomes VALUES ('a', 2, ?, 2, 'applied', x'', NULL, '', '')", [ID], "CHECK"),
        ("INSERT INTO outcomes VALUES ('a', 2, ?, 2, 'refused', x'', 1, '', '')", [ID], "CHECK"),
        ("INSERT INTO outcomes VALUES ('a', 2, ?, 2, 'received', x'', NULL, '', '')", [ID], "CHECK"),
        ("INSERT INTO bases VALUES (3, ?)", [ID], "not the next one"),
        ("INSERT INTO bases VALUES (1, ?)", [ID], "not the next one"),
        (
            "INSERT INTO versions SELECT 2, digest, term, 0, 0, 0, rule, plan FROM versions WHERE plan > 0",
            [],
            "FOREIGN KEY",
        ),
        ("UPDATE versions SET plan = NULL", [], "CHECK"),
        ("UPDATE marks SET mark = 0 WHERE agent = 'a'", [], "mark went back"),
        ("UPDATE run SET term = term", [], "not larger"),
        ("UPDATE run SET applied = received + 1", [], "CHECK"),
        (
            "INSERT INTO run SELECT 2, federation, static, signing, run, 0, 1, 0, 0, 0, 0, 0 FROM run",
            [],
            "CHECK",
        ),
        ("DELETE FROM schemas", [], "FOREIGN KEY"),
    ],
)
def test_defect_raises_instead_of_counting_twice(sql: str, values: Sequence[Any], said: str) -> None:
    database = opened()
    with pytest.raises(sqlite3.IntegrityError, match=said), database.transaction() as cursor:
        cursor.execute(sql, values)


def test_empty_file_is_empty_and_no_ledger() -> None:
    disk = MemoryDisk()
    disk.make(FOLDER)
    database = disk.database(FOLDER / "x.db", sync=False)
    assert tables.is_empty(database)
    with pytest.raises(StateError, match=r"x\.db is no ledger"):
        tables.check(database, FOLDER / "x.db", thorough=True)
    with database.transaction() as cursor:
        tables.create(cursor)
    assert not tables.is_empty(database)
    tables.check(database, FOLDER / "x.db", thorough=True)


def test_queries_of_every_commit_use_an_index() -> None:
    database = opened()
    for sql in (
        "SELECT 1 FROM outcomes WHERE agent = 'a' AND incarnation = x'' AND sequence = 1",
        "DELETE FROM outcomes WHERE agent = 'a' AND n <= 1",
        "UPDATE updates SET version = 1, place = 0 WHERE admission = 1 AND version IS NULL",
        "DELETE FROM contents WHERE admission IN (SELECT admission FROM updates WHERE version <= 1)",
        "DELETE FROM updates WHERE version <= 1",
        "SELECT 1 FROM updates JOIN contents USING (admission) WHERE version IS NULL",
        "DELETE FROM versions WHERE number < 1",
        "DELETE FROM admissions WHERE number <= 1",
        "DELETE FROM uploads WHERE file = 'x'",
        "SELECT coalesce(max(number), -1) + 1 FROM bases",
    ):
        steps = [str(row[3]) for row in database.rows(f"EXPLAIN QUERY PLAN {sql}")]
        assert not any(step.startswith("SCAN") for step in steps), (sql, steps)
