"""A rule: one choice on each axis, and which combinations have a formula.

A combination runs when ``docs/aggregation.md`` has a row for it with a formula and a vector; any other is
refused with the nearest that runs. `ROWS` is that table.
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType

import msgspec

from antiphon.codecs.errors import ConfigError
from antiphon.coordinator.aggregation.anchor import Anchor, Base, Current
from antiphon.coordinator.aggregation.combine import Combine, Mean
from antiphon.coordinator.aggregation.examples import Examples, NoExamples
from antiphon.coordinator.aggregation.fairness import Fairness, NoFairness
from antiphon.coordinator.aggregation.staleness import Polynomial, Staleness
from antiphon.coordinator.aggregation.step import Add, Step
from antiphon.coordinator.aggregation.trigger import Trigger, Updates


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How updates become versions; the defaults are FedBuff's. Build one with `presets.build_rule`."""

    trigger: Trigger = Updates()
    anchor: Anchor = Base()
    staleness: Staleness = Polynomial()
    fairness: Fairness = NoFairness()
    examples: Examples = NoExamples()
    combine: Combine = Mean()
    step: Step = Add()


AXES: Mapping[str, object] = MappingProxyType(
    {
        "trigger": Trigger,
        "anchor": Anchor,
        "staleness": Staleness,
        "fairness": Fairness,
        "examples": Examples,
        "combine": Combine,
        "step": Step,
    }
)
"""The axes and the type of their choices."""

_ANY_STEP = ("add", "momentum", "adam", "yogi", "adagrad", "amsgrad")
_ANY_STALENESS = ("constant", "polynomial", "hinge")

ROWS: tuple[Mapping[str, tuple[str, ...]], ...] = (
    {  # buffers and rounds of Δ against the base
        "trigger": ("updates", "every", "quorum"),
        "anchor": ("base",),
        "staleness": _ANY_STALENESS,
        "fairness": ("none", "inverse-rate"),
        "examples": ("none", "bounded"),
        "combine": ("mean",),
        "step": _ANY_STEP,
    },
    {  # rounds weighted by examples: shares of a buffer mean something only when the buffer is a round
        "trigger": ("quorum",),
        "anchor": ("base",),
        "staleness": _ANY_STALENESS,
        "fairness": ("none",),
        "examples": ("shares",),
        "combine": ("mean",),
        "step": _ANY_STEP,
    },
    {  # mixing into the current model: weights stay at most 1, so that it is an interpolation
        "trigger": ("every", "updates"),
        "anchor": ("current",),
        "staleness": _ANY_STALENESS,
        "fairness": ("none",),
        "examples": ("none",),
        "combine": ("mean",),
        "step": ("add",),
    },
)
"""The combinations that run: in a row, any of its values on each axis."""


def kind_of(choice: object) -> str:
    """The name of a choice, as configuration spells it."""
    return str(msgspec.to_builtins(choice)["kind"])


def sentence(error: str, prefix: str = "", written: Mapping[str, str] = MappingProxyType({})) -> str:
    """Say what is wrong with a setting by the name that it has in ``coordinator.toml``.

    Args:
        error: msgspec's words, such as "Expected `int` >= 1 - at `$.k`".
        prefix: before the path in them: the axis and a dot.
        written: how a person wrote a path, where not like this: a shorthand.
    """
    words, _, path = error.partition(" - at `$")
    path = (prefix + path.rstrip("`").lstrip(".")).rstrip(".")
    whole = next((name for name in written if path == name or path.startswith(name + ".")), "")
    path = written.get(whole, "") + path[len(whole) :]
    wrong = words.removeprefix("Invalid enum value ")
    if wrong != words:  # the one setting of words and numbers is K
        words = f'{wrong} is neither a whole number nor "auto"'
    missing = words.removeprefix("Object missing required field ")
    if missing != words:
        return f"aggregation.{path}.{missing.strip('`')} is missing"
    return f"aggregation.{path}: {words}"


def check(rule: Rule, asked: Collection[str] = ()) -> Rule:
    """Return the rule if it runs.

    Args:
        rule: the rule.
        asked: axes that a person set: the suggestion leaves them alone where it can.

    Raises:
        ConfigError: a number is out of its range, or the combination has no row; names the nearest that does.
    """
    try:
        msgspec.convert(msgspec.to_builtins(rule), Rule)
    except msgspec.ValidationError as error:
        raise ConfigError(sentence(str(error))) from None
    kinds = {axis: kind_of(getattr(rule, axis)) for axis in AXES}
    changes = min((_changes(row, kinds) for row in ROWS), key=lambda change: _cost(change, asked))
    if changes:
        wrong = " with ".join(f'{axis} = "{kinds[axis]}"' for axis in (*changes, *_clashing(kinds, changes)))
        right = ", ".join(f'{axis} = "{kind}"' for axis, kind in changes.items())
        raise ConfigError(f"aggregation: no formula for {wrong}; the nearest that runs has {right}")
    if isinstance(rule.anchor, Current) and rule.step.eta > 1:
        raise ConfigError(
            f'aggregation: anchor = "current" mixes with a rate of at most 1, not {rule.step.eta}: '
            "set alpha = 1 or less"
        )
    return rule


def _changes(row: Mapping[str, tuple[str, ...]], kinds: Mapping[str, str]) -> dict[str, str]:
    return {axis: values[0] for axis, values in row.items() if kinds[axis] not in values}


def _cost(changes: Mapping[str, str], asked: Collection[str]) -> int:
    return sum(2 if axis in asked else 1 for axis in changes)


def _clashing(kinds: Mapping[str, str], changes: Mapping[str, str]) -> list[str]:
    """The axes whose choice no row has together with one that would change."""
    return [
        axis
        for axis in kinds
        if axis not in changes and not all(_together(kinds, axis, changed) for changed in changes)
    ]


def _together(kinds: Mapping[str, str], one: str, other: str) -> bool:
    return any(kinds[one] in row[one] and kinds[other] in row[other] for row in ROWS)
