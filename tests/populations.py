"""A small population that learns quickly, for tests."""

from pathlib import Path
from typing import Any

import numpy as np

from antiphon.agents.trainer import TrainingContext, TrainingResult
from antiphon.agents.trainers.data import Dataset
from antiphon.simulation.delays import Law
from antiphon.simulation.population import (
    DataSettings,
    ModelSettings,
    Population,
    RunSettings,
    SpeedClass,
)
from antiphon.simulation.results import ClassResult, Point, Result

TEXT = """\
# Two speeds, for tests
seed = 3
preset = "fedbuff"

[aggregation]
k = 2

[model]
dataset = "rows.npz"
trainer = "logistic"
arguments = { steps = 2, rate = 0.5 }

[data]
partition = "iid"

[run]
seconds = 30
targets = [0.6, 0.8, 1.1]

[[class]]
name = "fast"
agents = 3
delay = { law = "uniform", low = 1, high = 2 }

[[class]]
name = "slow"
agents = 2
delay = 8
"""


def blobs(count: int = 120, labels: int = 3) -> Dataset:
    """Rows around three corners, easily told apart."""
    rng = np.random.default_rng(0)
    y = np.arange(count) % labels
    x = rng.normal(0.0, 0.6, (count, 4))
    x[np.arange(count), y] += 2.0
    return Dataset(x, y.astype(np.int64), tuple(str(label) for label in range(labels)))


def write(folder: Path, text: str = TEXT) -> Path:
    """Write a population and its rows; return the file of the former."""
    rows = blobs()
    np.savez(folder / "rows.npz", x=rows.x, y=rows.y, classes=np.array(rows.classes))
    path = folder / "two-speeds.toml"
    path.write_text(text, encoding="utf-8")
    return path


def small(**more: Any) -> Population:
    """The same as a value."""
    plain: dict[str, Any] = {
        "seed": 3,
        "aggregation": {"k": 2},
        "model": ModelSettings(dataset="rows.npz", arguments={"steps": 2, "rate": 0.5}),
        "data": DataSettings(),
        "run": RunSettings(seconds=30.0, targets=(0.6, 0.8, 1.1)),
        "classes": (
            SpeedClass(name="fast", agents=3, delay=Law(law="uniform", low=1.0, high=2.0)),
            SpeedClass(name="slow", agents=2, delay=8.0),
        ),
    }
    return Population(**{**plain, **more})


class Mute:
    """A trainer that says nothing about its model: the middle of each label."""

    def __init__(self, data: str) -> None:
        with np.load(data) as rows:
            self.x, self.y = rows["x"], rows["y"]
        self.middles = np.zeros((3, 4))

    def get_model_params(self) -> dict[str, Any]:
        return {"middles": self.middles.copy()}

    def update_model_params(self, params: dict[str, Any]) -> None:
        self.middles = params["middles"].copy()

    def train_model(self, context: TrainingContext) -> TrainingResult:
        for label in np.unique(self.y):
            self.middles[label] += 0.3 * (self.x[self.y == label].mean(axis=0) - self.middles[label])
        return TrainingResult(examples=len(self.y))


class Hapless(Mute):
    """It cannot train."""

    def train_model(self, context: TrainingContext) -> TrainingResult:
        raise ValueError("no luck today")

    def evaluate_model(self) -> dict[str, float]:
        return {"accuracy": 0.0}


class Nearest(Mute):
    """It evaluates its model on its own rows, and on no others."""

    def evaluate_model(self) -> dict[str, float]:
        far = ((self.x[:, None, :] - self.middles) ** 2).sum(axis=2)
        return {"accuracy": float((far.argmin(axis=1) == self.y).mean())}


def result(preset: str = "fedbuff", **more: Any) -> Result:
    """What came of a run, made up."""
    classes = (
        ClassResult("fast", 3, 60, 3, 3, 1.0, 0.9, 0.95, 4_200_000, 123_000_000),
        ClassResult("slow", 2, 30, 2, 1, 7.0, 0.1, None, 1000, 2000),
    )
    plain: dict[str, Any] = {
        "preset": preset,
        "seed": 3,
        "reason": "version 6 is the last of 6",
        "digest": b"\xab" * 32,
        "version": 6,
        "applied": 4,
        "rejected": 1,
        "seconds": 120.0,
        "points": (Point(0.0, 0, 0, 0.3), Point(10.0, 4, 8, 0.85), Point(120.0, 6, 12, 0.8)),
        "staleness": (1, 1, 1, 7),
        "refusals": {"run-over": 1},
        "classes": classes,
    }
    return Result(**{**plain, **more})
