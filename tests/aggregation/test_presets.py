"""Presets and a person's overrides."""

import pytest

from antiphon.codecs.errors import ConfigError
from antiphon.coordinator.aggregation.anchor import Base, Current
from antiphon.coordinator.aggregation.combine import LATER
from antiphon.coordinator.aggregation.examples import Shares
from antiphon.coordinator.aggregation.fairness import InverseRate
from antiphon.coordinator.aggregation.presets import PRESETS, build_rule
from antiphon.coordinator.aggregation.rule import check, kind_of
from antiphon.coordinator.aggregation.staleness import Constant, Hinge, Polynomial
from antiphon.coordinator.aggregation.step import Adam, Add, Amsgrad
from antiphon.coordinator.aggregation.trigger import Deadline, Every, Quorum, Updates


def test_the_named_algorithms_are_there_and_run() -> None:
    assert list(PRESETS) == ["fedasync", "fedbuff", "fedavg", "fedadam", "fedyogi", "fedadagrad"]
    for preset, make in PRESETS.items():
        assert build_rule(preset, {}) == check(make())


def test_presets_have_the_papers_defaults() -> None:
    fedasync, fedbuff, fedavg = (build_rule(name, {}) for name in ("fedasync", "fedbuff", "fedavg"))
    assert (fedasync.trigger, fedasync.anchor, fedasync.step) == (Every(), Current(), Add(eta=0.6))
    assert fedasync.staleness == fedbuff.staleness == Polynomial(a=0.5)
    assert (fedbuff.trigger, fedbuff.anchor, fedbuff.step) == (Updates(k="auto"), Base(), Add(eta=1.0))
    assert (fedavg.trigger, fedavg.staleness, fedavg.examples) == (Quorum(), Constant(), Shares())
    assert build_rule("fedadam", {}).step == Adam(eta=0.01, beta1=0.9, beta2=0.99, epsilon=1e-3)


def test_shorthands_set_one_number() -> None:
    rule = build_rule("fedbuff", {"k": 7, "eta": 0.5, "deadline": {"most": 60}})
    assert rule.trigger == Updates(k=7, deadline=Deadline(most=60))
    assert rule.step == Add(eta=0.5)
    assert build_rule("fedasync", {"alpha": 0.9}).step == Add(eta=0.9)


def test_a_shorthand_goes_with_its_axis() -> None:
    rule = build_rule("fedbuff", {"eta": 0.1, "step": "adam", "trigger": "quorum", "k": 4})
    assert (rule.step, rule.trigger) == (Adam(eta=0.1), Quorum(k=4))


def test_an_axis_takes_a_name_a_table_or_numbers_alone() -> None:
    assert build_rule("fedbuff", {"staleness": "hinge"}).staleness == Hinge(a=10, b=4)
    assert build_rule("fedbuff", {"staleness": {"kind": "hinge", "a": 5}}).staleness == Hinge(a=5, b=4)
    assert build_rule("fedbuff", {"staleness": {"a": 1}}).staleness == Polynomial(a=1)
    assert build_rule("fedadam", {"step": {"beta1": 0.5}}).step == Adam(beta1=0.5)
    assert build_rule("fedadam", {"step": {"kind": "amsgrad", "delay": 9}}).step == Amsgrad(delay=9)


def test_underscores_are_hyphens() -> None:
    assert build_rule("fedbuff", {"fairness": "inverse_rate"}).fairness == InverseRate()


def test_fairness_makes_staleness_constant_unless_both_are_set() -> None:
    assert build_rule("fedbuff", {"fairness": "inverse-rate"}).staleness == Constant()
    assert build_rule("fedbuff", {"fairness": {"kind": "inverse-rate", "clip": 3}}).staleness == Constant()
    both = build_rule("fedbuff", {"fairness": "inverse-rate", "staleness": "polynomial"})
    assert both.staleness == Polynomial()
    assert build_rule("fedbuff", {"fairness": "none"}).staleness == Polynomial()


@pytest.mark.parametrize(
    ("preset", "overrides", "sentence"),
    [
        ("fedbuf", {}, "unknown preset 'fedbuf'; the nearest known is 'fedbuff'"),
        ("fedbuff", {"stalenes": "hinge"}, "unknown key 'stalenes'; the nearest known is 'staleness'"),
        ("fedbuff", {"zzz": 1}, "unknown key 'zzz'; the nearest known is"),
        ("fedbuff", {"staleness": "hing"}, "unknown staleness = 'hing'; the nearest known is 'hinge'"),
        (
            "fedadam",
            {"step": {"beta3": 1}},
            "unknown key of step = \"adam\" 'beta3'; the nearest known is 'beta",
        ),
        (
            "fedbuff",
            {"anchor": {"b": 1}},
            "unknown key of anchor = \"base\" 'b'; there is none|'b': there is none",
        ),
        ("fedbuff", {"staleness": {"b": 3}}, 'staleness = "polynomial" has no b; staleness = "hinge" has'),
        ("fedasync", {"k": 3}, 'trigger = "every" has no k; trigger = "updates" has'),
        ("fedbuff", {"k": 0}, r"aggregation\.k: Expected `int` >= 1$"),
        ("fedbuff", {"k": "many"}, "aggregation\\.k: 'many' is neither a whole number nor \"auto\"$"),
        ("fedbuff", {"trigger": {"k": "many"}}, r"aggregation\.trigger\.k: 'many' is neither"),
        ("fedbuff", {"k": True}, r"aggregation\.k: .*got `bool`"),
        ("fedbuff", {"deadline": {"gap": 3}}, "unknown key of deadline 'gap'; the nearest known is 'gaps'"),
        ("fedavg", {"trigger": {"deadline": {"leest": 3}}}, "the nearest known is 'least'"),
        ("fedbuff", {"deadline": 5}, r"aggregation\.deadline: .*object"),
        ("fedbuff", {"deadline": {"gaps": "x"}}, r"aggregation\.deadline\.gaps: .*got `str`$"),
        (
            "fedbuff",
            {"deadline": {"most": 0.5}},
            r"aggregation\.deadline: least \(1 s\) is more than most \(0.5 s\)",
        ),
        ("fedbuff", {"eta": float("inf")}, r"aggregation\.eta: "),
        ("fedbuff", {"eta": float("nan")}, r"aggregation\.eta: "),
        ("fedasync", {"alpha": "fast"}, r"aggregation\.alpha: .*float"),
        ("fedbuff", {"staleness": 3}, "staleness is a name or a table"),
        ("fedbuff", {"staleness": {"a": "x"}}, r"aggregation\.staleness\.a: .*float"),
        ("fedbuff", {"eta": 1.0, "step": {"eta": 2.0}}, "eta is set twice"),
        ("fedasync", {"eta": 1.0, "alpha": 0.5}, "alpha is set twice|eta is set twice"),
        ("fedbuff", {"alpha": 0.5}, "here the rate is eta"),
        ("fedbuff", {"examples": "bounded"}, r"aggregation\.examples\.reference is missing$"),
        ("fedasync", {"step": "adam"}, r'nearest that runs has anchor = "base"'),
        ("fedavg", {"fairness": "inverse-rate"}, r'nearest that runs has examples = "none"'),
        ("fedbuff", {"examples": "shares"}, r'nearest that runs has trigger = "quorum"'),
    ],
)
def test_a_wrong_override_is_refused_and_says_what_to_do(
    preset: str, overrides: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        build_rule(preset, overrides)


@pytest.mark.parametrize("kind", LATER)
def test_a_combine_that_does_not_run_yet_names_the_nearest_that_does(kind: str) -> None:
    with pytest.raises(ConfigError, match=f'"{kind}".*does not run yet; the nearest that runs is "mean"'):
        build_rule("fedbuff", {"combine": kind})


def test_overrides_of_a_preset_are_not_kept_for_the_next_rule() -> None:
    build_rule("fedbuff", {"k": 3, "step": "adam"})
    assert kind_of(build_rule("fedbuff", {}).step) == "add"
