"""One federation in bad weather: what happens when, and what is noticed when it does not end."""

from dataclasses import replace

import pytest
from child import in_child

from antiphon.simulation import ordeal as module
from antiphon.simulation.clock import run
from antiphon.simulation.faults import NONE
from antiphon.simulation.invariants import judge
from antiphon.simulation.ordeal import Ordeal
from antiphon.simulation.scenario import STORM, Accident, Scenario, draw

QUIET = replace(draw(0), accidents=(), faults=NONE, lonely=False, initial=True, protocol=5)


def play(scenario: Scenario) -> tuple[Ordeal, list[str]]:
    """An ordeal without crashes may be played here."""
    found: list[Ordeal] = []

    async def main() -> None:
        found.append(Ordeal(scenario))
        await found[0].run()

    run(main, scenario.seed)
    return found[0], judge(found[0])


def test_quiet_weather_breaks_nothing_and_ends() -> None:
    ordeal, broken = play(QUIET)
    assert broken == []
    assert ordeal.calm_at == STORM
    assert STORM < ordeal.over_at < STORM + module.PATIENCE
    assert ordeal.peaks.disk["coordinator"] > 0
    assert ordeal.peaks.retained > 0
    assert all(host.crashes == 0 for host in ordeal.parties.hosts.values())
    assert ordeal.parties.coordinator.lives == 2


def test_accidents_happen_to_whom_they_are_meant_for() -> None:
    agent = QUIET.seats[0].id
    accidents = (
        Accident(20.0, "cut", agent),
        Accident(40.0, "half-open", agent),
        Accident(100.0, "restart", seconds=1.0),
        Accident(120.0, "full", "coordinator", seconds=20.0),
        Accident(150.0, "jump", agent, seconds=-600.0),
    )
    ordeal, broken = play(replace(QUIET, accidents=accidents))
    assert broken == []
    assert ordeal.parties.hosts[agent].ahead == -600.0
    assert not ordeal.parties.coordinator.disk.full
    assert any(event["event"] == "disk" for event in ordeal.parties.events)


@pytest.mark.parametrize("trouble", ["crash", "power", "torn"])
def test_everybody_dies_who_is_to_die(trouble: str) -> None:
    def work() -> str:
        victims = ["coordinator", "coordinator", *(seat.id for seat in QUIET.seats)]
        accidents = tuple(
            Accident(30.0 + 5 * n, trouble, victim, 10**6, 2.0)  # pyright: ignore[reportArgumentType]
            for n, victim in enumerate(victims)
        )
        ordeal, broken = play(replace(QUIET, accidents=accidents))
        crashes = sum(host.crashes for host in ordeal.parties.hosts.values())
        return " / ".join(broken) or f"{crashes - len(victims)} deaths too many"

    assert in_child(work) == "0 deaths too many"


def test_run_that_does_not_end_in_time_is_overdue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 1.0)

    def work() -> str:
        ordeal, broken = play(QUIET)
        return "" if ordeal.over_at < 1e9 else broken[0]

    assert in_child(work) == "the run is not over after 1 s: coordinator"
