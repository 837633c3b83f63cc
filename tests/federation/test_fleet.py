"""Whole federations in virtual time, as their coordinator lives them.

Who is slow, asleep or dead holds up nobody.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

import numpy as np
import pytest
from house import House
from peer import Adder

from antiphon.simulation import clock
from antiphon.simulation.memory_broker import MemoryBroker

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")

FOR_EVER = 1e9
TEN_MINUTES = 600.0
SMALL: dict[str, Any] = {"w": np.zeros(60, np.float32)}


@pytest.fixture(autouse=True)
def no_power_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here loses its power: real disks would only slow virtual time down."""

    def fsync(handle: int) -> None:
        del handle

    monkeypatch.setattr("os.fsync", fsync)


class Fleet(House):
    """A federation whose trainers take time."""

    def __init__(self, folder: Path, broker: MemoryBroker, initial: Any, **settings: Any) -> None:
        super().__init__(folder, broker, initial, **{"spread": 0.0, "durability": "flush", **settings})
        self._paces: dict[str, tuple[Adder, float]] = {}

    def start(self, id: str, seconds: float, **settings: Any) -> Adder:
        """Start an agent whose training takes so many seconds."""
        trainer = Adder({name: value.copy() for name, value in (self.initial or SMALL).items()})
        self._paces[id] = (trainer, seconds)
        self.start_agent(id, trainer, **settings)
        return trainer

    def _environment(self, id: str) -> Any:
        environment = super()._environment(id)
        if id not in self._paces:
            return environment
        trainer, seconds = self._paces[id]

        async def run(function: Callable[[*Arguments], Result], /, *arguments: *Arguments) -> Result:
            before = len(trainer.trained)
            result = await environment.run(function, *arguments)
            if len(trainer.trained) > before:
                await asyncio.sleep(seconds)
            return result

        return replace(environment, run=run)

    @property
    def published(self) -> int:
        """How many versions there are, the first included."""
        return len(self.seen("version"))


async def ten_minutes(folder: Path, eighth: str, **settings: Any) -> Fleet:
    """Seven agents that answer every 10 to 16 seconds, and an eighth that does what ``eighth`` says."""
    async with Fleet(folder, MemoryBroker(), settings.pop("initial", SMALL), **settings) as fleet:
        if eighth == "admitted":
            fleet.admit("sleeper")
        fleet.start_coordinator()
        for n in range(7):
            fleet.start(f"a{n}", 10.0 + n + n * n / 97)  # never two at the same instant
        if eighth == "asleep":
            fleet.start("sleeper", FOR_EVER)
        await asyncio.sleep(TEN_MINUTES)
        assert "sleeper" not in {agent for event in fleet.seen("version") for agent in event["agents"]}
    return fleet


@pytest.mark.parametrize(
    ("preset", "eighths"),
    [("fedbuff", ["admitted", "asleep"]), ("fedasync", ["asleep"]), ("fedavg", ["asleep"])],
)
def test_eighth_agent_asleep_for_ever_costs_the_other_seven_no_version(
    tmp_path: Path, preset: str, eighths: list[str]
) -> None:
    def versions(eighth: str) -> int:
        folder = tmp_path / (eighth or "seven")
        folder.mkdir()
        return clock.run(lambda: ten_minutes(folder, eighth, preset=preset)).published

    without = versions("")
    assert without > 30
    assert [versions(eighth) for eighth in eighths] == [without] * len(eighths)


def test_eighth_agent_asleep_in_a_pull_costs_nothing_in_slots_either(tmp_path: Path) -> None:
    limits = {"frame": 16 << 10, "packet": 16 << 10, "slot_bytes": 1 << 20}
    initial = {"w": np.zeros(20_000, np.float32)}

    async def main(folder: Path, *, sleeper: bool) -> int:
        async with Fleet(folder, MemoryBroker(), initial, limits=limits) as fleet:
            fleet.start_coordinator()
            for n in range(3):
                fleet.start(f"a{n}", 10.0 + n + n * n / 97)
            if sleeper:
                fleet.start("sleeper", 5.0)
                await fleet.until(lambda: "sleeper" in fleet.broker.sessions)
                fleet.tasks["sleeper"].cancel()  # gone in the middle of its first pull, without a goodbye
                await asyncio.gather(fleet.tasks.pop("sleeper"), return_exceptions=True)
            await asyncio.sleep(TEN_MINUTES)
            return fleet.published

    for name in ("False", "True"):
        (tmp_path / name).mkdir()
    counts = [
        clock.run(lambda sleeper=sleeper: main(tmp_path / str(sleeper), sleeper=sleeper))
        for sleeper in (False, True)
    ]
    assert counts[0] == counts[1] > 20


def test_two_agents_at_k_two_and_one_dies_the_other_still_gets_versions(tmp_path: Path) -> None:
    async def main() -> None:
        async with Fleet(tmp_path, MemoryBroker(), SMALL, aggregation={"k": 2}) as fleet:
            fleet.start_coordinator()
            fleet.start("stays", 5.0)
            fleet.start("dies", 6.0)
            await fleet.versions(5)
            await fleet.crash("dies")
            before = fleet.published
            await asyncio.sleep(TEN_MINUTES)
            alone = [event for event in fleet.seen("version")[before + 1 :] if event["agents"] == ["stays"]]
            assert len(alone) >= 5

    clock.run(main)


@pytest.mark.parametrize("preset", ["fedbuff", "fedasync", "fedavg", "fedadam"])
def test_one_agent_alone_keeps_getting_versions(tmp_path: Path, preset: str) -> None:
    async def main() -> None:
        async with Fleet(tmp_path, MemoryBroker(), SMALL, preset=preset) as fleet:
            fleet.start_coordinator()
            trainer = fleet.start("only", 5.0)
            await asyncio.sleep(TEN_MINUTES)
            assert fleet.published > 8
            assert len(trainer.trained) >= fleet.published - 2

    clock.run(main)


def test_slow_agent_is_merged_too_and_weighed_by_its_staleness(tmp_path: Path) -> None:
    async def main() -> None:
        async with Fleet(tmp_path, MemoryBroker(), SMALL) as fleet:
            fleet.start_coordinator()
            for n in range(3):
                fleet.start(f"fast{n}", 5.0)
            fleet.start("slow", 100.0)
            await asyncio.sleep(TEN_MINUTES)
            merged = [e for e in fleet.seen("version") if "slow" in e["agents"]]
            assert len(merged) >= 4
            for event in merged:
                at = event["agents"].index("slow")
                assert event["staleness"][at] > 10
                assert event["weights"][at] == pytest.approx((1 + event["staleness"][at]) ** -0.5, abs=1e-5)

    clock.run(main)


def test_stopped_coordinator_keeps_what_it_received_and_the_next_start_merges_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with Fleet(tmp_path, MemoryBroker(), SMALL, aggregation={"k": 4}) as fleet:
            fleet.start_coordinator()
            for n in range(5):
                fleet.start(f"a{n}", 3.0 + n)
            await fleet.versions(5)
            await fleet.stop("coordinator")
            accepted = len(fleet.seen("accepted"))
            applied = sum(len(event["agents"]) for event in fleet.seen("version"))
            assert accepted > applied
            assert fleet.seen("rejected") == []
            last = fleet.seen("version")[-1]["version"]
            for n in range(5):
                await fleet.stop(f"a{n}")
            fleet.start_coordinator()
            await fleet.until(lambda: len(fleet.seen("version")) > last + 1)
            assert sum(len(event["agents"]) for event in fleet.seen("version")) == accepted

    clock.run(main)


def test_crashed_coordinator_goes_on_with_its_run_and_agents_with_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with Fleet(tmp_path, MemoryBroker(), SMALL) as fleet:
            fleet.start_coordinator()
            for n in range(2):
                fleet.start(f"a{n}", 3.0)
            await fleet.versions(3)
            await fleet.crash("coordinator")
            last = fleet.seen("version")[-1]["version"]
            await asyncio.sleep(5)
            fleet.start_coordinator()
            await fleet.versions(last + 3)
            numbers = [event["version"] for event in fleet.seen("version")]
            assert numbers == list(range(numbers[-1] + 1))

    clock.run(main)


@pytest.mark.parametrize("latency", [0.001, 0.25])
def test_every_update_is_settled_once_whatever_the_latency(tmp_path: Path, latency: float) -> None:
    async def main() -> None:
        end = {"max_versions": 20, "linger": 5.0}
        async with Fleet(tmp_path, MemoryBroker(latency), SMALL, end=end) as fleet:
            fleet.start_coordinator()
            for n in range(4):
                fleet.start(f"a{n}", 1.0 + n)
            await fleet.until(lambda: fleet.tasks["coordinator"].done())
            applied = sum(len(event["agents"]) for event in fleet.seen("version"))
            received = {event["agent"] for event in fleet.seen("rejected")}  # or refused at the end
            assert applied <= len(fleet.seen("accepted")) <= applied + len(received)
            summary = fleet.tasks["coordinator"].result()
            assert summary.version == 20
            assert summary.applied == applied

    clock.run(main)


def test_federation_is_the_same_twice(tmp_path: Path) -> None:
    def story(folder: Path) -> list[Any]:
        folder.mkdir()

        async def main() -> list[Any]:
            async with Fleet(folder, MemoryBroker(), SMALL) as fleet:
                fleet.start_coordinator()
                for n in range(4):
                    fleet.start(f"a{n}", 3.0 + n)
                await fleet.versions(10)
                return [(e["version"], e["digest"], e["agents"]) for e in fleet.seen("version")]

        return clock.run(main, seed=7)

    assert story(tmp_path / "one") == story(tmp_path / "two")
