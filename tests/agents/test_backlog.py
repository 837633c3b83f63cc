"""Room for updates: bounds, full disks, and what goes first; in virtual time."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peer import Peer, Running
from scenes import Scene, left, play, said
from trainers import Adder, Scrambler, model, noise

from antiphon.agents import update
from antiphon.agents.service import Agent
from antiphon.agents.trainer import TrainingContext, TrainingResult
from antiphon.broker_config.environment import Environment
from antiphon.codecs import encodings, schema
from antiphon.codecs.schema import Schema
from antiphon.simulation import clock
from antiphon.simulation.clock import virtual_environment
from antiphon.simulation.disk import MemoryDisk
from antiphon.simulation.memory_broker import MemoryBroker


def environment(disk: MemoryDisk) -> Environment:
    return virtual_environment(party="a1", disk=disk)


def test_a_full_disk_pauses_training_with_the_reason_until_there_is_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = MemoryDisk()

    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            trainer = Adder(model())
            agent = peer.make_agent(trainer, tmp_path, environment=environment(disk))
            async with Running(agent):
                await peer.until(lambda: agent.counters.applied == 1)
                disk.capacity = disk.used + (10 << 20)
                await peer.publish(model(value=1.0), 1)
                await asyncio.sleep(20)
                assert trainer.trained == [0]
                assert (said(peer)["activity"], said(peer)["detail"]) == ("paused", "disk full")
                disk.capacity = None
                await peer.until(lambda: agent.counters.applied == 2, 30)

    clock.run(story)
    assert caplog.text.count("bytes free: an update needs") == 1


def test_work_that_finds_the_disk_full_is_kept_and_not_done_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = MemoryDisk()

    class Filler(Adder):
        def train_model(self, context: TrainingContext) -> TrainingResult:
            disk.full = True
            return super().train_model(context)

    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            trainer = Filler(model())
            agent = peer.make_agent(trainer, tmp_path, environment=environment(disk))
            async with Running(agent):
                await asyncio.sleep(100)
                assert (said(peer)["activity"], said(peer)["detail"]) == ("paused", "disk trouble")
                assert not left(agent)
                disk.full = False
                await peer.until(lambda: agent.counters.applied == 1, 320)
                assert trainer.trained == [0]

    clock.run(story)
    assert "disk trouble: cannot write an update into" in caplog.text


@pytest.mark.parametrize("change", [{"state": "over"}, {"run": b"s" * 16, "started": 2e9, "term": 2**31}])
def test_work_that_cannot_be_stored_goes_with_its_run(tmp_path: Path, change: dict[str, Any]) -> None:
    disk = MemoryDisk()

    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            trainer = Adder(model())
            agent = peer.make_agent(trainer, tmp_path, environment=environment(disk), stay=True)
            async with Running(agent):
                await peer.until(lambda: agent.counters.applied == 1)
                trainer.spoil = lambda found: setattr(disk, "full", True)
                await peer.publish(model(), 1)
                await peer.until(lambda: trainer.trained == [0, 1])
                await asyncio.sleep(10)
                await peer.announce(**change)
                await asyncio.sleep(10)
                disk.full = False
                await asyncio.sleep(700)
                assert agent.counters.sent == 1 + ("run" in change)  # that one was trained on anew

    clock.run(story)


SIZE = 92_160 * 2
"""Bytes of an update of `noise(30)` in bfloat16."""


def test_the_oldest_update_on_an_old_version_goes_when_the_outbox_is_full(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        peer.window = 0
        for number in (1, 2):
            await peer.until(lambda number=number: trainer.trained == list(range(number)))
            await peer.publish(noise(30), number)
            await asyncio.sleep(5)
        assert [entry.head.base_number for entry in left(agent)] == [1, 2]
        assert agent.counters.dropped == 1
        metrics = json.loads(peer.broker.retained["metrics/a1"])
        assert metrics["updates_dropped"] == 1
        peer.window = 1 << 20
        await peer.until(lambda: agent.counters.applied == 2, 120)
        # What was left of it is in the residual: it had not been sent.
        total = sum(params["w"].astype(np.float64) for _, params in peer.updates)
        await asyncio.sleep(1)
        assert np.abs(total).max() > 0
        assert trainer.trained == [0, 1, 2]

    limits = {"outbox": 2 * SIZE + 1000, "backlog": 10}
    play(scene, tmp_path, noise(30), encoding="bfloat16", limits=limits)
    assert "update 1 on version 0 dropped" in caplog.text


def test_what_the_coordinator_may_have_does_not_come_back_when_it_is_dropped(tmp_path: Path) -> None:
    """Dropped before it was ever offered: all of Δ is in the residual. Offered whole: nothing of it."""
    found: list[float] = []
    for offered in (False, True):
        own = schema.infer(model(40_000))

        async def scene(
            peer: Peer, agent: Agent, trainer: Adder, offered: bool = offered, own: Schema = own
        ) -> None:
            await peer.until(lambda: agent.counters.sent == 1)
            if offered:
                await peer.until(lambda: len(peer.offers) == 1)
            await peer.publish(model(40_000), 1)
            await peer.until(lambda: agent.counters.dropped == 1, 30)
            box = agent._outbox  # pyright: ignore[reportPrivateUsage]
            await peer.until(lambda: agent.counters.sent == 2, 30)
            head = left(agent)[-1].head
            rest = box.residual(update.residual_spec(head.run, own))
            assert rest is not None
            sent = encodings.decode(left(agent)[-1].content()[0], "float16", 40_000, "float32")
            found.append(float(sent[0]) + float(np.frombuffer(rest, np.float32)[0]))

        folder = tmp_path / str(offered)
        folder.mkdir()
        once(scene, folder, offered)
    third = float(np.float32(1) / 3)
    assert found == pytest.approx([2 * third, 2 * third - float(np.float16(third))], abs=1e-6)


def once(scene: Scene, folder: Path, offered: bool) -> None:
    """A Δ of a third in float16, in an outbox that has room for one, with a coordinator that says nothing."""

    class Third(Adder):
        def train_model(self, context: TrainingContext) -> TrainingResult:
            super().train_model(context)
            self.params["w"] = self.params["w"] - np.float32(1) + np.float32(1) / 3
            return TrainingResult(examples=1)

    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            peer.answer = lambda upload: None
            await peer.announce(epoch=peer.epoch.public if offered else bytes(32))
            await peer.publish(model(40_000), 0)
            trainer = Third(model(40_000))
            limits = {"outbox": 81_000}
            agent = peer.make_agent(trainer, folder, encoding="float16", limits=limits)
            async with Running(agent):
                await scene(peer, agent, trainer)

    clock.run(story)


def test_an_update_whose_numbers_come_back_is_not_offered_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slowly(function: Any, *arguments: Any) -> Any:
        if function is update.take_back:
            await asyncio.sleep(30)
        await asyncio.sleep(0)
        return function(*arguments)

    def slow(**named: Any) -> Environment:
        return replace(virtual_environment(**named), run=slowly)

    monkeypatch.setattr("peer.virtual_environment", slow)

    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        await peer.until(lambda: agent.counters.sent == 1)
        await peer.publish(model(40_000), 1)
        await asyncio.sleep(5)
        peer.answer = None
        await peer.announce(epoch=peer.epoch.public)
        await peer.until(lambda: agent.counters.applied == 1, 120)
        assert [offer.sequence for offer in peer.offers] == [2]

    once(scene, tmp_path, offered=False)


@pytest.mark.parametrize("count", [1, 2])
def test_an_update_that_a_full_disk_does_not_let_go_of_is_offered_on_in_its_turn(
    tmp_path: Path, count: int
) -> None:
    disk = MemoryDisk()

    async def slowly(function: Any, *arguments: Any) -> Any:
        await asyncio.sleep(90 if function is update.take_back else 0)
        return function(*arguments)

    async def story() -> None:
        async with Peer(MemoryBroker(), frame=16 << 10) as peer:
            peer.answer = lambda upload: None
            await peer.publish(noise(30), 0)
            trainer = Scrambler(noise(30))
            agent = peer.make_agent(
                trainer,
                tmp_path,
                environment=replace(environment(disk), run=slowly),
                encoding="bfloat16",
                limits={"outbox": count * SIZE + 1000, "backlog": 10},
            )
            async with Running(agent):
                for number in range(1, count + 1):
                    await peer.until(lambda number=number: agent.counters.sent == number)
                    disk.full = number == count
                    await peer.publish(noise(30), number)
                await peer.until(lambda: left(agent)[0].state == "gone", 30)
                peer.answer = None
                await peer.until(lambda: agent.counters.applied == count, 300)
                # What a later one overtakes is answered `settled`, and lost.
                assert [offer.sequence for offer, _ in peer.updates] == list(range(1, count + 1))

    clock.run(story)


def test_a_disk_that_does_not_let_go_of_anything_pauses_training(tmp_path: Path) -> None:
    disk = MemoryDisk()

    async def story() -> None:
        async with Peer(MemoryBroker(), frame=16 << 10) as peer:
            await peer.publish(noise(30), 0)
            await peer.announce(epoch=bytes(32))
            limits = {"outbox": SIZE + 1000}
            trainer = Scrambler(noise(30))
            agent = peer.make_agent(
                trainer, tmp_path, environment=environment(disk), encoding="bfloat16", limits=limits
            )
            async with Running(agent):
                await peer.until(lambda: agent.counters.sent == 1)
                disk.full = True
                await peer.publish(noise(30), 1)
                await asyncio.sleep(20)
                assert (len(left(agent)), left(agent)[0].state, trainer.trained) == (1, "pending", [0])
                disk.full = False
                await peer.until(lambda: trainer.trained == [0, 1], 30)
                assert agent.counters.dropped == 1

    clock.run(story)


def test_copies_of_what_was_received_go_before_anything_else(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        peer.outcome = ""
        for number in (1, 2, 3):
            await peer.until(lambda number=number: len(peer.updates) == number)
            await peer.publish(noise(30), number)
        await peer.until(lambda: len(peer.updates) == 4)
        await asyncio.sleep(1)
        assert [entry.whole for entry in left(agent)] == [False, False, True, True]
        assert agent.counters.dropped == 0

    limits = {"outbox": 2 * SIZE + 1000}
    play(scene, tmp_path, noise(30), encoding="bfloat16", limits=limits)


def test_an_outbox_that_is_too_small_for_one_update_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        await asyncio.sleep(10)
        assert trainer.trained == []
        assert (said(peer)["activity"], said(peer)["detail"]) == ("paused", "outbox full")

    play(scene, tmp_path, model(), limits={"outbox": 10})
    assert "an update takes 20 bytes, more than limits.outbox (10): raise it" in caplog.text


def test_a_bound_that_was_lowered_holds_from_the_next_update_on(tmp_path: Path) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker(), frame=16 << 10) as peer:
            peer.window = 0
            await peer.publish(noise(30), 0)
            agent = peer.make_agent(Scrambler(noise(30)), tmp_path, limits={"backlog": 5})
            async with Running(agent):
                await peer.until(lambda: agent.counters.sent == 1)
                await peer.publish(noise(30), 1)
                await peer.until(lambda: agent.counters.sent == 2)
            agent = peer.make_agent(
                Scrambler(noise(30)), tmp_path, limits={"backlog": 5, "outbox": 2 * SIZE + 1000}
            )
            async with Running(agent):
                await asyncio.sleep(5)
                assert [entry.head.base_number for entry in left(agent)] == [
                    0,
                    1,
                ]  # nothing new: they may stay
                await peer.publish(noise(30), 2)
                await peer.until(lambda: agent.counters.sent == 1)
                assert [entry.head.base_number for entry in left(agent)] == [2]
                assert agent.counters.dropped == 2

    clock.run(story)


def test_updates_wait_on_disk_while_the_broker_is_away(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        peer.answer = lambda upload: None
        await peer.until(lambda: len(peer.offers) == 1)
        await peer.publish(model(value=1.0), 1)
        await asyncio.sleep(10)
        await peer.publish(model(value=2.0), 2)
        await asyncio.sleep(10)
        assert trainer.trained == [0, 1]  # two wait: the third training does too
        peer.answer = None
        await peer.until(lambda: agent.counters.applied == 3, 120)
        assert trainer.trained == [0, 1, 2]

    play(scene, tmp_path, model())
