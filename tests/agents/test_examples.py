"""The examples are agents: they federate, and they learn."""

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from house import House

from antiphon.agents.loading import load_trainer
from antiphon.agents.trainer import Trainer
from antiphon.simulation import clock
from antiphon.simulation.memory_broker import MemoryBroker

EXAMPLES = Path(__file__).parents[2] / "examples"


def trainers(tmp_path: Path, reference: str, kinds: str) -> dict[str, Trainer]:
    rng = np.random.default_rng(0)
    made: dict[str, Trainer] = {}
    for id in ("a1", "a2"):
        x = rng.normal(size=(200, 3))
        target = x @ np.array([1.0, -2.0, 3.0])
        np.savez(tmp_path / f"{id}.npz", x=x, y=target if kinds == "numbers" else (target > 0).astype(int))
        made[id] = load_trainer(reference, {"data": str(tmp_path / f"{id}.npz")})
    return made


def federate(tmp_path: Path, made: Mapping[str, Trainer]) -> Mapping[str, Trainer]:
    async def story() -> None:
        initial = made["a1"].get_model_params()
        initial = {name: np.array(value) for name, value in initial.items()}
        async with House(tmp_path, MemoryBroker(), initial) as house:
            house.start_coordinator()
            for id, trainer in made.items():
                house.start_agent(id, trainer)
            await house.versions(12)
            assert not house.seen("rejected")

    clock.run(story)
    return made


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])


def test_least_squares_finds_the_line(tmp_path: Path) -> None:
    made = federate(tmp_path, trainers(tmp_path, "least_squares:LeastSquares", "numbers"))
    np.testing.assert_allclose(made["a1"].get_model_params()["weights"], [1, -2, 3], atol=0.2)


def test_classifier_tells_the_classes_apart(tmp_path: Path) -> None:
    made = federate(tmp_path, trainers(tmp_path, "classifier:Classifier", "classes"))
    assert made["a1"].evaluate_model()["accuracy"] > 0.95  # pyright: ignore
