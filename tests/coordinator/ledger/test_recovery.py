"""Folders that are damaged or somebody else's: refused with a sentence, and left as they are."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from antiphon.broker_config.disk import RealDisk
from antiphon.codecs.errors import StateError
from antiphon.coordinator.ledger.records import Owner
from antiphon.coordinator.ledger.recovery import described
from antiphon.simulation.disk import MemoryDisk
from tests.coordinator.ledger.stage import FOLDER, LARGE, OWNER, Stage, token


def spoilt(spoil: Callable[[Stage], None]) -> Stage:
    stage = Stage(large=True, params=LARGE, disk=MemoryDisk())
    stage.open()
    stage.begin()
    stage.rounds(1)
    stage.receive("a")
    stage.ledger.close()
    spoil(stage)
    return stage


def sql(statement: str, *parameters: Any) -> Callable[[Stage], None]:
    def spoil(stage: Stage) -> None:
        database = stage.disk.database(FOLDER / "ledger.db", sync=False)
        with database.transaction() as cursor:
            cursor.execute(statement, parameters)
        database.close()

    return spoil


def remove(*path: str) -> Callable[[Stage], None]:
    return lambda stage: stage.disk.remove(FOLDER.joinpath(*path))


def put(name: str, data: bytes) -> Callable[[Stage], None]:
    return lambda stage: stage.disk.write(FOLDER / name, [data], sync=True)


def shorten(*path: str) -> Callable[[Stage], None]:
    return lambda stage: stage.disk.cut(FOLDER.joinpath(*path), 100)


def flip(*path: str) -> Callable[[Stage], None]:
    def spoil(stage: Stage) -> None:
        data = bytearray(stage.disk.read(FOLDER.joinpath(*path)))
        data[-50] ^= 1
        stage.disk.write(FOLDER.joinpath(*path), [bytes(data)], sync=True)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (sql("PRAGMA application_id = 5"), "no ledger of Antiphon's"),
        (sql("PRAGMA user_version = 99"), "newer version of Antiphon.*install"),
        (sql("PRAGMA user_version = 0"), "has format 0"),
        (sql("UPDATE run SET federation = 'other'"), "belongs to federation 'other', not to 'house'"),
        (sql("UPDATE run SET static = ?", b"x" * 32), "other keys than coordinator.key.*--new-run"),
        (sql("DELETE FROM run"), "does not say which run"),
        (sql("DELETE FROM memory"), "does not hold its newest version, 1"),
        (sql("DELETE FROM versions WHERE number = 1"), "does not hold its newest version, 1"),
        (sql("DELETE FROM checkpoints WHERE number = 0"), "names versions without their values"),
        (sql("UPDATE schemas SET body = ?", b"\x80"), "a schema cannot be read"),
        (sql("UPDATE memory SET rule_state = ?", b"\xc1"), "version 1 cannot be read"),
        (sql("UPDATE versions SET rule = ?", b"\x81\xa4wrong"), "version 1 cannot be read"),
        (sql("UPDATE contents SET content = ?", b"\x91\x01"), "an update that waits cannot be read"),
        (sql("UPDATE checkpoints SET digest = ?", bytes(32)), "does not hold its newest version"),
        (sql("UPDATE checkpoints SET size = 5"), "bytes instead of 5"),
        (remove("ledger.db"), "ledger.db is missing, although .*checkpoints/0"),
        (remove("checkpoints", "1.safetensors"), "1.safetensors, version 1 of this run, is missing.*backup"),
        (remove("checkpoints", "0.safetensors"), "0.safetensors, a version of this run, is missing"),
        (shorten("checkpoints", "0.safetensors"), "100 bytes long instead of"),
        (flip("checkpoints", "1.safetensors"), "1.safetensors is damaged: it has another digest"),
        (remove("spool", "a-1.update"), "a-1.update, an update of this run, is missing"),
        (remove("spool", "a-4.update"), "a-4.update, an update that was received, is missing"),
        (shorten("spool", "a-4.update"), "is 100 bytes long instead of"),
        (put("ledger.db", b"nonsense" * 999), "ledger.db is damaged.*backup, or begin.*--new-run"),
        (put("moving", b"../../etc"), "moving is damaged"),
    ],
)
def test_damaged_or_foreign_folder_is_refused_and_left_as_it_is(
    spoil: Callable[[Stage], None], said: str
) -> None:
    stage = spoilt(spoil)
    before = [stage.disk.names(FOLDER / "spool"), stage.disk.names(FOLDER / "checkpoints")]
    for _ in range(2):
        with pytest.raises(StateError, match=said):
            stage.open()
    assert [stage.disk.names(FOLDER / "spool"), stage.disk.names(FOLDER / "checkpoints")] == before
    if "moving" not in said:
        found = stage.new_ledger().new_run(OWNER, stage.now, lambda size: b"n" * size)
        assert (found.run, found.started, found.version) == (b"n" * 16, stage.now, None)


def test_another_signing_key_is_another_coordinator() -> None:
    stage = Stage()
    stage.open()
    stage.ledger.close()
    with pytest.raises(StateError, match="other keys"):
        stage.new_ledger().open(Owner("house", OWNER.static, b"w" * 32), stage.now, token)


def test_torn_page_is_found_before_anything_is_used(tmp_path: Path) -> None:
    stage = Stage(disk=RealDisk(), folder=tmp_path / "state")
    stage.open()
    stage.begin()
    stage.rounds(4)
    stage.ledger.close()
    path = tmp_path / "state" / "ledger.db"
    size = path.stat().st_size
    with path.open("r+b") as file:
        for at in range(4096 * 2, size - 4096, 4096 * 3):
            file.seek(at)
            file.write(os.urandom(512))
    with pytest.raises(StateError, match=r"ledger\.db is damaged.*backup"):
        stage.open()


def test_schema_that_is_no_longer_known_by_its_digest_is_told() -> None:
    with pytest.raises(StateError, match=r"the schema of version 3 is not in it.*--new-run"):
        described((3, b"d" * 32, b"s" * 32), {})


def test_model_that_an_ended_run_left_is_no_empty_folder() -> None:
    stage = Stage()
    stage.disk.make(FOLDER)
    stage.disk.write(FOLDER / "model.safetensors", [b"a model"], sync=True)
    with pytest.raises(StateError, match=r"ledger\.db is missing, although .*model\.safetensors is there"):
        stage.open()
    assert stage.new_ledger().new_run(OWNER, 77.0, token).started == 77.0
    assert stage.disk.names(FOLDER / "runs") == ["damaged-77"]


def test_new_run_puts_a_damaged_ledger_aside() -> None:
    stage = spoilt(put("ledger.db", b"nonsense" * 999))
    found = stage.new_ledger().new_run(OWNER, 77.0, token)
    assert (found.started, found.version) == (77.0, None)
    assert stage.disk.names(FOLDER / "runs") == ["damaged-77"]
