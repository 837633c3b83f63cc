"""Whole federations in virtual time."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from antiphon.agents.trainer import TrainingContext, TrainingResult
from antiphon.codecs.errors import ConfigError
from antiphon.coordinator.service import Coordinator
from antiphon.coordinator.settings import CoordinatorSettings, End
from antiphon.simulation.federation import Member, Outcome, simulate

INITIAL = {"w": np.zeros(60, np.float32)}


class Counter:
    """Adds one to everything."""

    def __init__(self) -> None:
        self.params: dict[str, NDArray[Any]] = dict(INITIAL)

    def get_model_params(self) -> Mapping[str, NDArray[Any]]:
        return self.params

    def update_model_params(self, params: Mapping[str, NDArray[Any]]) -> None:
        self.params = dict(params)

    def train_model(self, context: TrainingContext) -> TrainingResult:
        self.params = {"w": self.params["w"] + 1}
        return TrainingResult(examples=10)


def federation(members: list[Member], seconds: float, folder: Path, seed: int = 0, **more: Any) -> Outcome:
    """A run with the fewest surprises."""
    settings = CoordinatorSettings(durability="flush", **more)
    return simulate(members, seconds, folder, initial=INITIAL, settings=settings, seed=seed)


def awake(count: int, seconds: float = 20.0) -> list[Member]:
    """So many agents that answer."""
    return [Member(f"agent-{number}", Counter, seconds + number) for number in range(count)]


def test_agents_make_versions_until_the_time_is_up(tmp_path: Path) -> None:
    outcome = federation(awake(3), 300, tmp_path)
    assert outcome.summary.version >= 10
    assert outcome.summary.applied > 20
    assert all(counters.applied > 5 for counters in outcome.counters.values())


def test_end_condition_ends_the_run_early(tmp_path: Path) -> None:
    outcome = federation(awake(2), math.inf, tmp_path, end=End(max_versions=3, linger=1))
    assert outcome.summary.version == 3
    assert len(outcome.named("version")) >= 3


def test_one_asleep_for_ever_costs_the_others_nothing(tmp_path: Path) -> None:
    sleeper = Member("sleeper", Counter, math.inf)
    seven = federation(awake(7), 600, tmp_path / "seven")
    eight = federation([*awake(7), sleeper], 600, tmp_path / "eight")
    assert eight.counters["sleeper"].sent == 0
    assert eight.summary.version == seven.summary.version > 50


def test_late_joiner_takes_part(tmp_path: Path) -> None:
    late = Member("late", Counter, 20, joins=200)
    outcome = federation([*awake(2), late], 600, tmp_path)
    assert outcome.counters["late"].applied > 3


def test_trainings_take_as_long_as_is_drawn_for_each(tmp_path: Path) -> None:
    times = iter([10.0, 50.0, *[1000.0] * 9])
    outcome = federation([Member("one", Counter, lambda: next(times))], 500, tmp_path, preset="fedasync")
    at = [event["timestamp"] - outcome.events[0]["timestamp"] for event in outcome.named("accepted")]
    assert at == [pytest.approx(10, abs=2), pytest.approx(60, abs=3)]


def test_agent_that_goes_away_with_its_result_answers_when_it_is_back(tmp_path: Path) -> None:
    absences = iter([400.0, *[0.0] * 999])
    away = Member("away", Counter, 20, away=lambda: next(absences))
    outcome = federation([*awake(2), away], 900, tmp_path, preset="fedasync")
    started = outcome.events[0]["timestamp"]
    at = [e["timestamp"] - started for e in outcome.named("accepted") if e["agent"] == "away"]
    assert 420 <= at[0] < 560, "it lost patience with the broker by and by, as all agents do"
    first = next(event for event in outcome.named("version") if "away" in event["agents"])
    assert first["staleness"][first["agents"].index("away")] > 30


def test_agent_that_never_comes_back_is_never_heard_again(tmp_path: Path) -> None:
    gone = Member("gone", Counter, 20, away=lambda: math.inf)
    outcome = federation([*awake(2), gone], 300, tmp_path)
    assert {event["agent"] for event in outcome.named("accepted")} == {"agent-0", "agent-1"}


def test_agent_leaves_for_good(tmp_path: Path) -> None:
    leaver = Member("leaver", Counter, 20, joins=10, leaves=150)
    outcome = federation([*awake(2), leaver], 600, tmp_path)
    assert 2 <= outcome.counters["leaver"].applied <= 8
    assert outcome.counters["agent-0"].applied > 20


def test_who_watches_sees_each_version_and_may_end_the_run(tmp_path: Path) -> None:
    seen: list[tuple[int, float]] = []

    def watch(coordinator: Coordinator, event: dict[str, Any]) -> None:
        if event["event"] == "version":
            model = coordinator.model
            assert model is not None
            seen.append((model.number, float(model.vector[0])))
            if model.number == 5:
                coordinator.stop()

    settings = CoordinatorSettings(durability="flush", preset="fedasync")
    outcome = simulate(awake(2), 1e6, tmp_path, initial=INITIAL, settings=settings, watch=watch)
    assert [number for number, _ in seen][:6] == [0, 1, 2, 3, 4, 5]
    assert sorted(value for _, value in seen) == [value for _, value in seen]
    assert outcome.summary.version in (5, 6)


class Shorter(Counter):
    """Its model is another."""

    def __init__(self) -> None:
        self.params = {"w": np.zeros(59, np.float32)}


def test_agent_whose_model_is_another_ends_the_run_with_its_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"float32\[59\] in the trainer's model, float32\[60\] in the fed"):
        federation([*awake(2), Member("other", Shorter)], 60, tmp_path)


@pytest.mark.parametrize("seed", [1, 2])
def test_same_seed_same_history(tmp_path: Path, seed: int) -> None:
    def history(folder: str) -> list[tuple[Any, ...]]:
        outcome = federation(awake(3), 200, tmp_path / folder, seed)
        names = ("event", "timestamp", "agent", "version", "digest")
        return [tuple(event.get(name) for name in names) for event in outcome.events]

    assert history("one") == history("two")
