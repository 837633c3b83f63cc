"""An agent's work when trainers and models misbehave; in virtual time."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peer import Peer, Running
from scenes import said
from trainers import Adder, model

from antiphon.agents.outbox import Outbox
from antiphon.agents.trainer import TrainingContext, TrainingResult
from antiphon.codecs.errors import ConfigError
from antiphon.codecs.messages import NO_DIGEST
from antiphon.simulation import clock
from antiphon.simulation.memory_broker import MemoryBroker


def test_a_trainer_that_fails_pauses_the_agent_which_tries_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            trainer = Adder(model())
            trainer.failures = 3
            agent = peer.make_agent(trainer, tmp_path)
            async with Running(agent):
                await peer.until(lambda: trainer.failures == 2)
                await asyncio.sleep(2)
                assert (said(peer)["activity"], said(peer)["detail"]) == ("paused", "trainer failed")
                await peer.until(lambda: agent.counters.applied == 1, 300)
                await asyncio.sleep(2)
                assert said(peer)["activity"] == "waiting"

    clock.run(story)
    assert "no data today" in caplog.text


def test_a_version_is_trained_on_once_also_after_a_restart(tmp_path: Path) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            first, second = Adder(model()), Adder(model())
            agent = peer.make_agent(first, tmp_path)
            async with Running(agent):
                await peer.until(lambda: agent.counters.applied == 1)
                for _ in range(3):
                    await asyncio.sleep(100)
                    await peer.announce()  # signed again
                await peer.announce(term=5)  # the coordinator has restarted
                await asyncio.sleep(60)
            agent = peer.make_agent(second, tmp_path)
            async with Running(agent):
                await asyncio.sleep(60)
                assert (first.trained, second.trained) == ([0], [])
                await peer.publish(model(value=1.0), 1)
                await peer.until(lambda: agent.counters.applied == 1)
                assert second.trained == [1]

    clock.run(story)


def test_trainings_keep_their_interval_and_take_the_newest_version(tmp_path: Path) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            trainer = Adder(model())
            agent = peer.make_agent(trainer, tmp_path, interval=60.0)
            async with Running(agent):
                await peer.until(lambda: agent.counters.applied == 1)
                for number in (1, 2):
                    await asyncio.sleep(10)
                    await peer.publish(model(value=float(number)), number)
                await asyncio.sleep(30)
                assert trainer.trained == [0]
                assert said(peer)["activity"] == "waiting"
                await asyncio.sleep(15)
                assert trainer.trained == [0, 2]

    clock.run(story)


def test_schema_that_differs_stops_the_agent(tmp_path: Path) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            agent = peer.make_agent(Adder(model(size=5)), tmp_path)
            with pytest.raises(ConfigError, match="tensor 'w'"):
                await agent.run()
            assert said(peer)["state"] == "offline"

    clock.run(story)


def test_model_above_the_bound_stops_the_agent(tmp_path: Path) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            agent = peer.make_agent(Adder(model()), tmp_path, limits={"model": 10})
            with pytest.raises(ConfigError, match=r"limits\.model"):
                await agent.run()

    clock.run(story)


def test_first_model_is_offered_without_loss_when_wanted(tmp_path: Path) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.announce(wanted="initial")
            trainer = Adder(model(value=0.1))
            agent = peer.make_agent(trainer, tmp_path, may_initialise=True, encoding="int8")
            async with Running(agent):
                await peer.until(lambda: agent.counters.applied == 1)
                await asyncio.sleep(100)
                assert len(peer.offers) == 1
                offer, params = peer.updates[0]
                assert (offer.base, offer.base_number, offer.encoding) == (NO_DIGEST, -1, "float32")
                np.testing.assert_array_equal(params["w"], np.full(3, 0.1, np.float32))
                await peer.publish(params, 0)
                await peer.until(lambda: agent.counters.applied == 2)
                assert peer.updates[1][0].encoding == "int8"

    clock.run(story)


def test_agents_without_leave_do_not_offer_a_first_model(tmp_path: Path) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.announce(wanted="initial")
            async with Running(peer.make_agent(Adder(model()), tmp_path)):
                await asyncio.sleep(100)
            assert not peer.offers

    clock.run(story)


def test_a_defect_in_an_agents_part_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def defect(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            monkeypatch.setattr(Outbox, "add", defect)
            agent = peer.make_agent(Adder(model()), tmp_path)
            task = asyncio.create_task(agent.run())
            async with asyncio.timeout(60):
                with pytest.raises(ZeroDivisionError):
                    await task

    clock.run(story)


def test_a_trainer_that_looks_is_told_to_stop(tmp_path: Path) -> None:
    seen: list[bool] = []

    class Long(Adder):
        def train_model(self, context: TrainingContext) -> TrainingResult:
            seen.append(context.stopping())
            agent.stop()
            seen.append(context.stopping())
            return super().train_model(context)

    async def story() -> None:
        nonlocal agent
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            agent = peer.make_agent(Long(model()), tmp_path)
            async with asyncio.timeout(60):
                await agent.run()
            agent.stop()

    agent: Any = None
    clock.run(story)
    assert seen == [False, True]


def test_metrics_that_do_not_fit_an_offer_stay_behind(tmp_path: Path) -> None:
    class Talker(Adder):
        def train_model(self, context: TrainingContext) -> TrainingResult:
            super().train_model(context)
            return TrainingResult(examples=1, metrics={f"{'m' * 140}{n}": 1.0 for n in range(100)})

        def evaluate_model(self) -> dict[str, float]:
            return {f"{'g' * 140}{n}": 1.0 for n in range(100)}

    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            agent = peer.make_agent(Talker(model()), tmp_path)
            async with Running(agent):
                await peer.until(lambda: agent.counters.applied == 1)
                assert peer.offers[0].metrics == {}

    clock.run(story)


def test_a_schema_that_fits_no_offer_ends_the_agent_with_advice(tmp_path: Path) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.announce(wanted="initial")
            params = {f"encoder.{n}.attention.projection.weight": np.zeros(1, np.float32) for n in range(400)}
            agent = peer.make_agent(Adder(params), tmp_path, may_initialise=True)
            with pytest.raises(ConfigError, match=r"raise limits\.offer"):
                async with asyncio.timeout(60):
                    await agent.run()

    clock.run(story)
