"""What the coordinator computed, repeated from its ledger, bit for bit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antiphon.broker_config.disk import RealDisk
from antiphon.codecs.errors import StateError
from antiphon.coordinator.aggregation.history import init_step
from antiphon.coordinator.aggregation.presets import PRESETS, build_rule
from antiphon.coordinator.ledger.records import Retention
from antiphon.coordinator.ledger.replay import replay
from antiphon.simulation.disk import MemoryDisk
from tests.coordinator.ledger.stage import FOLDER, LARGE, SMALL, Stage

RULES: list[tuple[str, dict[str, Any]]] = [
    *((preset, {}) for preset in PRESETS),
    ("fedbuff", {"step": {"kind": "amsgrad"}, "k": 3}),
    ("fedbuff", {"step": "momentum", "staleness": "hinge", "k": 2}),
    ("fedbuff", {"fairness": "inverse-rate"}),
    ("fedasync", {"trigger": {"kind": "updates", "k": 2}}),
]


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(("preset", "options"), RULES)
def test_every_rule_is_replayed_bit_for_bit(preset: str, options: dict[str, Any], large: bool) -> None:
    params = LARGE if large else SMALL
    stage = Stage(preset=preset, options=options, large=large, params=params, keep=Retention(bases=True))
    stage.open()
    stage.begin()
    stage.rounds(4)
    stage.ledger.close()
    seen: list[tuple[int, int]] = []
    done = replay(FOLDER, stage.disk, lambda number, last: seen.append((number, last)))
    assert (done.first, done.last, done.versions, done.updates) == (0, 4, 4, 12)
    assert stage.model is not None
    assert done.digest == stage.model.digest
    assert done.run == bytes(range(16))
    assert seen == [(n, 4) for n in (1, 2, 3, 4)]


@pytest.mark.parametrize("encoding", ["float16", "bfloat16", "int8"])
def test_lossy_encodings_are_replayed_too(encoding: str) -> None:
    stage = Stage(encoding=encoding)
    stage.open()
    stage.begin()
    stage.rounds(2)
    assert replay(FOLDER, stage.disk).versions == 2


def test_exact_tensors_and_doubles_are_replayed(tmp_path: Path) -> None:
    params = {"w": np.zeros(700, np.float64), "n": np.array([1, 2]), "seen": np.array([True])}
    stage = Stage(params=params, disk=RealDisk(), folder=tmp_path / "state")
    stage.open()
    stage.begin()
    stage.rounds(2)
    assert replay(tmp_path / "state", RealDisk()).versions == 2
    stage.ledger.close()


def test_first_version_that_an_agent_brought_is_replayed_from_its_update() -> None:
    for large in (False, True):
        stage = Stage(large=large, params=LARGE if large else SMALL)
        stage.open()
        stage.receive("a", base=-1)
        first = stage.flush()
        assert replay(FOLDER, stage.disk).digest == first.digest
        stage.rounds(2)
        stage.ledger.close()
        done = replay(FOLDER, stage.disk)
        assert (done.first, done.last, done.versions, done.updates) == (-1, 2, 3, 7)
        stage.open()
        stage.rounds(1)
        assert replay(FOLDER, stage.disk).versions == 4


def test_replay_of_a_running_coordinator_sees_one_state_and_disturbs_nothing() -> None:
    stage = Stage()
    stage.open()
    stage.begin()
    stage.rounds(2)
    more = iter(range(3))

    def meanwhile(number: int, last: int) -> None:
        del number, last
        next(more)
        stage.rounds(1)

    done = replay(FOLDER, stage.disk, meanwhile)
    assert done.last == 2
    assert stage.number == 4
    assert replay(FOLDER, stage.disk).last == 4


def test_each_version_is_replayed_by_its_own_rule_and_fresh_optimisers_begin_at_zero() -> None:
    stage = Stage(preset="fedadam", options={"k": 2})
    stage.open()
    stage.begin()
    stage.rounds(2)
    stage.ledger.close()
    stage.rule = build_rule("fedbuff", {"k": 2, "step": "momentum"})
    stage.open()
    stage.receive("a")
    stage.step = init_step(stage.rule, stage.schema.size, stage.schema.dtype)
    commit = stage.ledger.commit_version
    stage.ledger.commit_version = lambda record: commit(replace(record, started_step=True))
    stage.flush()
    stage.ledger.commit_version = commit
    stage.rounds(1)
    assert replay(FOLDER, stage.disk).versions == 4


def test_only_the_newest_version_kept_is_nothing_to_replay_and_no_error() -> None:
    stage = Stage(keep=Retention(keep_versions=1))
    stage.open()
    stage.begin()
    stage.rounds(2)
    done = replay(FOLDER, stage.disk)
    assert (done.first, done.last, done.versions, done.updates) == (2, 2, 0, 0)
    assert stage.model is not None
    assert done.digest == stage.model.digest


def test_replay_begins_where_retention_left_everything() -> None:
    stage = Stage(keep=Retention(keep_versions=3))
    stage.open()
    stage.begin()
    stage.rounds(6)
    done = replay(FOLDER, stage.disk)
    assert (done.first, done.last, done.updates) == (4, 6, 6)


def test_replay_against_bases_begins_after_the_last_one_that_is_gone() -> None:
    stage = Stage(preset="fedasync", options={}, keep=Retention(keep_versions=4, bases=True, base_bytes=0))
    stage.open()
    stage.begin()
    stage.rounds(4, agents="a")
    stage.receive("a", base=2)
    stage.flush()
    assert replay(FOLDER, stage.disk).first == 2
    stage.receive("a", base=3)
    stage.flush()
    assert stage.number == 6
    # Versions 3 to 6 are kept; version 5 was merged against version 2.
    assert replay(FOLDER, stage.disk).first == 5


def staged(**more: Any) -> Stage:
    stage = Stage(**more)
    stage.open()
    stage.begin()
    stage.rounds(3)
    stage.ledger.close()
    return stage


def change(stage: Stage, sql: str, *parameters: Any) -> None:
    database = stage.disk.database(FOLDER / "ledger.db", sync=False)
    with database.transaction() as cursor:
        cursor.execute(sql, parameters)
        assert cursor.rowcount == 1
    database.close()


def blob(stage: Stage, sql: str) -> bytes:
    database = stage.disk.database(FOLDER / "ledger.db", sync=False)
    ((found,),) = database.rows(sql)
    database.close()
    return found


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def flip_file(stage: Stage, path: Path, at: int) -> None:
    stage.disk.write(path, [flip(stage.disk.read(path), at)], sync=True)


def flip_blob(stage: Stage, table: str, column: str, where: str, at: int) -> None:
    found = blob(stage, f"SELECT {column} FROM {table} WHERE {where}")
    change(stage, f"UPDATE {table} SET {column} = ? WHERE {where}", flip(found, at))


@pytest.mark.parametrize(
    ("table", "column", "where", "at", "said"),
    [
        ("contents", "frame", "admission = 5", 900, "version 2.*update of b.*damaged"),
        ("contents", "key", "admission = 5", 1, "version 2.*update of b.*damaged"),
        ("contents", "offer", "admission = 5", 0, "damaged: an update of version 2"),
        ("versions", "plan", "number = 2", 4, "version 2 is the first that differs"),
        ("versions", "plan", "number = 2", 0, "damaged: the scalars of version 2"),
        ("versions", "rule", "number = 2", 1, "damaged: the rule of version 2"),
        ("versions", "digest", "number = 2", 3, "version 2 is the first that differs"),
        ("checkpoints", "data", "number = 0", 900, "version 0.*another digest"),
        ("checkpoints", "data", "number = 3", 900, "version 3.*another digest"),
        ("checkpoints", "data", "number = 3", 9, "version 3.*is damaged"),
    ],
)
def test_flipped_byte_in_the_tables_is_found(table: str, column: str, where: str, at: int, said: str) -> None:
    stage = staged()
    flip_blob(stage, table, column, where, at)
    with pytest.raises(StateError, match=said):
        replay(FOLDER, stage.disk)


def test_another_order_of_updates_is_found() -> None:
    stage = staged()
    change(stage, "UPDATE updates SET place = 7 WHERE admission = 4")
    with pytest.raises(StateError, match="version 2 is the first that differs"):
        replay(FOLDER, stage.disk)


def test_flipped_byte_in_a_file_is_found() -> None:
    stage = staged(large=True, params=LARGE)
    flip_file(stage, FOLDER / "checkpoints" / "3.safetensors", 5000)
    with pytest.raises(StateError, match=r"3\.safetensors is damaged"):
        replay(FOLDER, stage.disk)
    flip_file(stage, FOLDER / "checkpoints" / "3.safetensors", 5000)
    assert replay(FOLDER, stage.disk).versions == 3
    name = stage.disk.names(FOLDER / "spool")[4]
    flip_file(stage, FOLDER / "spool" / name, 9000)
    with pytest.raises(StateError, match=rf"version 2 .*{name} is damaged"):
        replay(FOLDER, stage.disk)
    stage.disk.remove(FOLDER / "spool" / name)
    with pytest.raises(StateError, match="version 2 cannot be merged again"):
        replay(FOLDER, stage.disk)


def test_optimiser_that_differs_is_found() -> None:
    stage = staged(preset="fedadam", options={"k": 3})
    change(stage, "UPDATE checkpoints SET step = ? WHERE number = 3", bytes(32))
    with pytest.raises(StateError, match="another optimiser than version 3"):
        replay(FOLDER, stage.disk)


def test_folder_without_ledger_or_without_version_says_so() -> None:
    disk = MemoryDisk()
    with pytest.raises(StateError, match="there is no ledger"):
        replay(FOLDER, disk)
    stage = Stage(disk=disk)
    stage.open()
    with pytest.raises(StateError, match="no first version"):
        replay(FOLDER, disk)
