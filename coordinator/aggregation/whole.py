"""A flush on a whole model in memory: for users with named arrays, for tests and simulations.

The coordinator does the same range by range without holding an update; both give the same bits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.codecs.errors import Rejected
from antiphon.codecs.schema import Schema
from antiphon.coordinator.aggregation.anchor import Current
from antiphon.coordinator.aggregation.history import Arrival, RuleState
from antiphon.coordinator.aggregation.merge import merge_range
from antiphon.coordinator.aggregation.plan import Plan, plan
from antiphon.coordinator.aggregation.rule import Rule
from antiphon.coordinator.aggregation.step import StepState

Params = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class TrainedUpdate:
    """What an agent trained, with what it trained from.

    Attributes:
        agent: the sender.
        params: its model after training.
        base: the version it trained from: Δ is ``params`` - ``base``, never against the current model.
        base_number: that version's number.
        examples: examples it was trained on.
    """

    agent: str
    params: Params
    base: Params
    base_number: int
    examples: int = 1


@dataclass(frozen=True, slots=True)
class Aggregated:
    """A new version and what belongs to it.

    Attributes:
        params: the new model, in the old one's dtypes and shapes.
        step_state: the optimiser after the step; save it with the model.
        plan: the flush's numbers; ``plan.state`` is the rule's memory after it.
    """

    params: dict[str, NDArray[Any]]
    step_state: StepState
    plan: Plan


def aggregate_params(
    rule: Rule,
    state: RuleState,
    step_state: StepState,
    schema: Schema,
    model: Params,
    updates: Sequence[TrainedUpdate],
    *,
    version: int,
    k: int = 1,
    now: float | None = None,
) -> Aggregated:
    """Merge updates into a model. Nothing that is passed in changes.

    Args:
        rule: the rule.
        state: its memory; `history.admitted` was called for each update when it arrived.
        step_state: the optimiser (`history.init_step` for a new model).
        schema: the model's.
        model: the current version.
        updates: in ledger order, at most one of an agent.
        version: number of the current version.
        k: K of the rule (`Decision.k`); the mean divides by it or by the number of updates if that is larger.
        now: seconds; see `plan`.

    Returns:
        The new version. Integer and boolean tensors stay the model's own unless the schema says "max".

    Raises:
        Rejected: an update holds a number that is not finite, or the result would not be.
        SchemaError: a tensor is missing, unknown, or of another shape or dtype.
        ValueError: see `plan` and `merge.merge_range`.
    """
    vector, exact = schema.pack(model)
    arrivals: list[Arrival] = []
    deltas: list[NDArray[Any]] = []
    bases: list[NDArray[Any]] = []
    sections: list[bytes] = []
    for update in updates:
        trained, section = schema.pack(update.params)
        base, _ = schema.pack(update.base)
        delta = _delta(update.agent, trained, base)
        arrivals.append(
            Arrival(update.agent, update.base_number, update.examples, 0.0, sumsq=_sum_of_squares(delta))
        )
        deltas.append(delta)
        bases.append(base)
        sections.append(section)
    planned = plan(rule, state, arrivals, version, k, now)
    moved, vectors = merge_range(
        rule,
        planned,
        schema.spans(0, schema.blocks),
        0,
        vector,
        deltas,
        bases if isinstance(rule.anchor, Current) else None,
        step_state.vectors,
    )
    return Aggregated(
        params=schema.unpack(moved, schema.merge_exact(exact, sections)),
        step_state=StepState(vectors, step_state.t + 1),
        plan=planned,
    )


def _delta(agent: str, trained: NDArray[Any], base: NDArray[Any]) -> NDArray[Any]:
    with np.errstate(over="ignore", invalid="ignore"):
        delta = np.subtract(trained, base)
    if not np.isfinite(delta).all():
        raise Rejected("not-finite", f"the update of {agent} holds a NaN or an infinity")
    return delta


def _sum_of_squares(delta: NDArray[Any]) -> float:
    wide = delta.astype(np.float64)
    return float(np.add.reduce(wide * wide))
