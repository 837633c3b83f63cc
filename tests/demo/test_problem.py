"""Problems as values."""

import numpy as np
import pytest

from antiphon.demo.problem import Problem, halves


def test_a_quarter_is_held_out_and_no_row_is_on_both_sides() -> None:
    training, held_out = halves(1000, 3)
    assert len(held_out) == 250
    assert sorted([*training.tolist(), *held_out.tolist()]) == list(range(1000))
    assert halves(1000, 3)[1].tolist() == held_out.tolist() != halves(1000, 4)[1].tolist()


def test_pooled_rows_are_all_banks_rows(problem: Problem) -> None:
    assert len(problem.pooled) == sum(len(bank.rows) for bank in problem.banks) == 750
    assert problem.reference == pytest.approx(93.75)


def test_model_that_knows_nothing_scores_one_half_and_the_pooled_one_much_better(problem: Problem) -> None:
    assert problem.judge(problem.initial()) == 0.5
    assert problem.best(problem.pooled) > 0.75


def test_best_has_converged(problem: Problem) -> None:
    """Ten times the steps would not change the comparison: the slope at the end is nearly zero."""
    from antiphon.agents.trainer import TrainingContext

    trainer = problem.make(problem.pooled)
    context = TrainingContext(0, {}, np.random.default_rng(0))
    trainer.train_model(context)
    once = trainer.judge(problem.test)
    trainer.train_model(context)
    assert trainer.judge(problem.test)["auc"] == pytest.approx(once["auc"], abs=2e-3)
    assert trainer.judge(problem.test)["log_loss"] == pytest.approx(once["log_loss"], abs=1e-3)
