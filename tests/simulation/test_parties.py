"""Hosts whose processes are started, stopped, killed, and started again."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from child import in_child

from antiphon.broker_config.topics import COORDINATOR
from antiphon.codecs.errors import ConfigError, StateError
from antiphon.coordinator.settings import CoordinatorSettings, End
from antiphon.simulation import parties as module
from antiphon.simulation.clock import run
from antiphon.simulation.memory_broker import MemoryBroker
from antiphon.simulation.parties import AGAIN, AGENT, TRIES, Parties, Role
from antiphon.simulation.walker import Walker, first_params

Scene = Callable[[Parties], Coroutine[Any, Any, None]]


def play(scene: Scene, **settings: Any) -> None:
    """A coordinator and two agents, nobody started."""

    def work() -> str:
        async def main() -> None:
            roles = [Role(f"a{n}", lambda n=n: Walker(n, 20), 5.0 + n) for n in range(2)]
            chosen = CoordinatorSettings(aggregation={"k": 2}, **settings)
            await scene(Parties(roles, chosen, first_params(20), MemoryBroker(), 1))

        run(main)
        return "played"

    assert in_child(work) == "played"


def versions(parties: Parties) -> list[int]:
    return [event["version"] for event in parties.events if event["event"] == "version"]


def test_killed_parties_go_on_where_they_were() -> None:
    async def scene(parties: Parties) -> None:
        for name in parties.hosts:
            parties.start(name)
            parties.start(name)
        await asyncio.sleep(60)
        before = versions(parties)[-1]
        assert before > 4
        for power in (False, True):
            for name in parties.hosts:
                parties.crash(name, power=power)
                parties.crash(name)
                assert not parties.hosts[name].up
                parties.revive(name, 1.0)
            await asyncio.sleep(60)
        assert versions(parties)[-1] > before + 8
        assert versions(parties) == sorted(set(versions(parties)))
        assert [host.lives for host in parties.hosts.values()] == [3, 3, 3]
        assert [host.crashes for host in parties.hosts.values()] == [2, 2, 2]
        assert parties.coordinator.summary is None

    play(scene)


def test_crash_comes_at_the_step_that_was_planned_and_only_in_that_process() -> None:
    async def scene(parties: Parties) -> None:
        died: list[str] = []
        for name in parties.hosts:
            parties.start(name)
        await asyncio.sleep(10)
        host = parties.hosts["a0"]
        assert host.party is not None
        steps = host.party.steps
        party = host.party
        parties.crash_after("a0", 7, power=False, then=lambda: died.append("a0"))
        await asyncio.sleep(30)
        assert died == ["a0"]
        assert party.steps == steps + 8
        parties.crash_after("a0", 1, power=False, then=lambda: died.append("nobody"))
        parties.crash_after("a1", 50, power=False, then=lambda: died.append("too late"))
        parties.crash("a1")
        parties.start("a1")
        await asyncio.sleep(60)
        assert died == ["a0"]

    play(scene)


def test_crash_in_the_middle_of_a_job_on_the_disk() -> None:
    async def scene(parties: Parties) -> None:
        died: list[int] = []
        for name in parties.hosts:
            parties.start(name)
        await asyncio.sleep(10)
        disk = parties.coordinator.disk
        before = disk.operations
        parties.crash_in_disk(COORDINATOR, 3, then=lambda: died.append(disk.operations))
        await asyncio.sleep(60)
        assert died == [before + 4]
        parties.start(COORDINATOR)
        await asyncio.sleep(60)
        assert parties.coordinator.up
        assert parties.coordinator.errors == []

    play(scene)


def test_process_that_ends_well_is_not_started_again() -> None:
    async def scene(parties: Parties) -> None:
        for name in parties.hosts:
            parties.start(name)
        await asyncio.sleep(300)
        assert parties.coordinator.summary is not None
        assert parties.coordinator.summary.version == 3
        assert [host.up for host in parties.hosts.values()] == [False] * 3
        assert [host.errors for host in parties.hosts.values()] == [[]] * 3
        parties.stop("a0")

    play(scene, end=End(max_versions=3))


def test_process_that_was_asked_to_stop_stops() -> None:
    async def scene(parties: Parties) -> None:
        parties.start("a0")
        await asyncio.sleep(5)
        parties.stop("a0")
        await parties.ended.wait()
        assert not parties.hosts["a0"].up

    play(scene)


@pytest.mark.parametrize(
    ("error", "lives"), [(ConfigError("wrong"), TRIES), (ValueError("a defect"), 1), (StateError("full"), 3)]
)
def test_service_manager_gives_up_after_some_tries(
    monkeypatch: pytest.MonkeyPatch, error: Exception, lives: int
) -> None:
    class Broken:
        async def run(self) -> None:
            raise ExceptionGroup("parcel", [error]) if isinstance(error, ValueError) else error

    monkeypatch.setattr(module.Parties, "_agent", lambda *arguments: Broken())  # pyright: ignore[reportUnknownArgumentType, reportUnknownLambdaType]

    async def scene(parties: Parties) -> None:
        host = parties.hosts["a0"]
        host.disk.full = isinstance(error, StateError)
        parties.start("a0")
        await asyncio.sleep(2.5 * AGAIN if host.disk.full else 100.0)
        assert host.lives == lives
        assert len(host.errors) == (0 if host.disk.full else lives)
        assert all(f"{type(error).__name__}: {error}" in words for words in host.errors)

    play(scene)


def test_buried_host_stays_silent() -> None:
    async def scene(parties: Parties) -> None:
        parties.start("a0")
        await asyncio.sleep(5)
        parties.bury("a0")
        parties.start("a0")
        parties.revive("a0", 1.0)
        await asyncio.sleep(10)
        assert not parties.hosts["a0"].up
        assert parties.hosts["a0"].disk.size(AGENT / "state.db")

    play(scene)


def test_clock_that_jumped_stays_wrong_after_a_restart() -> None:
    async def scene(parties: Parties) -> None:
        parties.jump("a0", -50.0)
        parties.start("a0")
        party = parties.hosts["a0"].party
        assert party is not None
        assert party.ahead == -50.0
        parties.jump("a0", 20.0)
        assert party.ahead == -30.0
        parties.crash("a0")
        parties.start("a0")
        again = parties.hosts["a0"].party
        assert again is not None
        assert again.ahead == -30.0

    play(scene)
