"""Which combinations run."""

import itertools

import msgspec
import pytest

from antiphon.codecs.errors import ConfigError
from antiphon.coordinator.aggregation.anchor import Current
from antiphon.coordinator.aggregation.examples import Bounded, Shares
from antiphon.coordinator.aggregation.fairness import InverseRate
from antiphon.coordinator.aggregation.presets import build_rule
from antiphon.coordinator.aggregation.rule import AXES, ROWS, Rule, check, kind_of
from antiphon.coordinator.aggregation.staleness import Polynomial
from antiphon.coordinator.aggregation.step import Adam, Add, Step
from antiphon.coordinator.aggregation.trigger import Every, Quorum, Updates

EXAMPLE: dict[str, object] = {"kind": "bounded", "reference": 10}


def test_the_default_rule_runs() -> None:
    assert check(Rule()) == Rule()


@pytest.mark.parametrize("number", range(len(ROWS)))
def test_every_combination_of_a_row_runs(number: int) -> None:
    row = ROWS[number]
    for kinds in itertools.product(*row.values()):
        chosen: dict[str, dict[str, object]] = {
            axis: EXAMPLE if kind == "bounded" else {"kind": kind}
            for axis, kind in zip(row, kinds, strict=True)
        }
        if chosen["anchor"] == {"kind": "current"}:
            chosen["step"] = {"kind": "add", "eta": 0.5}
        rule = build_rule("fedbuff", chosen)
        assert {axis: kind_of(getattr(rule, axis)) for axis in AXES} == dict(zip(row, kinds, strict=True))


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        (Rule(anchor=Current(), step=Adam()), r'step = "adam".*nearest that runs has'),
        (
            Rule(trigger=Quorum(), anchor=Current()),
            r'nearest that runs has anchor = "base"|trigger = "updates"',
        ),
        (Rule(anchor=Current(), fairness=InverseRate()), "nearest that runs has"),
        (Rule(trigger=Updates(), examples=Shares()), "nearest that runs has"),
        (Rule(trigger=Every(), anchor=Current(), examples=Bounded(reference=1.0)), "nearest that runs has"),
        (Rule(trigger=Quorum(), examples=Shares(), fairness=InverseRate()), "nearest that runs has"),
    ],
)
def test_a_combination_without_a_formula_is_refused_with_the_nearest(rule: Rule, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        check(rule)


def test_every_refused_combination_names_one_that_runs() -> None:
    kinds = {axis: sorted({kind for row in ROWS for kind in row[axis]}) for axis in AXES}
    for combination in itertools.product(*kinds.values()):
        chosen: dict[str, dict[str, object]] = {
            axis: {"kind": kind} for axis, kind in zip(kinds, combination, strict=True)
        }
        if any(all(chosen[axis]["kind"] in row[axis] for axis in AXES) for row in ROWS):
            continue
        plain: dict[str, dict[str, object]] = {
            axis: EXAMPLE if value["kind"] == "bounded" else value for axis, value in chosen.items()
        }
        plain["step"] = {**plain["step"], "eta": 0.5}
        with pytest.raises(ConfigError) as caught:
            check(msgspec.convert({**plain, "fairness": plain["fairness"]}, Rule))
        for change in str(caught.value).split("nearest that runs has ")[1].split(", "):
            axis, kind = change.split(" = ")
            plain[axis] = EXAMPLE if kind == '"bounded"' else {"kind": kind.strip('"')}
            if axis == "step":
                plain["step"] = {**plain["step"], "eta": 0.5}
        check(msgspec.convert(plain, Rule))


def test_the_suggestion_leaves_what_a_person_set() -> None:
    rule = Rule(trigger=Quorum(), examples=Shares(), fairness=InverseRate())
    with pytest.raises(
        ConfigError, match=r'fairness = "inverse-rate"; the nearest that runs has examples = "none"'
    ):
        check(rule, asked={"fairness"})
    with pytest.raises(ConfigError, match=r'runs has fairness = "none"'):
        check(rule, asked={"examples"})


def test_mixing_with_more_than_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="at most 1, not 1"):
        check(Rule(anchor=Current(), step=Add(eta=1.5)))


@pytest.mark.parametrize("step", [Add(eta=0.0), Add(eta=-1.0), Add(eta=float("nan")), Add(eta=float("inf"))])
def test_a_rate_that_is_not_positive_and_finite_is_refused(step: Step) -> None:
    with pytest.raises(ConfigError, match="eta"):
        check(Rule(step=step))


def test_an_exponent_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ConfigError, match="staleness"):
        check(Rule(staleness=Polynomial(a=float("nan"))))
