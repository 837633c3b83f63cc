"""Whole federations in virtual time, as their agents live them."""

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from house import House
from numpy.typing import NDArray
from peer import Adder, Params, model

from antiphon.agents.trainer import TrainingContext, TrainingResult
from antiphon.codecs.errors import ConfigError
from antiphon.coordinator.models import load
from antiphon.simulation import clock
from antiphon.simulation.memory_broker import MemoryBroker

SMALL = {"frame": 16 << 10, "packet": 16 << 10, "intake_bytes": 64 << 10, "slot_bytes": 8 << 20}
"""Frames of 16 KiB and a window of four of them: many chunks without many bytes."""


def large(value: float = 0.0) -> Params:
    """2 MB of floats."""
    return {"w": np.full((500, 1000), value, np.float32), "steps": np.array(7, np.int64)}


class Noisy(Adder):
    """Adds noise, which does not compress."""

    def train_model(self, context: TrainingContext) -> TrainingResult:
        self.trained.append(context.version)
        noise = np.random.default_rng(1).normal(size=self.params["w"].shape).astype(np.float32)
        self.params["w"] = self.params["w"] + noise
        return TrainingResult(examples=5)


class Batched:
    """What a PyTorch module's state dict looks like, with batch normalisation."""

    def __init__(self) -> None:
        self.params: Params = {
            "conv.weight": np.ones((4, 3), np.float32),
            "norm.running_mean": np.zeros(4, np.float32),
            "norm.running_var": np.full(4, 0.01, np.float32),
            "norm.num_batches_tracked": np.array(0, np.int64),
        }

    def get_model_params(self) -> Params:
        return self.params

    def update_model_params(self, params: Mapping[str, NDArray[Any]]) -> None:
        found = {name: (value.dtype, value.shape) for name, value in params.items()}
        assert found == {name: (value.dtype, value.shape) for name, value in self.params.items()}
        assert (params["norm.running_var"] >= 0).all()
        self.params = dict(params)

    def train_model(self, context: TrainingContext) -> TrainingResult:
        self.params["conv.weight"] -= np.float32(0.1)
        self.params["norm.running_var"] *= np.float32(0.5)
        self.params["norm.num_batches_tracked"] += 1
        return TrainingResult(examples=8)

    def model_roles(self) -> dict[str, str]:
        return {"norm.num_batches_tracked": "max"}


def test_two_agents_make_versions(tmp_path: Path) -> None:
    async def story() -> None:
        async with House(tmp_path, MemoryBroker(), model()) as house:
            house.start_coordinator()
            agents = [house.start_agent(id, Adder(model())) for id in ("a1", "a2")]
            await house.versions(5)
            assert all(agent.counters.applied >= 1 for agent in agents)

    clock.run(story)


def test_a_run_that_ends_lets_its_agents_go(tmp_path: Path) -> None:
    async def story() -> None:
        async with House(tmp_path, MemoryBroker(), model(), end={"max_versions": 3}) as house:
            house.start_coordinator()
            agents = [house.start_agent(id, Adder(model())) for id in ("a1", "a2", "a3")]
            async with asyncio.timeout(600):
                await asyncio.gather(*house.tasks.values())
            assert all(list((tmp_path / a / "outbox").iterdir()) == [] for a in ("a1", "a2", "a3"))
            settled = sum(a.counters.applied + a.counters.rejected for a in agents)
            assert settled == sum(a.counters.sent for a in agents)
            for id in ("a1", "a2", "a3"):
                assert json.loads(house.broker.retained[f"status/{id}"])["state"] == "offline"

    clock.run(story)


@pytest.mark.parametrize(("start", "limits"), [(model, {}), (large, SMALL)], ids=["inside", "slots"])
def test_the_last_model_of_a_run_goes_to_every_trainer(
    tmp_path: Path, start: Callable[[], Params], limits: dict[str, int]
) -> None:
    async def story() -> None:
        broker = MemoryBroker()
        async with House(tmp_path, broker, start(), limits=limits, end={"max_versions": 3}) as house:
            house.start_coordinator()
            trainers = [Adder(start()) for _ in range(2)]
            for id, trainer in zip(("a1", "a2"), trainers, strict=True):
                house.start_agent(id, trainer)
            async with asyncio.timeout(600):
                await asyncio.gather(*house.tasks.values())
            last = load(tmp_path / "coordinator" / "state" / "model.safetensors")
            for trainer in trainers:
                for name, value in last.items():
                    np.testing.assert_array_equal(trainer.params[name], value)

    clock.run(story)


def test_a_trainer_that_does_not_take_the_last_model_keeps_nobody(tmp_path: Path) -> None:
    class Full(Adder):
        def update_model_params(self, params: Mapping[str, NDArray[Any]]) -> None:
            if len(self.trained) == 3:
                raise OSError("no space left")
            super().update_model_params(params)

    async def story() -> None:
        async with House(tmp_path, MemoryBroker(), model(), end={"max_versions": 3}) as house:
            house.start_coordinator()
            house.start_agent("a1", Full(model()))
            async with asyncio.timeout(30):
                await asyncio.gather(*house.tasks.values())

    clock.run(story)


@pytest.mark.parametrize("encoding", ["lossless", "int8", "bfloat16"])
def test_large_models_travel_in_pieces(tmp_path: Path, encoding: str) -> None:
    async def story() -> None:
        broker = MemoryBroker()
        async with House(tmp_path, broker, large(), limits=SMALL) as house:
            house.start_coordinator()
            trainer = Noisy(large())
            agents = [house.start_agent(id, trainer, encoding=encoding) for id in ("a1",)]
            await house.versions(2)
            assert agents[0].counters.applied >= 1
            assert any(topic.startswith("model/broadcast/") for topic in broker.retained)
            noise = np.random.default_rng(1).normal(size=(500, 1000)).astype(np.float32)
            tolerance = {"lossless": 0, "int8": 0.05, "bfloat16": 0.02}[encoding]
            times = round(float(trainer.params["w"].sum() / noise.sum()))
            found: NDArray[Any] = trainer.params["w"] / times
            np.testing.assert_allclose(found, noise, atol=tolerance + 1e-4)

    clock.run(story)


def test_an_agent_that_loses_its_line_in_a_transfer_goes_on(tmp_path: Path) -> None:
    async def story() -> None:
        broker = MemoryBroker(bandwidth=500_000)
        async with House(tmp_path, broker, large(), limits=SMALL) as house:
            house.start_coordinator()
            agent = house.start_agent("a1", Noisy(large()))
            await house.until(lambda: agent.counters.sent > 0)
            for _ in range(4):
                await asyncio.sleep(1.5)
                broker.kill("a1")
            await house.versions(1)
            await asyncio.sleep(20)
            assert agent.counters.applied >= 1
            assert agent.counters.rejected == 0

    clock.run(story)


def test_an_update_left_by_a_crashed_agent_is_applied_once(tmp_path: Path) -> None:
    async def story() -> None:
        broker = MemoryBroker(bandwidth=500_000)
        async with House(tmp_path, broker, large(), limits=SMALL) as house:
            house.start_coordinator()
            agent = house.start_agent("a1", Noisy(large()))
            await house.until(lambda: agent.counters.sent > 0)
            await asyncio.sleep(1.0)
            await house.crash("a1")
            assert len(list((tmp_path / "a1" / "outbox").iterdir())) == 1
            await asyncio.sleep(40)
            trainer = Noisy(large())
            again = house.start_agent("a1", trainer)
            await house.versions(1)
            await asyncio.sleep(5)
            assert again.counters.applied >= 1
            assert 0 not in trainer.trained  # version 0 was trained on before the crash
            (first,) = [found for found in house.seen("version") if found["version"] == 1]
            assert first["agents"] == ["a1"]

    clock.run(story)


def test_running_statistics_and_counters_keep_their_types(tmp_path: Path) -> None:
    async def story() -> None:
        trainers = {id: Batched() for id in ("a1", "a2")}
        initial = Batched().params
        async with House(tmp_path, MemoryBroker(), initial, preset="fedadam") as house:
            house.start_coordinator()
            for id, trainer in trainers.items():
                house.start_agent(id, trainer)
            await house.versions(6)
            assert not house.seen("rejected")

    clock.run(story)


def test_an_agent_with_another_model_stops_and_names_the_tensor(tmp_path: Path) -> None:
    async def story() -> None:
        async with House(tmp_path, MemoryBroker(), model()) as house:
            house.start_coordinator()
            house.start_agent("a1", Adder(model(size=4)))
            with pytest.raises(ConfigError, match=r"tensor 'w' is float32\[4\].*float32\[3\]"):
                await house.tasks["a1"]

    clock.run(story)


def test_the_first_model_comes_from_an_agent_that_may_bring_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with House(tmp_path, MemoryBroker(), None) as house:
            house.admit("a1", may_initialise=True)
            house.start_coordinator()
            house.start_agent("a2", Adder(model(value=9.0)))
            await asyncio.sleep(30)
            assert not house.seen("version")
            first = house.start_agent("a1", Adder(model(value=5.0)), may_initialise=True, encoding="int8")
            await house.versions(2)
            assert first.counters.applied >= 1

    clock.run(story)


def test_a_first_model_in_pieces(tmp_path: Path) -> None:
    async def story() -> None:
        async with House(tmp_path, MemoryBroker(), None, limits=SMALL) as house:
            house.admit("a1", may_initialise=True)
            house.start_coordinator()
            house.start_agent("a1", Noisy(large(3.0)), may_initialise=True)
            await house.versions(1)

    clock.run(story)
