"""``antiphon model export``."""

from pathlib import Path

import numpy as np
import pytest

from antiphon.broker_config.disk import RealDisk
from antiphon.cli import main
from antiphon.coordinator import models
from tests.coordinator.ledger.stage import Stage


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    params = {"w": np.zeros(3, np.float32), "n": np.array(7)}
    stage = Stage(disk=RealDisk(), folder=tmp_path / "state", params=params, sync=False)
    stage.open()
    stage.begin()
    stage.rounds(1)
    return stage


@pytest.mark.parametrize("name", ["out.npz", "out.safetensors"])
@pytest.mark.parametrize("running", [False, True])
def test_export_writes_the_newest_committed_version_and_says_which(
    stage: Stage, tmp_path: Path, name: str, running: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    if not running:
        stage.ledger.close()
    assert main(["model", "export", str(tmp_path), str(tmp_path / name)]) == 0
    assert stage.model is not None
    wanted = stage.schema.unpack(stage.model.vector, stage.model.exact)
    found = models.load(tmp_path / name)
    assert sorted(found) == ["n", "w"]
    assert (found["w"] == wanted["w"]).all()
    assert (found["n"].dtype, int(found["n"])) == (np.int64, int(wanted["n"]))
    said = capsys.readouterr().out
    assert f"version 1 of run {bytes(range(16)).hex()}" in said
    assert stage.model.digest.hex()[:16] in said


def test_exported_file_can_be_the_first_version_of_another_run(stage: Stage, tmp_path: Path) -> None:
    target = tmp_path / "out.safetensors"
    assert main(["model", "export", str(tmp_path), str(target)]) == 0
    about = models.metadata_of(target)
    assert (about["version"], about["run"]) == ("1", bytes(range(16)).hex())
    assert models.roles_of(target) == {"n": "keep", "w": "weight"}


def test_export_of_an_earlier_run_reads_where_it_was_put_aside(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.ledger.close()
    new = stage.new_ledger()
    new.new_run(*stage.arguments(run=b"n" * 16))
    new.close()
    old = tmp_path / "state" / "runs" / bytes(range(16)).hex()
    assert main(["model", "export", str(old), str(tmp_path / "old.npz")]) == 0
    assert main(["model", "export", str(tmp_path), str(tmp_path / "new.npz")]) == 2
    assert "first version" in capsys.readouterr().err


def test_export_before_the_first_start_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "export", str(tmp_path), str(tmp_path / "x.npz")]) == 2
    assert "there is no ledger" in capsys.readouterr().err


def test_export_to_another_format_or_nowhere_says_what_to_do(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["model", "export", str(tmp_path), str(tmp_path / "x.onnx")]) == 2
    assert ".npz" in capsys.readouterr().err
    assert main(["model", "export", str(tmp_path), str(tmp_path / "none" / "x.npz")]) == 2
    assert "cannot write" in capsys.readouterr().err


def test_export_of_a_damaged_ledger_says_so(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.ledger.close()
    (tmp_path / "state" / "ledger.db").write_bytes(b"no database" * 1000)
    assert main(["model", "export", str(tmp_path), str(tmp_path / "x.npz")]) == 2
    assert "ledger.db is damaged" in capsys.readouterr().err
