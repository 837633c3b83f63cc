"""Which agent has which rows: dealt out evenly, by a Dirichlet draw, or by label.

Guaranteed: every row has exactly one owner, every agent has at least as many rows as asked for, and the
labels of a group of agents that has labels of its own go to that group alone. Pure functions of numbers and a
generator.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from antiphon.codecs.errors import ConfigError

Array = npt.NDArray[Any]
Kind = Literal["iid", "dirichlet", "label"]


def deal(
    labels: Array,
    agents: int,
    kind: Kind,
    rng: np.random.Generator,
    *,
    alpha: float = 0.5,
    each: int = 2,
    least: int = 1,
) -> Array:
    """Deal rows out to agents.

    Args:
        labels: Class number of each row, shape (n,).
        agents: How many.
        kind: "iid": shuffled and cut into equal parts, which differ by one row at most. "dirichlet": each
            label's rows are cut in proportions from Dirichlet(alpha, ..., alpha) (Hsu et al. 2019, arXiv
            1909.06335). "label": each agent has ``each`` different labels, and shares the rows of a label
            evenly with the others that have it (the pathological split of McMahan et al. 2017, arXiv
            1602.05629).
        rng: Decides who gets what.
        alpha: Small is uneven.
        each: Labels of an agent; fewer where there are fewer.
        least: Rows that each agent has at least; whoever has most gives them up, whatever their label.

    Returns:
        The owner of each row, 0 to ``agents - 1``, shape (n,), int64.

    Raises:
        ConfigError: Not enough rows, or more labels than the agents can take.
    """
    if len(labels) < agents * least:
        raise ConfigError(
            f"{len(labels)} rows are too few for {agents} agents with at least {least}: "
            "use fewer agents or more rows"
        )
    match kind:
        case "iid":
            owners = _even(len(labels), agents, rng)
        case "dirichlet":
            owners = _dirichlet(labels, agents, alpha, rng)
        case "label":
            owners = _by_label(labels, agents, each, rng)
    return _top_up(owners, agents, least, rng)


def deal_groups(
    labels: Array,
    groups: Sequence[tuple[int, frozenset[int]]],
    kind: Kind,
    rng: np.random.Generator,
    *,
    alpha: float = 0.5,
    each: int = 2,
    least: int = 1,
) -> Array:
    """Deal rows out to agents, some groups of which have labels of their own.

    Args:
        labels: As for `deal`.
        groups: (number of agents, its own labels), agents being numbered from the first group on. Groups
            without labels of their own share what no group has.
        kind, rng, alpha, each, least: As for `deal`.

    Returns:
        As `deal`.

    Raises:
        ConfigError: As `deal`; or two groups have the same label, or rows are left that nobody may have.
    """
    owned = _owned(groups)
    counts = [count for count, _ in groups]
    numbers = np.split(np.arange(sum(counts)), np.cumsum(counts)[:-1])
    alike = list(zip(numbers, (labelled for _, labelled in groups), strict=True))
    parts = [(own, sorted(labelled)) for own, labelled in alike if labelled]
    if shared := [own for own, labelled in alike if not labelled]:
        common = [int(label) for label in np.unique(labels) if int(label) not in owned]
        parts.insert(0, (np.concatenate(shared), common))
    owners = np.full(len(labels), -1, dtype=np.int64)
    for own, theirs in parts:
        rows = np.flatnonzero(np.isin(labels, theirs))
        owners[rows] = own[deal(labels[rows], len(own), kind, rng, alpha=alpha, each=each, least=least)]
    if (owners < 0).any():
        left = sorted({int(label) for label in labels[owners < 0]})
        raise ConfigError(
            f"nobody may have the rows of label {left[0]}: "
            "give it to a class, or have a class without labels of its own"
        )
    return owners


def _owned(groups: Sequence[tuple[int, frozenset[int]]]) -> Mapping[int, int]:
    owned: dict[int, int] = {}
    for place, (_, labelled) in enumerate(groups):
        for label in sorted(labelled):
            if label in owned:
                raise ConfigError(f"label {label} belongs to two classes: give it to one")
            owned[label] = place
    return owned


def _even(rows: int, agents: int, rng: np.random.Generator) -> Array:
    owners = np.empty(rows, dtype=np.int64)
    for agent, part in enumerate(np.array_split(rng.permutation(rows), agents)):
        owners[part] = agent
    return owners


def _dirichlet(labels: Array, agents: int, alpha: float, rng: np.random.Generator) -> Array:
    owners = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        ends: Array = np.cumsum(rng.dirichlet(np.full(agents, alpha))) * len(rows)
        cuts = np.round(ends[:-1]).astype(np.int64)
        for agent, part in enumerate(np.split(rows, cuts)):
            owners[part] = agent
    return owners


def _by_label(labels: Array, agents: int, each: int, rng: np.random.Generator) -> Array:
    present = rng.permutation(np.unique(labels))
    each = min(each, len(present))
    if agents * each < len(present):
        raise ConfigError(
            f"{agents} agents with {each} labels each cannot hold {len(present)} labels: raise labels"
        )
    # the labels in a circle, of which every agent takes the next few: all different, none left out
    takers: dict[int, list[int]] = {int(label): [] for label in present}
    for place, agent in enumerate(rng.permutation(agents)):
        for step in range(each):
            takers[int(present[(place * each + step) % len(present)])].append(int(agent))
    owners = np.empty(len(labels), dtype=np.int64)
    for label, holders in takers.items():
        rows = rng.permutation(np.flatnonzero(labels == label))
        for agent, part in zip(holders, np.array_split(rows, len(holders)), strict=True):
            owners[part] = agent
    return owners


def _top_up(owners: Array, agents: int, least: int, rng: np.random.Generator) -> Array:
    """Let whoever has most give a row to whoever has too few; the sum suffices, so this ends."""
    counts = np.bincount(owners, minlength=agents)
    for agent in np.flatnonzero(counts < least):
        while counts[agent] < least:
            richest = int(counts.argmax())
            owners[rng.choice(np.flatnonzero(owners == richest))] = agent
            counts[richest] -= 1
            counts[agent] += 1
    return owners
