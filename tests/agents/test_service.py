"""An agent against a scripted coordinator, in virtual time."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peer import Peer, Running
from trainers import Adder, model

from antiphon.agents import update
from antiphon.broker_config.environment import Environment
from antiphon.broker_config.topics import COORDINATOR
from antiphon.codecs.errors import AntiphonError, ConfigError, StateError
from antiphon.simulation import clock
from antiphon.simulation.clock import virtual_environment
from antiphon.simulation.disk import MemoryDisk
from antiphon.simulation.memory_broker import MemoryBroker


def test_small_model_is_pulled_trained_and_answered(tmp_path: Path) -> None:
    async def story() -> None:
        broker = MemoryBroker()
        async with Peer(broker) as peer:
            await peer.publish(model(), 0)
            trainer = Adder(model())
            agent = peer.make_agent(trainer, tmp_path)
            async with Running(agent):
                await peer.until(lambda: agent.counters.applied == 1)
                offer, params = peer.updates[0]
                assert (offer.base_number, offer.examples, offer.sequence) == (0, 10, 1)
                assert offer.metrics == {"loss": 0.5}
                np.testing.assert_array_equal(params["w"], np.ones(3, np.float32))
                assert params["steps"] == 8
                assert params["steps"].dtype == np.int64
                await asyncio.sleep(30)
                assert trainer.trained == [0]
                assert list((tmp_path / "outbox").iterdir()) == []
                await peer.publish(model(value=1.0), 1)
                await peer.until(lambda: agent.counters.applied == 2)
            assert trainer.trained == [0, 1]
            said = json.loads(broker.retained["status/a1"])
            assert (said["state"], said["role"], said["version"]) == ("offline", "agent", 1)

    clock.run(story)


def test_the_end_of_a_run_drops_what_was_never_received(tmp_path: Path) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            peer.answer = lambda upload: None
            agent = peer.make_agent(Adder(model()), tmp_path)
            running = Running(agent)
            async with running:
                await peer.until(lambda: bool(peer.offers))
                await peer.announce(state="over")
                async with asyncio.timeout(5):
                    await running.task
            assert not list((tmp_path / "outbox").iterdir())
            assert agent.counters.rejected == 1

    clock.run(story)


def test_an_update_that_reaches_the_disk_after_the_end_of_its_run_is_dropped_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def on_a_slow_disk(function: Any, *arguments: Any) -> Any:
        if getattr(function, "func", None) is update.store:
            await asyncio.sleep(5)
        return function(*arguments)

    def environment(**named: Any) -> Environment:
        return replace(clock.virtual_environment(**named), run=on_a_slow_disk)

    monkeypatch.setattr("peer.virtual_environment", environment)

    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            trainer = Adder(model())
            agent = peer.make_agent(trainer, tmp_path)
            running = Running(agent)
            async with running:
                await peer.until(lambda: trainer.trained == [0])
                await peer.announce(state="over")
                async with asyncio.timeout(10):
                    await running.task
            assert not list((tmp_path / "outbox").iterdir())
            assert agent.counters.rejected == 1

    clock.run(story)


def test_the_end_of_a_run_waits_for_outcomes_but_not_for_ever(tmp_path: Path) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            peer.outcome = ""
            running = Running(peer.make_agent(Adder(model()), tmp_path))
            async with running:
                await peer.until(lambda: bool(peer.updates))
                await peer.announce(state="over")
                await asyncio.sleep(20)
                assert not running.task.done()
                assert len([note for note in peer.notes if note.type == "ask"]) >= 3
                async with asyncio.timeout(15):
                    await running.task

    clock.run(story)


def test_an_agent_that_stays_joins_the_next_run(tmp_path: Path) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            agent = peer.make_agent(Adder(model()), tmp_path, stay=True)
            async with Running(agent):
                await peer.until(lambda: agent.counters.applied == 1)
                await peer.announce(state="over")
                await asyncio.sleep(10)
                await peer.announce(run=b"s" * 16, started=peer.started - 5)  # an older run: not believed
                await asyncio.sleep(10)
                await peer.announce(run=b"s" * 16, started=peer.started + 5, term=9, state="running")
                await peer.publish(model(), 0)
                await peer.until(lambda: agent.counters.applied == 2)

    clock.run(story)


def test_stop_before_and_during_a_run(tmp_path: Path) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            early = peer.make_agent(Adder(model()), tmp_path)
            early.stop()
            async with asyncio.timeout(5):
                await early.run()
            assert not early.training

    clock.run(story)


def test_a_broker_that_refuses_for_good_stops_the_agent(tmp_path: Path) -> None:
    async def story() -> None:
        broker = MemoryBroker()
        async with Peer(broker) as peer:
            broker.refused.add("a1")
            with pytest.raises(ConfigError):
                await peer.make_agent(Adder(model()), tmp_path).run()

    clock.run(story)


def test_a_coordinator_key_that_is_none_is_refused(tmp_path: Path) -> None:

    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            agent = peer.make_agent(Adder(model()), tmp_path)
            object.__setattr__(agent._identity, "coordinator", bytes(32))  # pyright: ignore
            with pytest.raises(AntiphonError):
                await agent.run()

    clock.run(story)


def test_the_coordinators_own_name_is_refused(tmp_path: Path) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            from dataclasses import replace

            from antiphon.agents.service import Agent
            from antiphon.agents.settings import AgentSettings
            from antiphon.simulation.clock import virtual_environment

            with pytest.raises(ConfigError, match="reserved"):
                Agent(
                    AgentSettings(),
                    replace(peer.identity, id=COORDINATOR),
                    Adder(model()),
                    tmp_path,
                    peer.broker.connect,
                    virtual_environment(),
                )

    clock.run(story)


def test_a_goodbye_that_the_broker_refuses_does_not_matter(tmp_path: Path) -> None:
    async def story() -> None:
        allowed = [True]
        broker = MemoryBroker(may_publish=lambda client, topic: client != "a1" or allowed[0])
        async with Peer(broker) as peer:
            await peer.publish(model(), 0)
            agent = peer.make_agent(Adder(model()), tmp_path)
            async with Running(agent):
                await peer.until(lambda: agent.counters.applied == 1)
                allowed[0] = False

    clock.run(story)


def test_files_of_an_earlier_release_are_reported_and_do_not_matter(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "outbox").mkdir()
    (tmp_path / "outbox" / "000000000000.update").write_bytes(b"?")

    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            agent = peer.make_agent(Adder(model()), tmp_path)
            async with Running(agent):
                await peer.until(lambda: agent.counters.applied == 1)

    clock.run(story)
    assert "of an earlier release" in caplog.text


def test_a_damaged_database_stops_the_agent_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"?" * 5000)

    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            with pytest.raises(StateError, match=r"state\.db.*remove state\.db and outbox/"):
                await peer.make_agent(Adder(model()), tmp_path).run()

    clock.run(story)


def test_an_agent_that_starts_on_a_full_disk_waits_for_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = MemoryDisk()
    disk.full = True

    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            environment = virtual_environment(party="a1", disk=disk)
            agent = peer.make_agent(Adder(model()), tmp_path, environment=environment)
            async with Running(agent):
                await asyncio.sleep(600)
                disk.full = False
                await peer.until(lambda: agent.counters.applied == 1, 320)
            disk.full = True
            agent = peer.make_agent(Adder(model()), tmp_path / "other", environment=environment)
            task = asyncio.create_task(agent.run())
            await asyncio.sleep(100)
            agent.stop()
            async with asyncio.timeout(1):
                await task

    clock.run(story)
    assert 3 < caplog.text.count("cannot open the outbox") < 20
