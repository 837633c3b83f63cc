"""Eight banks, each with the customers of its own kind of loan."""

import csv
from pathlib import Path

import numpy as np

from antiphon.agents.trainers.data import open_rows
from antiphon.demo.credit import BANKS, credit
from antiphon.demo.problem import Problem


def test_every_training_row_belongs_to_exactly_one_bank(problem: Problem) -> None:
    assert [bank.id for bank in problem.banks] == [id for id, _, _ in BANKS]
    together = np.vstack([problem.pooled.x, problem.test.x])
    assert together.shape == (1000, 57)


def test_what_a_bank_reads_from_its_folder_is_what_it_has_and_nothing_else(
    problem: Problem, tmp_path: Path
) -> None:
    problem.write(5, tmp_path)
    path = tmp_path / problem.data
    rows = open_rows(path, tmp_path / "columns.toml")
    np.testing.assert_array_equal(rows.x, problem.banks[5].rows.x)
    np.testing.assert_array_equal(rows.y, problem.banks[5].rows.y)
    with path.open(newline="") as file:
        assert {row["purpose"] for row in csv.DictReader(file)} <= {"education", "retraining"}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["columns.toml", "customers.csv"]


def test_another_seed_holds_out_other_rows(problem: Problem) -> None:
    assert not np.array_equal(credit(1).test.x, problem.test.x)
    assert np.array_equal(credit(0).test.x, problem.test.x)
