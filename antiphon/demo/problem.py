"""What a demo is about: who has which rows, what they train, and how good a model is on rows that nobody has.

A problem is a value; the files that the processes read are written from it, one folder a bank.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from antiphon.agents.trainer import TrainingContext
from antiphon.agents.trainers.data import Dataset
from antiphon.agents.trainers.gradient_trainer import GradientTrainer

Params = Mapping[str, npt.NDArray[Any]]

SLOW, KILLED, LATE = 2, 1, 5
"""Places of the banks that are 20 times slower, killed half way, and late."""


@dataclass(frozen=True, slots=True)
class Bank:
    """One data holder: its agent's id, its name for people, and its rows as numbers."""

    id: str
    title: str
    rows: Dataset


@dataclass(frozen=True, slots=True)
class Problem:
    """A data set, split among banks.

    Attributes:
        name: For the federation's name.
        title: For people.
        holder: What a data holder is called, "bank" or "site".
        score: The number that counts: "AUC" or "accuracy".
        banks: The data holders; the places `SLOW`, `KILLED`, `LATE` play their parts.
        test: Held-out rows, common to all comparisons; in nobody's folder.
        make: Rows -> the trainer that agents use, with settings that take it to its optimum in one training;
            so "alone" and "pooled" are what this trainer can do at best.
        trainer: Reference of the agents' trainer factory.
        arguments: What the factory gets besides the data, the same for all.
        weighting: The lines of ``coordinator.toml`` that say what an update's age, or its agent's rate, means
            for its weight.
        data: Name of a bank's data file.
        write: (place of a bank, its folder): writes its data file and those that all share.
    """

    name: str
    title: str
    holder: str
    score: str
    banks: tuple[Bank, ...]
    test: Dataset
    make: Callable[[Dataset], GradientTrainer]
    trainer: str
    arguments: Mapping[str, str]
    weighting: str
    data: str
    write: Callable[[int, Path], None]

    @property
    def pooled(self) -> Dataset:
        """The rows of all banks together: what no bank would give away."""
        parts = [bank.rows for bank in self.banks]
        x, y = np.vstack([part.x for part in parts]), np.concatenate([part.y for part in parts])
        return Dataset(x, y, self.test.classes)

    @property
    def reference(self) -> float:
        """The usual number of examples of an update: the mean over banks."""
        return len(self.pooled) / len(self.banks)

    def initial(self) -> Params:
        """Version 0."""
        return self.make(self.test).get_model_params()

    def judge(self, params: Params) -> float:
        """The score of a model on the held-out rows."""
        trainer = self.make(self.test)
        trainer.update_model_params(params)
        return trainer.judge(self.test)[self.score.lower()]

    def best(self, rows: Dataset) -> float:
        """The score of the agents' trainer, trained on these rows alone until it gains nothing more."""
        trainer = self.make(rows)
        trainer.train_model(TrainingContext(version=0, hints={}, rng=np.random.default_rng(0)))
        return trainer.judge(self.test)[self.score.lower()]


def halves(count: int, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the numbers of the training rows and of the held-out quarter, both ascending."""
    order = np.random.default_rng(seed).permutation(count)
    cut = count // 4
    return np.sort(order[cut:]), np.sort(order[:cut])
