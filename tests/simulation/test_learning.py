"""What simulated agents learn: rows are dealt out once, and models are scored on rows that nobody has."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from populations import blobs, small

from antiphon.agents.trainer import TrainingContext
from antiphon.codecs.errors import ConfigError
from antiphon.simulation.learning import Learning, prepare
from antiphon.simulation.population import ModelSettings, Population, RunSettings, SpeedClass


def apart() -> Population:
    """Slow agents alone have label 2."""
    fast, slow = small().classes
    return small(classes=(fast, msgspec.structs.replace(slow, labels=("2",))))


def rows_of(folder: Path, id: str) -> list[tuple[float, ...]]:
    with np.load(folder / f"{id}.npz") as file:
        return [tuple(row) for row in file["x"].tolist()]


def learnt(learning: Learning, id: str, rounds: int = 20) -> Any:
    """The model after one agent's trainings."""
    trainer, params, rng = learning.make[id](), learning.initial, np.random.default_rng(0)
    for version in range(rounds):
        trainer.update_model_params(dict(params))
        trainer.train_model(TrainingContext(version, {}, rng))
        params = trainer.get_model_params()
    return params


def test_every_row_has_one_owner_or_is_held_out(tmp_path: Path) -> None:
    learning = prepare(small(), blobs(), tmp_path)
    owned = {id: rows_of(tmp_path, id) for id in (*small().ids, "held-out")}
    found = [row for rows in owned.values() for row in rows]
    assert sorted(found) == sorted(tuple(row) for row in blobs().x.tolist())
    assert {id: len(owned[id]) for id in small().ids} == dict(learning.rows)
    assert learning.held_out == len(owned["held-out"]) == 30


def test_seed_decides_which_rows_are_held_out(tmp_path: Path) -> None:
    held: list[list[tuple[float, ...]]] = []
    for number, seed in enumerate((3, 3, 4)):
        folder = tmp_path / str(number)
        folder.mkdir()
        prepare(small(seed=seed), blobs(), folder)
        held.append(rows_of(folder, "held-out"))
    assert held[0] == held[1] != held[2]


def test_training_on_ones_own_rows_raises_the_score_on_those_that_nobody_has(tmp_path: Path) -> None:
    learning = prepare(small(), blobs(), tmp_path)
    assert learning.score(learnt(learning, "fast-1")) > 0.8 > learning.score(learning.initial)


def test_label_that_one_class_has_is_learnt_by_it_alone(tmp_path: Path) -> None:
    learning = prepare(apart(), blobs(), tmp_path)
    with np.load(tmp_path / "fast-1.npz") as fast, np.load(tmp_path / "slow-1.npz") as slow:
        assert set(fast["y"].tolist()) == {0, 1}
        assert set(slow["y"].tolist()) == {2}
    model = learnt(learning, "fast-1")
    assert (learning.score_of(model, "fast") or 0.0) > 0.9
    assert learning.score_of(model, "slow") == 0.0


def test_trainer_that_knows_its_own_rows_only_scores_versions_but_no_class(tmp_path: Path) -> None:
    model = ModelSettings(dataset="rows.npz", trainer="populations:Nearest")
    learning = prepare(small(model=model), blobs(), tmp_path)
    assert 0.0 <= learning.score(learning.initial) <= 1.0
    assert learning.score_of(learning.initial, "fast") is None


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"model": ModelSettings(trainer="gone:Trainer")}, "there is no module 'gone'"),
        ({"model": ModelSettings(arguments={"stepps": 3})}, "unexpected keyword argument 'stepps'"),
        ({"model": ModelSettings(trainer="populations:Mute")}, "has no evaluate_model"),
        (
            {"run": RunSettings(score="auc")},
            "run.score is 'auc', but the trainer's numbers are acc",
        ),
        ({"classes": (SpeedClass(name="many", agents=91),)}, "90 rows are too few for 91 agents"),
        ({"classes": (SpeedClass(name="a", agents=1, labels=("7",)),)}, "no label '7'; there are 0, 1, 2"),
    ],
)
def test_what_cannot_be_learnt_is_refused_before_the_run(
    tmp_path: Path, more: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        prepare(small(**more), blobs(), tmp_path)
    assert said in str(caught.value)
