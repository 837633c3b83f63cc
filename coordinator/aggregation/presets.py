"""The named algorithms as rules, and configuration on top of them.

Overrides are what a person wrote under ``[aggregation]``: an axis by name (``staleness = "hinge"``), with its
numbers (``staleness = { kind = "hinge", a = 5 }``), or a shorthand: ``k``, ``deadline``, ``eta``, ``alpha``.
Unknown keys are errors that name the nearest known one.
"""

import difflib
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any, cast, get_args

import msgspec

from antiphon.codecs.errors import ConfigError
from antiphon.coordinator.aggregation.anchor import Current
from antiphon.coordinator.aggregation.combine import LATER
from antiphon.coordinator.aggregation.examples import Shares
from antiphon.coordinator.aggregation.rule import AXES, Rule, check, kind_of, sentence
from antiphon.coordinator.aggregation.staleness import Constant, Polynomial
from antiphon.coordinator.aggregation.step import Adagrad, Adam, Add, Yogi
from antiphon.coordinator.aggregation.trigger import Deadline, Every, Quorum, Size, Updates


def fedasync(alpha: float = 0.6, a: float = 0.5) -> Rule:
    """FedAsync (Xie et al. 2019, arXiv 1903.03934): w = (1 - α_t)·w + α_t·w_local, α_t = α·(1 + τ)^(-a)."""
    return Rule(trigger=Every(), anchor=Current(), staleness=Polynomial(a=a), step=Add(eta=alpha))


def fedbuff(k: Size = "auto", eta: float = 1.0) -> Rule:
    """FedBuff (Nguyen et al. 2022, arXiv 2106.06639): w += η·(1/K)·Σ Δ_i / sqrt(1 + τ_i)."""
    return Rule(trigger=Updates(k=k), step=Add(eta=eta))


def fedavg(k: Size = "auto", eta: float = 1.0) -> Rule:
    """FedAvg (McMahan et al. 2017, arXiv 1602.05629), in rounds: w += η·Σ (n_i / Σn)·Δ_i over a quorum."""
    return Rule(trigger=Quorum(k=k), staleness=Constant(), examples=Shares(), step=Add(eta=eta))


def fedadam(k: Size = "auto", eta: float = 0.01) -> Rule:
    """FedBuff's buffer with FedOpt's Adam (Reddi et al. 2021, arXiv 2003.00295)."""
    return Rule(trigger=Updates(k=k), step=Adam(eta=eta))


def fedyogi(k: Size = "auto", eta: float = 0.01) -> Rule:
    """FedBuff's buffer with FedOpt's Yogi (Reddi et al. 2021, arXiv 2003.00295)."""
    return Rule(trigger=Updates(k=k), step=Yogi(eta=eta))


def fedadagrad(k: Size = "auto", eta: float = 0.1) -> Rule:
    """FedBuff's buffer with FedOpt's Adagrad (Reddi et al. 2021, arXiv 2003.00295)."""
    return Rule(trigger=Updates(k=k), step=Adagrad(eta=eta))


PRESETS: Mapping[str, Callable[..., Rule]] = MappingProxyType(
    {
        "fedasync": fedasync,
        "fedbuff": fedbuff,
        "fedavg": fedavg,
        "fedadam": fedadam,
        "fedyogi": fedyogi,
        "fedadagrad": fedadagrad,
    }
)
"""The named algorithms, each with its defaults."""

SHORTHANDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "k": ("trigger", "k"),
        "deadline": ("trigger", "deadline"),
        "eta": ("step", "eta"),
        "alpha": ("step", "eta"),  # FedAsync's name for the rate of mixing
    }
)
"""Keys that stand for one number of an axis."""


def build_rule(preset: str, overrides: Mapping[str, object]) -> Rule:
    """A preset with a person's overrides.

    Fairness other than none makes staleness constant, unless both are set: down-weighting what is stale
    counteracts weighting up what is rare.

    Args:
        preset: a name in `PRESETS`.
        overrides: axes and shorthands; see the module's docstring.

    Raises:
        ConfigError: an unknown name or key (names the nearest known), a wrong value, a combine that does not
            run yet, or a combination without a formula (names the nearest that has one).
    """
    if preset not in PRESETS:
        raise ConfigError(_unknown("preset", preset, PRESETS))
    rule = PRESETS[preset]()
    asked = _spread(overrides)
    if "fairness" in asked and "staleness" not in asked and _names_kind(asked["fairness"]) != "none":
        asked = {**asked, "staleness": {"kind": "constant"}}
    written = {".".join(SHORTHANDS[key]): key for key in overrides if key in SHORTHANDS}
    chosen = {axis: _choose(axis, getattr(rule, axis), numbers, written) for axis, numbers in asked.items()}
    rule = check(msgspec.structs.replace(rule, **chosen), asked=set(asked))
    if "alpha" in overrides and not isinstance(rule.anchor, Current):
        raise ConfigError('aggregation: alpha is the rate of anchor = "current"; here the rate is eta')
    return rule


def _spread(overrides: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """Overrides by axis, shorthands resolved: {axis: {key: value}}."""
    asked: dict[str, dict[str, object]] = {}
    for key in sorted(overrides, key=lambda key: key in SHORTHANDS):
        value = overrides[key]
        if key in SHORTHANDS:
            axis, name = SHORTHANDS[key]
            if name in asked.setdefault(axis, {}):
                raise ConfigError(f"aggregation: {key} is set twice: it is {name} of {axis}")
            asked[axis][name] = value
        elif key in AXES:
            asked[key] = _numbers(key, value)
        else:
            raise ConfigError(_unknown("key", key, [*AXES, *SHORTHANDS]))
    return asked


def _numbers(axis: str, value: object) -> dict[str, object]:
    if isinstance(value, str):
        return {"kind": value}
    if isinstance(value, Mapping):
        return {str(key): item for key, item in cast("Mapping[object, object]", value).items()}
    raise ConfigError(f"aggregation: {axis} is a name or a table with a kind, not {value!r}")


def _names_kind(numbers: Mapping[str, object]) -> str:
    return str(numbers.get("kind", "none")).replace("_", "-")


def _choose(axis: str, current: object, numbers: Mapping[str, object], written: Mapping[str, str]) -> object:
    """One axis: the preset's choice with these numbers, or another kind's defaults with these."""
    kinds = _kinds(axis)
    before: dict[str, object] = msgspec.to_builtins(current)
    kind = _names_kind(numbers) if "kind" in numbers else kind_of(current)
    if axis == "combine" and kind in LATER:
        raise ConfigError(
            f'aggregation: combine = "{kind}" ({LATER[kind]}) does not run yet; '
            'the nearest that runs is "mean"'
        )
    if kind not in kinds:
        raise ConfigError(_unknown(f"{axis} =", kind, kinds))
    known = [field.name for field in msgspec.structs.fields(kinds[kind])]
    for key in numbers:
        if key != "kind" and key not in known:
            raise ConfigError(_misplaced(axis, kind, key, kinds, known))
    _check_deadline(numbers.get("deadline"))
    base = before if kind == before["kind"] else {}
    try:
        return msgspec.convert({**base, **numbers, "kind": kind}, type=cast("type[Any]", AXES[axis]))
    except msgspec.ValidationError as error:
        raise ConfigError(sentence(str(error), f"{axis}.", written)) from None


def _check_deadline(deadline: object) -> None:
    """The one table inside a table: what else is wrong with it is found with the axis."""
    if isinstance(deadline, Mapping):
        for key in cast("Mapping[object, object]", deadline):
            if key not in Deadline.__struct_fields__:
                raise ConfigError(_unknown("key of deadline", str(key), Deadline.__struct_fields__))


def _kinds(axis: str) -> dict[str, type[msgspec.Struct]]:
    choices: tuple[type[msgspec.Struct], ...] = get_args(AXES[axis]) or (
        cast("type[msgspec.Struct]", AXES[axis]),
    )
    return {str(choice.__struct_config__.tag): choice for choice in choices}


def _misplaced(
    axis: str, kind: str, key: str, kinds: Mapping[str, type[msgspec.Struct]], known: Collection[str]
) -> str:
    for other, choice in kinds.items():
        if key in {field.name for field in msgspec.structs.fields(choice)}:
            return f'aggregation: {axis} = "{kind}" has no {key}; {axis} = "{other}" has'
    return _unknown(f'key of {axis} = "{kind}"', key, known)


def _unknown(what: str, name: str, known: Collection[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    if not nearest:
        return f"aggregation: unknown {what} {name!r}: there is none"
    return f"aggregation: unknown {what} {name!r}; the nearest known is {nearest[0]!r}"
