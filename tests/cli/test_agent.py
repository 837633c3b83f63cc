"""``antiphon agent`` as a process: what it says when it cannot, and how it stops."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from federations import broker_process, make_federation

from antiphon.cli import agent

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

class Hung(Trainer):
    def train_model(self, context):
        print("training", flush=True)
        time.sleep(3600)

class Looking(Trainer):
    def train_model(self, context):
        print("training", flush=True)
        while not context.stopping():
            time.sleep(0.01)
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


def test_a_second_agent_in_the_same_folder_is_refused_and_the_first_leaves_no_trace(place: Path) -> None:
    words = ("bank-1", "--trainer", "mybank:Trainer")
    with start(place, *words) as first:
        try:
            assert first.stderr is not None
            first.stderr.readline()  # it has tried to connect
            with start(place, *words) as second:
                _, errors = second.communicate(timeout=60)
            assert second.returncode == 2
            assert "an agent runs in bank-1 already" in errors
        finally:
            first.kill()
    with start(place, *words) as third:
        assert third.stderr is not None
        assert "cannot connect" in third.stderr.readline()
        third.kill()


def test_a_folder_that_takes_no_lock_does_without(tmp_path: Path) -> None:
    with agent.holding(tmp_path / "gone"):
        assert not (tmp_path / "gone").exists()


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


@pytest.mark.parametrize(("kind", "said"), [("Hung", "still at work; leaving without it"), ("Looking", "")])
def test_a_signal_stops_an_agent_whose_trainer_is_at_work(tmp_path: Path, kind: str, said: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "mybank.py").write_text(TRAINER)
    federation = make_federation(tmp_path, agents=("bank-1",))
    for file in (federation / "coordinator.toml", tmp_path / "bank-1" / "agent.toml"):
        file.write_text(file.read_text().replace("1883", str(port)))
    np.savez(tmp_path / "first.npz", w=np.zeros(3))
    coordinator = [sys.executable, "-m", "antiphon", "coordinator", "federation", "--initial", "first.npz"]
    with (
        broker_process(federation, port),
        subprocess.Popen(coordinator, cwd=tmp_path, stdout=subprocess.DEVNULL) as other,
    ):
        try:
            with start(tmp_path, "bank-1", "--trainer", f"mybank:{kind}") as process:
                assert process.stdout is not None
                assert process.stdout.readline().startswith("made with")
                assert process.stdout.readline() == "training\n"
                process.terminate()
                _, errors = process.communicate(timeout=30)
            assert process.returncode == 0
            assert said in errors
            assert "Traceback" not in errors
        finally:
            other.terminate()
