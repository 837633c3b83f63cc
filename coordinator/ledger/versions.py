"""What belongs to a version besides its numbers, as bytes, and back: rule, plan, memory, publications.

Pure. A rule is stored by the names of its choices, so that a version is replayed by its own rule whatever the
settings say today. MessagePack throughout: times begin with minus infinity, which JSON cannot say.
"""

from typing import TypeVar

import msgspec

from antiphon.coordinator.aggregation.history import RuleState, init_state
from antiphon.coordinator.aggregation.plan import Plan
from antiphon.coordinator.aggregation.rule import Rule
from antiphon.coordinator.ledger.records import Memory
from antiphon.coordinator.publication import Publication

T = TypeVar("T")


class _Plan(msgspec.Struct, frozen=True, array_like=True):
    """A plan without the rule's memory, which is stored once and not with every version."""

    scalars: tuple[float, ...]
    statistic_scalars: tuple[float, ...]
    step_scale: float
    taus: tuple[int, ...]
    weights: tuple[float, ...]
    k: int


def encode_rule(rule: Rule) -> bytes:
    """Return a rule as bytes."""
    return msgspec.msgpack.encode(rule)


def decode_rule(data: bytes) -> Rule:
    """Return a rule.

    Raises:
        ValueError: It has a choice that this version of Antiphon does not know, or is damaged.
    """
    return msgspec.msgpack.decode(data, type=Rule)


def encode_plan(plan: Plan) -> bytes:
    """Return the scalars of a flush as bytes."""
    return msgspec.msgpack.encode(
        _Plan(plan.scalars, plan.statistic_scalars, plan.step_scale, plan.taus, plan.weights, plan.k)
    )


def decode_plan(data: bytes) -> Plan:
    """Return the scalars of a flush; its ``state`` is empty.

    Raises:
        ValueError: The bytes are damaged.
    """
    kept = msgspec.msgpack.decode(data, type=_Plan)
    return Plan(
        kept.scalars,
        kept.statistic_scalars,
        kept.step_scale,
        kept.taus,
        kept.weights,
        kept.k,
        init_state(),
    )


def encode(value: RuleState | Memory | Publication) -> bytes:
    """Return a value of plain fields as bytes."""
    return msgspec.msgpack.encode(value)


def decode(data: bytes, kind: type[T]) -> T:
    """Return a value of plain fields.

    Raises:
        ValueError: The bytes are damaged.
    """
    return msgspec.msgpack.decode(data, type=kind)
