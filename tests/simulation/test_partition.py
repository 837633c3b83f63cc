"""Partitions: every row has one owner, every owner has rows, and each kind does what it says."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.codecs.errors import ConfigError
from antiphon.simulation.partition import Kind, deal, deal_groups

LABELS = np.random.default_rng(0).integers(0, 10, 1000)
KINDS: tuple[Kind, ...] = ("iid", "dirichlet", "label")


def dice(seed: int = 3) -> np.random.Generator:
    return np.random.default_rng(seed)


def entropy(owners: npt.NDArray[Any], agents: int) -> float:
    """How mixed the labels of an agent are, on average; ln 10 at most."""
    found: list[float] = []
    for agent in range(agents):
        counts = np.bincount(LABELS[owners == agent], minlength=10)
        shares = counts[counts > 0] / counts.sum()
        found.append(float(-(shares * np.log(shares)).sum()))
    return float(np.mean(found))


@given(
    kind=st.sampled_from(KINDS),
    rows=st.integers(10, 200),
    agents=st.integers(1, 10),
    alpha=st.sampled_from([1e-9, 0.01, 0.3, 10.0]),
    each=st.integers(1, 12),
    seed=st.integers(0, 2**32),
)
def test_every_row_has_one_owner_and_every_agent_has_rows(
    kind: Kind, rows: int, agents: int, alpha: float, each: int, seed: int
) -> None:
    labels = dice(seed).integers(0, 3, rows)
    each = max(each, -(-3 // agents))
    owners = deal(labels, agents, kind, dice(seed), alpha=alpha, each=each)
    assert owners.shape == (rows,)
    counts = np.bincount(owners, minlength=agents)
    assert len(counts) == agents
    assert counts.min() >= 1


def test_equal_parts_differ_by_one_row_and_are_mixed() -> None:
    owners = deal(LABELS, 7, "iid", dice())
    counts = np.bincount(owners)
    assert counts.max() - counts.min() <= 1
    assert entropy(owners, 7) > 2.1


def test_small_alpha_is_uneven_and_a_large_one_is_even() -> None:
    mixed = [entropy(deal(LABELS, 10, "dirichlet", dice(), alpha=alpha), 10) for alpha in (0.05, 0.5, 1000.0)]
    assert mixed[0] < 1.0 < mixed[1] < 2.0 < mixed[2]


def test_by_label_each_agent_has_so_many_labels_and_shares_them_evenly() -> None:
    owners = deal(LABELS, 15, "label", dice(), each=2)
    assert {len(np.unique(LABELS[owners == agent])) for agent in range(15)} == {2}
    for label in range(10):
        counts = np.bincount(owners[label == LABELS], minlength=15)
        assert counts[counts > 0].max() - counts[counts > 0].min() <= 1
        assert (counts > 0).sum() == 3, "30 places for 10 labels"


def test_more_labels_than_there_are_is_all_of_them() -> None:
    owners = deal(LABELS, 4, "label", dice(), each=50)
    assert {len(np.unique(LABELS[owners == agent])) for agent in range(4)} == {10}


def test_too_few_places_for_the_labels_are_refused() -> None:
    with pytest.raises(ConfigError, match="4 agents with 2 labels each cannot hold 10 labels"):
        deal(LABELS, 4, "label", dice(), each=2)


@pytest.mark.parametrize("kind", KINDS)
def test_who_has_too_few_rows_gets_some_of_the_richest(kind: Kind) -> None:
    owners = deal(LABELS, 20, kind, dice(), alpha=0.01, least=30)
    assert np.bincount(owners, minlength=20).min() >= 30


@pytest.mark.parametrize("kind", KINDS)
def test_too_few_rows_are_refused(kind: Kind) -> None:
    with pytest.raises(ConfigError, match="1000 rows are too few for 300 agents with at least 4"):
        deal(LABELS, 300, kind, dice(), least=4)


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_owners_and_another_seed_others(kind: Kind) -> None:
    first, again, other = (deal(LABELS, 10, kind, dice(seed)) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("kind", KINDS)
def test_labels_of_a_group_are_its_alone(kind: Kind) -> None:
    groups = [(6, frozenset[int]()), (4, frozenset({8, 9})), (2, frozenset[int]())]
    owners = deal_groups(LABELS, groups, kind, dice(), each=2)
    special = (owners >= 6) & (owners < 10)
    assert (special == np.isin(LABELS, [8, 9])).all()
    assert set(np.unique(owners)) == set(range(12))


def test_without_labels_of_their_own_groups_are_dealt_to_as_one() -> None:
    parted = deal_groups(LABELS, [(3, frozenset()), (5, frozenset())], "dirichlet", dice())
    assert (parted == deal(LABELS, 8, "dirichlet", dice())).all()


def test_label_of_two_groups_is_refused() -> None:
    with pytest.raises(ConfigError, match="label 9 belongs to two classes"):
        deal_groups(LABELS, [(1, frozenset({9})), (1, frozenset({8, 9}))], "iid", dice())


def test_rows_that_nobody_may_have_are_refused() -> None:
    with pytest.raises(ConfigError, match="nobody may have the rows of label 0"):
        deal_groups(LABELS, [(1, frozenset({8, 9}))], "iid", dice())
