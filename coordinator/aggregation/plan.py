"""What each update of a flush is multiplied with: numbers, stored in the ledger before any value moves.

weight_i = s(τ_i)·f_i·e_i >= 0, one scalar an update; `merge.merge_range` applies the plan range by range, and
a replay uses the stored one. Nothing here reads an update's values.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from antiphon.coordinator.aggregation.combine import mean_scalars
from antiphon.coordinator.aggregation.examples import example_weights
from antiphon.coordinator.aggregation.fairness import fairness_weight
from antiphon.coordinator.aggregation.history import Arrival, Presence, RuleState
from antiphon.coordinator.aggregation.rule import Rule
from antiphon.coordinator.aggregation.staleness import staleness_weight, statistic_weight
from antiphon.coordinator.aggregation.step import step_scale


@dataclass(frozen=True, slots=True)
class Plan:
    """The numbers of one flush; tuples run over its updates in ledger order.

    Attributes:
        scalars: what a weight tensor's value is multiplied with: weight / max(K, k).
        statistic_scalars: the same for running statistics; they sum to at most 1.
        step_scale: factor on the step's rate.
        taus: staleness in versions, measured now.
        weights: s·f·e, before the division.
        k: K of the rule.
        state: the rule's memory after the flush.
    """

    scalars: tuple[float, ...]
    statistic_scalars: tuple[float, ...]
    step_scale: float
    taus: tuple[int, ...]
    weights: tuple[float, ...]
    k: int
    state: RuleState


def plan(
    rule: Rule,
    state: RuleState,
    arrivals: Sequence[Arrival],
    version: int,
    k: int,
    now: float | None = None,
) -> Plan:
    """Plan a flush.

    Args:
        rule: the rule.
        state: its memory, all arrivals admitted.
        arrivals: the buffer in ledger order, at most one update of an agent.
        version: number of the current version, the one that the updates are merged *into*: an update trained
            from it is fresh (τ = 0).
        k: K of the rule at the flush (`Decision.k`).
        now: seconds; remembered as the begin of the next buffer. None leaves the memory's.

    Raises:
        ValueError: no arrivals, two of one agent, K < 1, or a base newer than ``version``.
    """
    agents = [arrival.agent for arrival in arrivals]
    if not agents or len(set(agents)) != len(agents) or k < 1:
        raise ValueError(f"a flush needs one update each of one or more agents and K >= 1, not {agents}, {k}")
    taus = tuple(version - arrival.base_number for arrival in arrivals)
    fair = _fairness_weights(rule, state, agents)
    parts = example_weights(rule.examples, [arrival.examples for arrival in arrivals])
    weights = tuple(
        staleness_weight(rule.staleness, tau) * share * part
        for tau, share, part in zip(taus, fair, parts, strict=True)
    )
    return Plan(
        scalars=mean_scalars(weights, k),
        statistic_scalars=_statistic_scalars(rule, taus, parts),
        step_scale=step_scale(rule.step, len(arrivals), k, max(taus)),
        taus=taus,
        weights=weights,
        k=k,
        state=replace(
            state,
            flushes=state.flushes + 1,
            flushed_at=state.flushed_at if now is None else now,
        ),
    )


def _fairness_weights(rule: Rule, state: RuleState, agents: Sequence[str]) -> list[float]:
    """f_i. An agent that was forgotten while its update waited weighs what one that joins does."""
    seen = {presence.agent: presence for presence in state.presences}
    count = max(1, len(seen))
    joined = Presence("", updates=1, turns=1.0, last=0)
    senders = [seen.get(agent, joined) for agent in agents]
    return [fairness_weight(rule.fairness, sender.updates, sender.turns, count) for sender in senders]


def _statistic_scalars(rule: Rule, taus: Sequence[int], parts: Sequence[float]) -> tuple[float, ...]:
    """e_i / Σe times min(s(τ_i), 1 / (1 + τ_i)): a weighted mean of what arrived, shrunk where it is stale.

    Not divided by K: a statistic is the mean of those who answered, however few. Fairness stays out.
    """
    total = sum(parts)
    shares = [part / total for part in parts] if total > 0 else [1.0 / len(parts)] * len(parts)
    return tuple(
        share * statistic_weight(rule.staleness, tau) for share, tau in zip(shares, taus, strict=True)
    )
