"""How much an update counts by how often its agent answers.

Slow agents answer less often and so move the model less; staleness weights make that worse. The inverse of an
agent's observed share of arrivals removes the bias (inverse propensity weights; Horvitz and Thompson 1952).
Weights are not renormalised within a buffer: an update's weight must not depend on its neighbours.

The share is observed from an agent's first update on, not over the run: an agent that joins late was not slow
before, and would weigh N times as much as others at first.
"""

from typing import Annotated

import msgspec


class NoFairness(msgspec.Struct, frozen=True, tag="none", tag_field="kind", forbid_unknown_fields=True):
    """f = 1."""


class InverseRate(
    msgspec.Struct, frozen=True, tag="inverse-rate", tag_field="kind", forbid_unknown_fields=True
):
    """f_i = min((1/N) / p_i, clip).

    p_i is the agent's share of the admitted updates since it joined and N the agents at work: 1 / p_i is the
    mean gap between its updates, counted in updates of everybody, and (1/N) / p_i the mean of gap / N. Each
    gap is divided by the N of its time: else everybody's weight would jump when somebody joins or leaves.
    The first update stands for a gap of N, an equal share, and weighs 1. ``clip`` is N when it is None. A
    smaller one leaves a bias: an agent that is 20 times slower than seven others needs 17.6 of N = 8.
    """

    clip: Annotated[float, msgspec.Meta(ge=1, le=1e6)] | None = None


Fairness = NoFairness | InverseRate


def fairness_weight(fairness: Fairness, updates: int, turns: float, agents: int) -> float:
    """The factor f > 0 for an update.

    Args:
        fairness: the choice.
        updates: n, the sender's admitted updates since it joined, this one included; >= 1.
        turns: sum over them of gap / N, 1 for the first; > 0.
        agents: N, the agents at work, the sender included; >= 1.
    """
    match fairness:
        case NoFairness():
            return 1.0
        case InverseRate(clip=clip):
            return min(turns / updates, float(agents) if clip is None else clip)
