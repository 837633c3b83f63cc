"""`antiphon init` and `antiphon agent init`, as typed."""

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors

from antiphon.broker_config.folders import open_federation
from antiphon.cli import main
from antiphon.cli.initial import read_arguments, write_initial
from antiphon.codecs.errors import ConfigError, StateError, TrainerError
from antiphon.coordinator.settings import CoordinatorSettings

TRAINERS = Path(__file__).parent


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in a folder that holds the trainers' module."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bank.py").write_text((TRAINERS / "trainers_for_init.py").read_text())


def _contents(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    opened: Any = safetensors.safe_open(path, framework="numpy")
    with opened as file:
        return {name: file.get_tensor(name) for name in list(file.keys())}, file.metadata()


def test_federation_is_made_and_the_next_commands_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "fed", "--name", "credit"]) == 0
    said = capsys.readouterr().out
    for command in (
        "antiphon broker fed",
        "antiphon coordinator fed",
        "antiphon agent init ID --invitation fed/fed",
    ):
        assert command in said
    assert "asked of the first agent" in said
    assert {path.name for path in Path("fed").iterdir()} == {
        "admissions", "broker", "coordinator.key", "coordinator.toml", "federation.toml", "roster",
    }  # fmt: skip


def test_trainer_gives_version_0_in_a_process_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    typed = [
        "init",
        "fed",
        "--name",
        "credit",
        "--trainer",
        "bank:Small",
        "--set",
        "size=4",
        "--data",
        "x.csv",
    ]
    assert main(typed) == 0
    assert "version 0 in initial.safetensors" in capsys.readouterr().out
    tensors, metadata = _contents(Path("fed/initial.safetensors"))
    assert np.array_equal(tensors["w"], np.arange(8, dtype=np.float32).reshape(4, 2).T)
    assert tensors["b"].shape == ()
    assert tensors["b"] == 5.0
    assert tensors["seen"].dtype == np.int64
    assert json.loads(metadata["antiphon.roles"]) == {"seen": "max"}
    assert open_federation(Path("fed"), CoordinatorSettings)[1].roles == {"seen": "max"}


@pytest.mark.parametrize(
    ("trainer", "code", "said"),
    [
        ("bank:Failing", 1, "antiphon: bank:Failing failed: FileNotFoundError: no data.csv here\n"),
        ("bank:Nothing", 2, "has no factory called 'Nothing'"),
        ("bank:Text", 2, "bank:Text gives no usable model"),
        ("bank:Exiting", 2, "ended with code 7"),
        ("nowhere:Nothing", 2, "no module"),
    ],
)
def test_trainer_that_fails_leaves_no_federation(
    trainer: str, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "fed", "--name", "credit", "--trainer", trainer]) == code
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert not Path("fed").exists()


def test_files_with_parameters_give_version_0(capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("model.npz", w=np.ones(3))
    assert main(["init", "a", "--name", "credit", "--initial", "model.npz"]) == 0
    assert main(["init", "b", "--name", "credit", "--initial", "a/initial.safetensors"]) == 0
    assert np.array_equal(_contents(Path("b/initial.safetensors"))[0]["w"], np.ones(3))
    Path("broken.npz").write_bytes(b"PK")
    assert main(["init", "c", "--name", "credit", "--initial", "broken.npz"]) == 2
    assert main(["init", "c", "--name", "credit", "--initial", "gone.safetensors"]) == 2
    assert main(["init", "c", "--name", "credit", "--initial", "bank.py"]) == 2
    assert main(["init", "c", "--name", "credit", "--initial", "a", "--trainer", "b:c"]) == 2
    error = capsys.readouterr().err
    assert "broken.npz holds no model" in error
    assert "no file gone.safetensors" in error
    assert "--initial bank.py ends neither" in error
    assert "use one of them" in error


def test_second_init_says_that_the_first_stays(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "fed", "--name", "credit"]) == 0
    assert main(["init", "fed", "--name", "credit", "--trainer", "bank:Exiting"]) == 2
    assert "left as it is" in capsys.readouterr().err


def test_preset_with_a_typing_error_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "fed", "--name", "credit", "--preset", "fedbuf"]) == 2
    assert "'fedbuff'" in capsys.readouterr().err
    assert not Path("fed").exists()


def test_agent_is_made_and_told_what_to_send(capsys: pytest.CaptureFixture[str]) -> None:
    main(["init", "fed", "--name", "credit"])
    capsys.readouterr()
    assert main(["agent", "init", "bank-1", "--invitation", "fed/federation.toml"]) == 0
    said = capsys.readouterr().out
    for part in (
        "bank-1/bank-1.request.toml",
        "antiphon admit",
        "bank-1/admission.toml",
        "antiphon agent bank-1",
    ):
        assert part in said
    typed = [
        "agent",
        "init",
        "bank-2",
        "--invitation",
        "fed/federation.toml",
        "--folder",
        "x",
        "--trainer",
        "a:b",
    ]
    assert main(typed) == 0
    assert "antiphon agent x\n" in capsys.readouterr().out
    assert 'trainer = "a:b"' in Path("x/agent.toml").read_text()


def test_agent_with_a_reserved_id_is_told_the_rule(capsys: pytest.CaptureFixture[str]) -> None:
    main(["init", "fed", "--name", "credit"])
    assert main(["agent", "init", "admin", "--invitation", "fed/federation.toml"]) == 2
    assert "'admin' is reserved" in capsys.readouterr().err


def test_agent_with_a_trainer_of_another_form_is_not_made(capsys: pytest.CaptureFixture[str]) -> None:
    main(["init", "fed", "--name", "credit"])
    words = ["agent", "init", "bank-1", "--invitation", "fed/federation.toml", "--trainer", "nonsense"]
    assert main(words) == 2
    assert "--trainer 'nonsense': write package.module:factory" in capsys.readouterr().err
    assert not Path("bank-1").exists()


def test_arguments_are_json_where_they_can_be() -> None:
    words = ["n=3", "rate=0.5", "on=true", "name=x", "path=a=b", 'text="3"', "empty="]
    assert read_arguments(words) == {
        "n": 3, "rate": 0.5, "on": True, "name": "x", "path": "a=b", "text": "3", "empty": "",
    }  # fmt: skip
    for wrong in ("n", "=3"):
        with pytest.raises(ConfigError, match="NAME=VALUE"):
            read_arguments([wrong])


def test_initial_parameters_are_checked_in_the_process_that_makes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(TRAINERS), *sys.path])
    write_initial("trainers_for_init:Small", tmp_path / "a.safetensors", {"size": 2})
    assert _contents(tmp_path / "a.safetensors")[0]["w"].shape == (2, 2)
    write_initial(str(tmp_path / "a.safetensors"), tmp_path / "b.safetensors", {})
    assert _contents(tmp_path / "b.safetensors")[1] == _contents(tmp_path / "a.safetensors")[1]
    np.savez(tmp_path / "n.npz", w=np.ones(3))
    write_initial(str(tmp_path / "n.npz"), tmp_path / "c.safetensors", {})
    np.savez(tmp_path / "n.npz", w=np.ones(3), b=np.array([np.nan]))
    with pytest.raises(ConfigError, match="'b' holds a NaN"):
        write_initial(str(tmp_path / "n.npz"), tmp_path / "d.safetensors", {})
    with pytest.raises(TrainerError, match="no data"):
        write_initial("trainers_for_init:Failing", tmp_path / "d.safetensors", {})
    with pytest.raises(ConfigError, match="no usable model"):
        write_initial("trainers_for_init:Text", tmp_path / "d.safetensors", {})
    with pytest.raises(StateError, match="there is no file"):
        write_initial(str(tmp_path / "gone.npz"), tmp_path / "d.safetensors", {})
    (tmp_path / "bad.safetensors").write_bytes(b"x" * 20)
    with pytest.raises(ConfigError, match="holds no model"):
        write_initial(str(tmp_path / "bad.safetensors"), tmp_path / "d.safetensors", {})
    import_module("safetensors.numpy").save_file(
        {"w": np.ones(1)}, tmp_path / "odd.safetensors", metadata={"antiphon.roles": "{"}
    )
    with pytest.raises(ConfigError, match="not a map of names to roles"):
        write_initial(str(tmp_path / "odd.safetensors"), tmp_path / "d.safetensors", {})
