"""``antiphon replay``."""

import errno
import json
from pathlib import Path

import pytest

from antiphon.broker_config.disk import RealDisk
from antiphon.cli import main
from antiphon.coordinator.ledger.records import Retention
from tests.coordinator.ledger.stage import LARGE, Stage


def staged(folder: Path, keep: int = 100) -> Stage:
    stage = Stage(
        disk=RealDisk(),
        folder=folder / "state",
        params=LARGE,
        large=True,
        sync=False,
        keep=Retention(keep_versions=keep),
    )
    stage.open()
    stage.begin()
    stage.rounds(3)
    return stage


def test_run_is_replayed_also_while_its_coordinator_holds_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = staged(tmp_path)
    assert stage.model is not None
    for place in (tmp_path, tmp_path / "state"):
        assert main(["replay", str(place)]) == 0
        said = capsys.readouterr().out
        assert "3 versions merged again from version 0 on, with 9 updates" in said
        assert stage.model.digest.hex() in said
    stage.ledger.close()
    assert main(["replay", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {
        "confirmed": True,
        "run": bytes(range(16)).hex(),
        "first": 0,
        "last": 3,
        "versions": 3,
        "updates": 9,
        "digest": stage.model.digest.hex(),
    }


def test_single_version_is_nothing_to_replay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    staged(tmp_path, keep=1).ledger.close()
    assert main(["replay", str(tmp_path)]) == 0
    assert "nothing to replay" in capsys.readouterr().out


def test_earlier_run_is_replayed_from_where_it_was_put_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = staged(tmp_path)
    stage.ledger.close()
    stage.now += 1
    new = stage.new_ledger()
    new.new_run(*stage.arguments(run=b"n" * 16))
    new.close()
    assert main(["replay", str(tmp_path / "state" / "runs" / bytes(range(16)).hex())]) == 0
    assert "3 versions merged again" in capsys.readouterr().out
    assert main(["replay", str(tmp_path)]) == 1
    assert "no first version" in capsys.readouterr().err


def test_update_that_rotted_is_named_and_the_exit_code_is_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    staged(tmp_path).ledger.close()
    path = sorted((tmp_path / "state" / "spool").iterdir())[4]
    data = bytearray(path.read_bytes())
    data[9000] ^= 1
    path.write_bytes(bytes(data))
    assert main(["replay", str(tmp_path)]) == 1
    assert f"{path} is damaged" in capsys.readouterr().err
    assert main(["replay", str(tmp_path), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert not found["confirmed"]
    assert "version 2" in found["error"]


def test_folder_that_may_not_be_written_is_to_be_copied(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    staged(tmp_path).ledger.close()

    def refuse(disk: RealDisk, path: Path, *, sync: bool) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(RealDisk, "database", refuse)
    assert main(["replay", str(tmp_path)]) == 1
    assert "Read-only file system; SQLite must write beside what it reads: copy" in capsys.readouterr().err


def test_folder_without_ledger_is_no_difference_but_a_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(tmp_path)]) == 2
    assert "there is no ledger" in capsys.readouterr().err
