"""``antiphon agent`` as a process: what it says when it cannot, and how it stops."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from federations import make_federation

TRAINER = """
import time
from antiphon import TrainingResult
import numpy as np

class Trainer:
    def __init__(self, data="", epochs=1):
        print("made with", repr(data), epochs, flush=True)
    def get_model_params(self):
        return {"w": np.zeros(3)}
    def update_model_params(self, params):
        pass
    def train_model(self, context):
        return TrainingResult(examples=1)

def broken():
    raise RuntimeError("no such table")

def nothing():
    return 3
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    make_federation(tmp_path, agents=("bank-1",))
    (tmp_path / "mybank.py").write_text(TRAINER)
    return tmp_path


def start(place: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "antiphon", "agent", *words],
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bank-1"], "no trainer"),
        (["bank-1", "--trainer", "mybank"], "package.module:factory"),
        (["bank-1", "--trainer", "yourbank:Trainer"], "no module 'yourbank'"),
        (["bank-1", "--trainer", "mybank:Trainr"], "no factory called 'Trainr'"),
        (["bank-1", "--trainer", "mybank:nothing"], "get_model_params"),
        (["bank-1", "--trainer", "mybank:Trainer", "--set", "rows=3"], "rows"),
        (["bank-1", "--trainer", "mybank:Trainer", "--set", "rows"], "NAME=VALUE"),
        (["bank-2", "--trainer", "mybank:Trainer"], "antiphon agent init"),
    ],
)
def test_what_a_person_must_change_is_one_sentence(place: Path, words: list[str], said: str) -> None:
    with start(place, *words) as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said in errors
    assert "Traceback" not in errors


def test_trainer_that_cannot_be_made_is_its_own_fault(place: Path) -> None:
    with start(place, "bank-1", "--trainer", "mybank:broken") as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "RuntimeError: no such table" in errors


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_an_agent_that_finds_no_broker(place: Path, name: signal.Signals) -> None:
    with start(
        place, "bank-1", "--trainer", "mybank:Trainer", "--data", "x.csv", "--set", "epochs=3"
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "made with 'x.csv' 3\n"
        assert process.stderr is not None
        process.stderr.readline()  # it has tried to connect: its signal handlers are there
        process.send_signal(name)
        process.communicate(timeout=60)
    assert process.returncode == 0
