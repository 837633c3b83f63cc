"""``antiphon simulate``, as it is typed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from populations import TEXT, write

from antiphon.cli import main

QUICK = TEXT.replace("seconds = 30", "seconds = 12")


def simulate(*words: str) -> int:
    return main(["simulate", *words])


def test_without_a_population_it_lists_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["fadas", "fedbuff", "fedstaleweight"]


def test_file_is_run_and_its_numbers_and_picture_are_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    path, numbers, picture = write(tmp_path, QUICK), tmp_path / "out.json", tmp_path / "out.png"
    words = [str(path), "--preset", "fedbuff", "--preset", "fedasync"]
    assert simulate(*words, "--json", str(numbers), "--plot", str(picture)) == 0
    said = capsys.readouterr()
    assert said.err == "", "quiet in a pipe"
    assert said.out.startswith("two-speeds: 5 agents, seed 3\n")
    plain = json.loads(numbers.read_text())
    assert [run["preset"] for run in plain["runs"]] == ["fedbuff", "fedasync"]
    for run in plain["runs"]:
        assert run["version"] > 3
        assert f"{run['preset']}: {run['reason']}; digest {run['digest'][:16]}\n" in said.out
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_errors_of_many_agents_are_summed_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = QUICK.replace('"logistic"', '"populations:Hapless"').replace("arguments =", "# arguments =")
    assert simulate(str(write(tmp_path, text))) == 0
    complaints = capsys.readouterr().err.splitlines()
    assert len(complaints) == 1
    assert complaints[0].endswith(
        "x trainer failed: train_model() failed: ValueError: no luck today; trying again in 5 s"
    )


def test_same_seed_is_the_same_document_in_two_processes_with_other_hash_seeds(tmp_path: Path) -> None:
    texts: list[str] = []
    for number, seed in (("1", "7"), ("2", "7"), ("2", "8")):
        folder = tmp_path / f"run-{number}-{seed}"
        folder.mkdir()
        environment = {**os.environ, "PYTHONHASHSEED": number}
        command = [sys.executable, "-m", "antiphon", "simulate", str(write(folder, QUICK)), "--seed", seed]
        done = subprocess.run(
            [*command, "--json", "out.json"], cwd=folder, env=environment, capture_output=True, timeout=100
        )
        assert done.returncode == 0, done.stderr
        texts.append((folder / "out.json").read_text())
    assert texts[0] == texts[1]
    digests = [json.loads(text)["runs"][0]["digest"] for text in texts]
    assert digests[0] != digests[2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fadass"], "did you mean 'fadas'?"),
        (["fadas", "--preset", "fedbuf"], "--preset fedbuf: there is none; the nearest known is 'fedbuff'"),
        (["fadas", "--plot", "out.svg"], "--plot out.svg: only .png files are drawn"),
        (["fadas", "--plot", "gone/out.png"], "there is no folder gone, make it first"),
        (["fadas", "--json", "gone/out.json"], "--json gone/out.json: there is no folder gone"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate(*words) == 2
    assert said in capsys.readouterr().err


def test_picture_without_matplotlib_is_refused_before_the_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("antiphon.monitor.plots.available", lambda: False)
    assert simulate("fadas", "--plot", "out.png") == 2
    assert "pip install 'antiphon[plots]'" in capsys.readouterr().err


def test_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate(str(tmp_path / "gone.toml")) == 2
    assert "cannot read" in capsys.readouterr().err


def test_terminal_shows_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal there is a line that moves; it is gone at the end."""
    pty = pytest.importorskip("pty")
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "antiphon", "simulate", str(write(tmp_path, QUICK))]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=follower, env=environment) as process:
        os.close(follower)
        shown = b""
        while True:
            try:
                piece = os.read(leader, 4096)
            except OSError:  # Linux's word for the end of a terminal
                break
            if not piece:
                break
            shown += piece
        assert process.wait(60) == 0
    os.close(leader)
    assert b"fedbuff" in shown
    assert b"accuracy" in shown
