"""Trainers that take their time."""

from pathlib import Path

import numpy as np
import pytest

from antiphon.agents.trainer import Trainer, TrainingContext
from antiphon.demo import bank


@pytest.fixture
def rows(tmp_path: Path) -> str:
    np.savez(tmp_path / "rows.npz", x=np.arange(6.0)[:, None], y=np.array([0, 0, 0, 1, 1, 1]))
    return str(tmp_path / "rows.npz")


def test_waiting_ends_when_the_agent_has_to_stop(rows: str) -> None:
    trainer = bank.logistic(rows, seconds="3600", steps=3)  # pyright: ignore[reportArgumentType]
    result = trainer.train_model(TrainingContext(0, {}, np.random.default_rng(0), stopping=lambda: True))
    assert result.steps == 1


def test_it_waits_at_least_its_time(rows: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(bank.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(bank.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))  # pyright: ignore
    trainer = bank.mlp(rows, seconds=10.0, hidden=2, steps=1)
    trainer.train_model(TrainingContext(0, {}, np.random.default_rng(0)))
    assert 108.0 <= now[0] <= 113.0


def test_it_hands_parameters_through(rows: str) -> None:
    trainer = bank.logistic(rows)
    assert isinstance(trainer, Trainer)
    trainer.update_model_params({"weights": np.full((1, 1), 2.0), "bias": np.zeros(1)})
    assert trainer.get_model_params()["weights"][0, 0] == 2.0
