"""How much an update counts by how often its agent answers.

Slow agents answer less often and so move the model less; staleness weights make that worse. The inverse of an
agent's observed share of arrivals removes the bias (inverse propensity weights; Horvitz and Thompson 1952).
Weights are not renormalised within a buffer: an update's weight must not depend on its neighbours.
"""

from collections.abc import Mapping
from typing import Annotated

import msgspec


class NoFairness(msgspec.Struct, frozen=True, tag="none", tag_field="kind", forbid_unknown_fields=True):
    """f = 1."""


class InverseRate(
    msgspec.Struct, frozen=True, tag="inverse-rate", tag_field="kind", forbid_unknown_fields=True
):
    """f_i = min((1/N) / p_i, clip).

    p_i is the agent's share of all admitted updates of the run, N the number of agents seen in it. ``clip``
    is N when it is None. A smaller one leaves a bias: an agent that is 20 times slower than seven others
    needs 17.6 of N = 8.
    """

    clip: Annotated[float, msgspec.Meta(ge=1, le=1e6)] | None = None


Fairness = NoFairness | InverseRate


def fairness_weight(fairness: Fairness, counts: Mapping[str, int], agent: str) -> float:
    """The factor f > 0 for an update of ``agent``.

    Args:
        fairness: the choice.
        counts: admitted updates by agent, over the run, this update included.
        agent: the sender.

    Raises:
        ValueError: the agent has no admitted update (`antiphon.coordinator.aggregation.history.admitted` was
            not called for it), so its rate is unknown.
    """
    match fairness:
        case NoFairness():
            return 1.0
        case InverseRate(clip=clip):
            count = counts.get(agent, 0)
            if count < 1:
                raise ValueError(f"no admitted update of {agent!r}: its rate is unknown")
            agents = len(counts)
            return min(sum(counts.values()) / (agents * count), float(agents) if clip is None else clip)
