"""The story, in virtual time: a scripted coordinator on a broker in memory, and children in name only."""

import asyncio
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.table import Table

from antiphon.broker_config.connection import Connect, Connected
from antiphon.broker_config.disk import Disk
from antiphon.codecs.errors import ConfigError, StateError
from antiphon.coordinator.ledger.reading import Newest
from antiphon.coordinator.models import Model
from antiphon.coordinator.state_folder import first_model
from antiphon.demo import play as module
from antiphon.demo.display import PlainDisplay
from antiphon.demo.play import NothingHappens, Play, play
from antiphon.demo.processes import ChildFailed
from antiphon.demo.stage import Stage
from antiphon.simulation.clock import run
from antiphon.simulation.memory_broker import MemoryBroker


class Actors:
    """Stands for `Children`: notes what is asked of it."""

    def __init__(self) -> None:
        self.alive: set[str] = set()
        self.said: list[str] = []
        self.failed = ""
        self.newest: Model | None = None

    def start(self, name: str, *arguments: str, folder: Path) -> None:
        self.said.append(f"start {name}")
        self.alive.add(name)

    def runs(self, name: str) -> bool:
        return name in self.alive

    def kill(self, name: str) -> None:
        self.said.append(f"kill {name}")
        self.alive.remove(name)

    def check(self, may_end: Iterable[str] = ()) -> None:
        if self.failed:
            raise ChildFailed(self.failed, 1, Path("nowhere.log"))

    def end(self, names: Iterable[str], patience: float = 5.0) -> None:
        self.said.append("end")
        self.alive -= set(names)


class Screen(PlainDisplay):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def show(self, seconds: float, line: str, table: Callable[[], Table]) -> None:
        self.lines.append(line)
        assert table().row_count == 8


async def coordinate(broker: MemoryBroker, stage: Stage, actors: Actors, versions: int, pace: float) -> None:
    """A version every ``pace`` seconds, then goodbye."""
    async with broker.connect("coordinator") as line:
        async for event in line.events():
            if isinstance(event, Connected):
                break
        for number in range(1, versions + 1):
            await asyncio.sleep(pace)
            params = {name: value + 0.01 * number for name, value in stage.problem.initial().items()}
            actors.newest = replace(first_model(params, {}), number=number)
            event = {"event": "version", "version": number, "agents": ["radio-tv"]}
            await line.publish(stage.topics.events, json.dumps(event).encode(), qos=0)
        event = {"event": "rejected", "agent": "radio-tv", "reason": "norm"}
        await line.publish(stage.topics.events, json.dumps(event).encode(), qos=0)
        await asyncio.sleep(1.0)
        actors.alive.discard("coordinator")


def perform(
    stage: Stage, actors: Actors, monkeypatch: pytest.MonkeyPatch, versions: int = 160, pace: float = 0.2
) -> tuple[Play, Screen]:
    broker, screen = MemoryBroker(), Screen()

    def connector(address: object) -> Connect:
        return broker.connect

    monkeypatch.setattr(module, "connector", connector)

    def newest(folder: Path, disk: Disk) -> Newest:
        assert folder == stage.federation / "state"
        if actors.newest is None:
            raise StateError("there is no first version yet")
        return Newest(actors.newest, b"r" * 16, 1)

    monkeypatch.setattr(module, "newest", newest)
    monkeypatch.setattr(module, "listens", bool)

    async def main() -> Play:
        script = asyncio.create_task(coordinate(broker, stage, actors, versions, pace), name="script")
        try:
            return await play(stage, actors, screen)  # pyright: ignore[reportArgumentType]
        finally:
            script.cancel()

    return run(main), screen


def test_one_joins_late_and_one_is_killed_and_comes_back(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    actors = Actors()
    seen, screen = perform(stage, actors, monkeypatch)
    early = [bank.id for bank in stage.problem.banks if bank.id != "education"]
    assert actors.said == [
        *("start " + name for name in ("broker", "coordinator", *early)),
        "start education",
        "kill new-car",
        "start new-car",
        "end",
    ]
    assert actors.alive == {"broker"}  # which the block around it ends
    when = list(seen.marks.values())
    assert list(seen.marks) == ["education joins", "new-car killed", "new-car back"]
    assert [value / seen.seconds for value in when] == pytest.approx([0.33, 0.5, 0.62], abs=0.06)
    assert any("killed" in note for note in screen.notes)
    assert any("rejected: norm" in note for note in screen.notes)


def test_model_is_judged_whenever_it_is_another_one(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, screen = perform(stage, Actors(), monkeypatch)
    assert seen.points[-1][1] >= 159  # the model may be there a moment before the message about it
    assert [point[0] for point in seen.points] == sorted(point[0] for point in seen.points)
    assert len(seen.points) > 50
    assert "held-out rows" in screen.lines[-1]
    assert seen.board.agents["radio-tv"].applied == 160


def test_slow_machine_ends_by_its_budget_with_the_whole_story_told(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    actors = Actors()
    seen, _ = perform(stage, actors, monkeypatch, versions=30, pace=stage.plan.budget / 30)
    assert len(seen.marks) == 3
    assert "start new-car" in actors.said


def test_federation_that_does_not_get_going_is_said_so(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NothingHappens, match="no version was made within 30 s"):
        perform(stage, Actors(), monkeypatch, pace=1000.0)


def test_run_that_does_not_end_is_ended(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NothingHappens, match="did not end"):
        perform(stage, Actors(), monkeypatch, versions=1000, pace=1.0)


def test_child_that_fails_ends_the_demo(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    actors = Actors()
    actors.failed = "coordinator"
    with pytest.raises(ChildFailed, match="coordinator"):
        perform(stage, actors, monkeypatch)


def test_monitor_that_the_broker_refuses_ends_the_demo(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(connection: object, board: object) -> None:
        raise ConfigError("the broker refuses the password")

    monkeypatch.setattr(module, "_watch", refused)
    with pytest.raises(ConfigError, match="refuses"):
        perform(stage, Actors(), monkeypatch)
