"""How much an update counts by its staleness (FedAsync, Xie et al. 2019, arXiv 1903.03934, section 5.2).

Staleness τ is the number of versions that were published between an update's base and its merge: 0 for a
fresh update, whose weight is exactly 1 under every choice. This module knows nothing of how τ was measured.
"""

from typing import Annotated

import msgspec


class Constant(msgspec.Struct, frozen=True, tag="constant", tag_field="kind", forbid_unknown_fields=True):
    """s(τ) = 1."""


class Polynomial(msgspec.Struct, frozen=True, tag="polynomial", tag_field="kind", forbid_unknown_fields=True):
    """s(τ) = (1 + τ)^(-a)."""

    a: Annotated[float, msgspec.Meta(gt=0, le=100)] = 0.5


class Hinge(msgspec.Struct, frozen=True, tag="hinge", tag_field="kind", forbid_unknown_fields=True):
    """s(τ) = 1 while τ <= b, then 1 / (a·(τ - b) + 1)."""

    a: Annotated[float, msgspec.Meta(gt=0, le=1e6)] = 10.0
    b: Annotated[float, msgspec.Meta(ge=0, le=1e6)] = 4.0


Staleness = Constant | Polynomial | Hinge


def staleness_weight(staleness: Staleness, tau: int) -> float:
    """The factor s(τ) in (0, 1].

    Args:
        staleness: the choice.
        tau: versions between the update's base and the current version.

    Raises:
        ValueError: τ is negative: the update claims a base newer than the current version.
    """
    if tau < 0:
        raise ValueError(f"staleness is {tau}: an update cannot be newer than the current version")
    match staleness:
        case Constant():
            return 1.0
        case Polynomial(a=a):
            return float((1.0 + tau) ** -a)
        case Hinge(a=a, b=b):
            return 1.0 if tau <= b else 1.0 / (a * (tau - b) + 1.0)


def statistic_weight(staleness: Staleness, tau: int) -> float:
    """The factor for running statistics: min(s(τ), 1 / (1 + τ)).

    A trainer replaces most of a running mean in one go, so Δ is nearly (its own value - the base's), added
    with rate 1. Adding that with a delay of τ versions is stable only below 2·sin(π / (2·(2τ + 1))), which s
    = 1 exceeds from τ = 2 on and 1/sqrt(1 + τ) from τ = 3 on; 1 / (1 + τ) stays below it for every τ.
    """
    return min(staleness_weight(staleness, tau), 1.0 / (1.0 + tau))
