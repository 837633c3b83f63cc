"""A small problem and a finished run, for tests that need neither processes nor a broker."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file  # pyright: ignore[reportUnknownVariableType]

from antiphon.broker_config.connection import BrokerAddress
from antiphon.broker_config.topics import Topics
from antiphon.demo.board import Board, Line
from antiphon.demo.credit import credit
from antiphon.demo.outcome import Outcome, Traffic
from antiphon.demo.problem import Problem
from antiphon.demo.stage import Plan, Stage
from antiphon.monitor.record import Record, Share


@pytest.fixture(scope="session")
def problem() -> Problem:
    return credit(0)


@pytest.fixture
def stage(problem: Problem, tmp_path: Path) -> Stage:
    """A stage without files, but for the model."""
    made = Stage(problem, Plan(), tmp_path, 1883, BrokerAddress("mqtt://127.0.0.1"), "-secret", Topics())
    made.model.parent.mkdir(parents=True)
    save_file({name: np.asarray(value) for name, value in problem.initial().items()}, made.model)
    return made


@pytest.fixture
def outcome(stage: Stage) -> Outcome:
    ids = [bank.id for bank in stage.problem.banks]
    lines = {id: Line(state="over", version=7, sent=3, applied=3, influence=0.125) for id in ids}
    shares = {id: Share(3, 3.0, [0, 2, place]) for place, id in enumerate(ids)}
    return Outcome(
        stage=stage,
        board=Board(Topics(), lines, "over", 7, 24),
        record=Record(7, shares, Counter()),
        federated=0.801,
        pooled=0.806,
        alone={id: 0.6 + 0.01 * place for place, id in enumerate(ids)},
        traffic=Traffic(58, 232, 900.0),
        points=[(0.0, 1, 0.6), (1.0, 4, 0.75), (2.0, 7, 0.801)],
        marks={"education joins": 1.0},
        seconds=2.0,
    )
