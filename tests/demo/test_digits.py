"""Eight sites that see different digits."""

import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from antiphon.agents.trainers.data import open_rows
from antiphon.codecs.errors import ConfigError
from antiphon.coordinator.aggregation.fairness import InverseRate
from antiphon.coordinator.aggregation.presets import build_rule
from antiphon.coordinator.aggregation.staleness import Polynomial
from antiphon.demo.digits import digits


def test_sites_see_different_digits_and_every_one_sees_some(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    problem = digits(0)
    assert len(problem.banks) == 8
    assert sum(len(bank.rows) for bank in problem.banks) + len(problem.test) == 1797
    assert min(len(bank.rows) for bank in problem.banks) >= 10
    counts = np.array([np.bincount(bank.rows.y, minlength=10) for bank in problem.banks])
    assert (counts == 0).sum() > 5  # uneven on purpose

    problem.write(3, tmp_path)
    rows = open_rows(tmp_path / problem.data, "")
    np.testing.assert_allclose(rows.x, problem.banks[3].rows.x, atol=1e-7)
    assert rows.classes == problem.test.classes  # even those that this site has never seen


def test_accuracy_of_an_untrained_model_is_poor() -> None:
    pytest.importorskip("sklearn")
    problem = digits(1)
    assert problem.judge(problem.initial()) < 0.4


def test_without_scikit_learn_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ConfigError, match=r"antiphon\[sklearn\]"):
        digits(0)


def test_an_answer_counts_by_its_sites_rate_and_by_its_age() -> None:
    pytest.importorskip("sklearn")
    rule = build_rule("fedbuff", tomllib.loads(digits(0).weighting))
    assert rule.fairness == InverseRate()
    assert rule.staleness == Polynomial()
