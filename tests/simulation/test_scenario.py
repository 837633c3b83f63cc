"""What seeds draw."""

import math
from collections import Counter
from typing import get_args

from antiphon.broker_config.topics import COORDINATOR
from antiphon.coordinator.aggregation.presets import build_rule
from antiphon.simulation.scenario import BEGINNING, CRASHES, DEATHS, STORM, Trouble, draw

MANY = [draw(seed) for seed in range(300)]


def test_a_seed_always_draws_the_same() -> None:
    assert draw(7) == draw(7) != draw(8)


def test_every_seed_has_its_crashes_and_the_messages_of_a_bad_network() -> None:
    for scenario in MANY:
        deaths = [each.party for each in scenario.accidents if each.trouble in DEATHS]
        assert len(deaths) >= CRASHES
        assert deaths.count(COORDINATOR) >= 2
        assert (scenario.faults.drop, scenario.faults.duplicate) == (0.2, 0.1)
        assert 2 <= len(scenario.seats) <= 6
        assert any(math.isfinite(seat.seconds) for seat in scenario.seats)
        assert all(0 <= each.at <= STORM for each in scenario.accidents)
        assert list(scenario.accidents) == sorted(scenario.accidents, key=lambda each: each.at)
        build_rule(scenario.preset, scenario.aggregation)
        assert str(scenario.seed) in str(scenario)


def test_lonely_agent_is_one_that_answers() -> None:
    lonely = [scenario for scenario in MANY if scenario.lonely]
    assert 30 < len(lonely) < 90
    for scenario in lonely:
        (last,) = [seat for seat in scenario.seats if seat.id not in scenario.silent]
        assert math.isfinite(last.seconds)


def test_everything_that_can_happen_happens_to_some_seed() -> None:
    assert {each.trouble for scenario in MANY for each in scenario.accidents} == set(get_args(Trouble))
    assert {len(scenario.silent) for scenario in MANY if not scenario.lonely} == {0, 1}
    assert {scenario.keep for scenario in MANY} == {3, 100}
    assert {scenario.initial for scenario in MANY} == {True, False}
    assert any(scenario.accidents[0].at < BEGINNING for scenario in MANY)
    assert {scenario.offer for scenario in MANY} == {1 << 10, 16 << 10}
    assert {scenario.elements > 5_000 for scenario in MANY} == {True, False}
    assert {seat.encoding for scenario in MANY for seat in scenario.seats} == {"lossless", "float16", "int8"}
    assert len(Counter(scenario.preset for scenario in MANY)) == 6
