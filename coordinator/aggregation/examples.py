"""How much an update counts by the number of examples it was trained on.

`Shares` is FedAvg's p_i = n_i / Σn (McMahan et al. 2017, arXiv 1602.05629) and belongs to rounds: among the
members of an asynchronous buffer it would make an update's weight depend on who else happens to be there.
There `Bounded` compares with a fixed reference instead. Counts are what agents say, so both can be bounded.
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec


class NoExamples(msgspec.Struct, frozen=True, tag="none", tag_field="kind", forbid_unknown_fields=True):
    """e = 1."""


class Bounded(msgspec.Struct, frozen=True, tag="bounded", tag_field="kind", forbid_unknown_fields=True):
    """e_i = min(n_i / reference, bound): the reference is the usual number of examples of an update."""

    reference: Annotated[float, msgspec.Meta(gt=0, le=1e18)]
    bound: Annotated[float, msgspec.Meta(gt=0, le=1e6)] = 10.0


class Shares(msgspec.Struct, frozen=True, tag="shares", tag_field="kind", forbid_unknown_fields=True):
    """e_i = k·n_i / Σn over the k updates of the round; n_i counts at most ``limit`` where that is set.

    Divided by max(K, k) this is p_i = n_i / Σn of a full quorum. When every n is 0 all count alike.
    """

    limit: Annotated[int, msgspec.Meta(ge=1, le=10**18)] | None = None


Examples = NoExamples | Bounded | Shares


def example_weights(examples: Examples, counts: Sequence[int]) -> tuple[float, ...]:
    """The factors e >= 0 of a buffer's updates, in their order.

    Args:
        examples: the choice.
        counts: the number of examples of each update.

    Raises:
        ValueError: a count is negative.
    """
    if any(count < 0 for count in counts):
        raise ValueError(f"a number of examples is negative: {list(counts)}")
    match examples:
        case NoExamples():
            return (1.0,) * len(counts)
        case Bounded(reference=reference, bound=bound):
            return tuple(min(count / reference, bound) for count in counts)
        case Shares(limit=limit):
            held = [count if limit is None else min(count, limit) for count in counts]
            total = sum(held)
            return tuple(len(held) * count / total for count in held) if total else (1.0,) * len(held)
