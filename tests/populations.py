"""A small population that learns quickly, for tests."""

from pathlib import Path
from typing import Any

import numpy as np

from antiphon.agents.trainers.data import Dataset
from antiphon.simulation.delays import Law
from antiphon.simulation.population import (
    DataSettings,
    ModelSettings,
    Population,
    RunSettings,
    SpeedClass,
)

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
