"""Populations: what is taken, what the refusals say, and those that come with Antiphon."""

from pathlib import Path

import msgspec
import pytest
from populations import TEXT, small, write

from antiphon.codecs.errors import ConfigError, StateError
from antiphon.simulation.delays import Law
from antiphon.simulation.population import (
    Population,
    SpeedClass,
    open_population,
    shipped,
)


def test_file_becomes_one_frozen_value(tmp_path: Path) -> None:
    population, folder = open_population(str(write(tmp_path)))
    assert folder == tmp_path
    assert population == small()
    assert population.ids == ("fast-1", "fast-2", "fast-3", "slow-1", "slow-2")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("preset =", "prest =", "unknown key 'prest'; did you mean 'preset'?"),
        ("seconds = 30", "second = 30", "unknown key 'run.second'; did you mean 'seconds'?"),
        ("agents = 2", "agent = 2", "unknown key 'class[1].agent'; did you mean 'agents'?"),
        ("low = 1", "lower = 1", "unknown key 'class[0].delay.lower'; did you mean 'low'?"),
        (
            'law = "uniform"',
            'law = "unform"',
            "class[0].delay.law: 'unform' is none of constant",
        ),
        ("low = 1, ", "", 'law = "uniform" needs low and high'),
        ("k = 2", "kk = 2", "unknown key 'kk'; the nearest known is 'k'"),
        (
            'preset = "fedbuff"',
            'preset = "fedbuf"',
            "unknown preset 'fedbuf'; the nearest known is",
        ),
        (
            'partition = "iid"',
            'partition = "even"',
            "data.partition: 'even' is none of iid, dir",
        ),
        ("agents = 3", "agents = 0", "class[0].agents: Expected `int` >= 1"),
        ("agents = 3", "agents = 20000", "20002 agents: 1 to 10000 can be simulated"),
        ('name = "slow"', 'name = "fast"', "two classes are called 'fast': rename one"),
        ('name = "slow"', 'name = "Slow"', "'Slow-1' cannot be an agent's id"),
        ("delay = 8", "delay = -8", "class 'slow': delay is -8.0: use seconds, 0 or more, or a law"),
        ("delay = 8", "delay = 8\naway = 5", "class 'slow': away without a dropout above 0"),
        (
            "[run]",
            "[end]\nmax_versions = 3\n[run]",
            "end.max_versions: in a population",
        ),
        (
            "[run]",
            "[end]\ntime_budget = 3\n[run]",
            "this bound is called run.seconds",
        ),
        ("[run]", "[end]\ntarget_value = 0.5\n[run]", "end.target_value without end.target_metric"),
        ("[run]", "[compare.fedasync]\nk = 3\n[run]", 'trigger = "every" has no k'),
    ],
)
def test_what_is_wrong_is_named_with_its_key(tmp_path: Path, before: str, after: str, said: str) -> None:
    path = write(tmp_path, TEXT.replace(before, after))
    with pytest.raises(ConfigError) as caught:
        open_population(str(path))
    assert said in str(caught.value)
    assert "two-speeds.toml" in str(caught.value)


def test_nobody_at_all_is_refused() -> None:
    with pytest.raises(ConfigError, match="0 agents: 1 to"):
        small(classes=())


def test_every_shipped_population_reads_and_says_what_it_is() -> None:
    found = shipped()
    assert set(found) >= {"fadas", "fedbuff", "fedstaleweight"}
    for name, line in found.items():
        assert len(line) > 20
        population, _ = open_population(name)
        assert population.run.targets, "a table without targets says nothing about time"


def test_example_reads() -> None:
    population, _ = open_population(str(Path(__file__).parents[2] / "examples" / "population.toml"))
    population.check(("fedbuff", "fair", "fedasync"))
    assert [each.name for each in population.classes] == ["ward", "laptop", "hospital"]


def test_shipped_populations_have_the_delays_of_their_papers() -> None:
    fadas, fedbuff, weighted = (open_population(name)[0] for name in ("fadas", "fedbuff", "fedstaleweight"))

    def bounds(population: Population) -> list[tuple[float | None, float | None]]:
        return [(each.pace.low, each.pace.high) for each in population.classes]

    assert bounds(fadas) == [(1, 2), (3, 5), (50, 80)]
    assert bounds(weighted) == [(1, 2), (8, 12)]
    assert [each.agents for each in weighted.classes] == [10, 5]
    assert fedbuff.classes[0].pace.law == "half-normal"


def test_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no population 'fadass' comes .* did you mean 'fadas'\?"):
        open_population("fadass")
    with pytest.raises(ConfigError, match=r"there are fadas, fedbuff, fedstaleweight"):
        open_population("zzz")
    with pytest.raises(StateError, match=r"cannot read .*gone\.toml"):
        open_population("gone.toml")


def test_presets_are_checked_before_anything_runs() -> None:
    population = small(compare={"fair": {"preset": "fedbuff", "fairness": "inverse-rate"}})
    population.check(("fedbuff", "fedasync", "fair"))
    with pytest.raises(ConfigError, match="--preset fedbuf: there is none; the nearest known is 'fedbuff'"):
        population.check(("fedasync", "fedbuf"))
    with pytest.raises(ConfigError, match="--preset fai: there is none; the nearest known is 'fair'"):
        population.check(("fai",))
    with pytest.raises(ConfigError, match="--preset fedbuff is named twice"):
        population.check(("fedbuff", "fedasync", "fedbuff"))


def test_same_preset_may_be_compared_with_itself_under_another_name() -> None:
    population = small(compare={"fair": {"preset": "fedbuff", "fairness": "inverse-rate"}})
    fair = population.settings("fair")
    assert (fair.preset, fair.aggregation) == ("fedbuff", {"fairness": "inverse-rate"})
    with pytest.raises(ConfigError, match=r"compare\.fedbuff is the preset itself: set \[aggregation\]"):
        small(compare={"fedbuff": {"k": 3}})
    with pytest.raises(ConfigError, match="unknown preset 'fair'"):
        small(compare={"fair": {"k": 3}})


def test_overrides_are_those_of_the_preset_that_runs() -> None:
    population = small(compare={"fedasync": {"alpha": 0.3}})
    assert population.settings("fedbuff").aggregation == {"k": 2}
    assert population.settings("fedasync").aggregation == {"alpha": 0.3}
    assert population.settings("fedyogi").aggregation == {}


def test_length_of_the_run_becomes_the_coordinators_end_condition() -> None:
    population = small()
    run = msgspec.structs.replace(population.run, versions=7)
    end = msgspec.structs.replace(population, run=run).settings("fedbuff").end
    assert (end.max_versions, end.time_budget) == (7, 30.0)


def test_class_may_leave_everything_but_its_name_and_number_out() -> None:
    plain = SpeedClass(name="all", agents=2)
    assert plain.pace == Law(law="constant", scale=1.0)
    assert plain.ids == ("all-1", "all-2")
