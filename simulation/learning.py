"""What the agents of a population learn, on which rows, and how good a model is.

Trainers are made as ``antiphon agent --trainer ... --data rows.npz`` makes them, each on a file with its own
rows; nobody has the held-out rows. The files are written once, into a folder that the caller throws away.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from antiphon.agents.loading import load_trainer
from antiphon.agents.trainer import Array, Evaluates, Trainer
from antiphon.agents.trainers.data import Dataset
from antiphon.codecs.errors import ConfigError
from antiphon.simulation.partition import deal_groups
from antiphon.simulation.population import Population

HELD_OUT, PARTITION = 1, 2
"""Names of the generators that are drawn from here; those of the delays are others."""

Params = Mapping[str, Array]


@runtime_checkable
class Judge(Protocol):
    """A trainer that can judge its model on any rows, as those that come with Antiphon do."""

    def judge(self, rows: Dataset) -> Mapping[str, float]:
        """Return numbers about the parameters taken over last."""
        ...


@dataclass(frozen=True, slots=True)
class Learning:
    """Rows dealt out, and trainers to be made.

    Attributes:
        initial: Version 0.
        make: Makes an agent's trainer, by id.
        rows: How many rows each agent has, by id.
        held_out: How many rows nobody has.
        score: Model -> its score on the held-out rows.
        score_of: (model, a class's name) -> its score on the rows of that class's agents; None if the trainer
            judges only rows of its own.
    """

    initial: Params
    make: Mapping[str, Callable[[], Trainer]]
    rows: Mapping[str, int]
    held_out: int
    score: Callable[[Params], float]
    score_of: Callable[[Params, str], float | None]


def prepare(population: Population, rows: Dataset, folder: Path) -> Learning:
    """Hold rows out, deal the others out, and find the first model.

    Args:
        population: Who takes part.
        rows: Of the data set.
        folder: For the agents' files; must exist while agents are made.

    Raises:
        ConfigError: The trainer does not exist or does not fit the rows, a label is unknown, or there are too
            few rows.
        TrainerError: The trainer's factory raised.
    """
    training, held_out = _hold_out(rows, population)
    owners = _deal(training, population)
    files: dict[str, Path] = {}
    for number, id in enumerate(population.ids):
        files[id] = _write(folder / f"{id}.npz", training.take(np.flatnonzero(owners == number)))
    judge = _trainer(population, _write(folder / "held-out.npz", held_out))
    initial = {name: np.array(value) for name, value in judge.get_model_params().items()}
    owned = _rows_of_classes(population, training, owners)

    def score_of(params: Params, name: str) -> float | None:
        return _score(judge, params, owned[name], population) if isinstance(judge, Judge) else None

    learning = Learning(
        initial=initial,
        make={id: lambda path=path: _trainer(population, path) for id, path in files.items()},
        rows=dict(zip(population.ids, np.bincount(owners, minlength=len(files)).tolist(), strict=True)),
        held_out=len(held_out),
        score=lambda params: _score(judge, params, held_out, population),
        score_of=score_of,
    )
    learning.score(initial)  # what cannot be scored is refused before hours of training
    return learning


def _hold_out(rows: Dataset, population: Population) -> tuple[Dataset, Dataset]:
    order = np.random.default_rng([population.seed, HELD_OUT]).permutation(len(rows))
    cut = max(1, round(len(rows) * population.data.held_out))
    return rows.take(np.sort(order[cut:])), rows.take(np.sort(order[:cut]))


def _deal(training: Dataset, population: Population) -> npt.NDArray[Any]:
    numbers = {name: number for number, name in enumerate(training.classes)}
    groups: list[tuple[int, frozenset[int]]] = []
    for each in population.classes:
        for label in each.labels:
            if label not in numbers:
                known = ", ".join(numbers)
                raise ConfigError(f"class {each.name!r}: there is no label {label!r}; there are {known}")
        groups.append((each.agents, frozenset(numbers[label] for label in each.labels)))
    data = population.data
    return deal_groups(
        training.y,
        groups,
        data.partition,
        np.random.default_rng([population.seed, PARTITION]),
        alpha=data.alpha,
        each=data.labels,
        least=data.least,
    )


def _rows_of_classes(
    population: Population, training: Dataset, owners: npt.NDArray[Any]
) -> Mapping[str, Dataset]:
    found: dict[str, Dataset] = {}
    first = 0
    for each in population.classes:
        found[each.name] = training.take((owners >= first) & (owners < first + each.agents))
        first += each.agents
    return found


def _write(path: Path, rows: Dataset) -> Path:
    np.savez(path, x=rows.x, y=rows.y, classes=np.array(rows.classes))
    return path


def _trainer(population: Population, data: Path) -> Trainer:
    model = population.model
    arguments: dict[str, Any] = {"data": str(data), **model.arguments}
    if ":" not in model.trainer:
        arguments = {"seed": population.seed, **arguments}
    return load_trainer(model.factory, arguments)


def _score(judge: Trainer, params: Params, rows: Dataset, population: Population) -> float:
    judge.update_model_params(params)
    if isinstance(judge, Judge):
        numbers = judge.judge(rows)
    elif isinstance(judge, Evaluates):
        numbers = judge.evaluate_model()
    else:
        raise ConfigError(f"{population.model.trainer} has no evaluate_model(): nothing could be scored")
    if population.run.score not in numbers:
        known = ", ".join(sorted(numbers)) or "none"
        raise ConfigError(f"run.score is {population.run.score!r}, but the trainer's numbers are {known}")
    return float(numbers[population.run.score])
