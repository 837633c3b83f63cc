"""Updates that are delivered by another process than the one that trained them; in virtual time."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peer import Peer, Running
from trainers import Adder, Params, Scrambler, model, noise

from antiphon.agents import update
from antiphon.agents.service import Agent
from antiphon.agents.trainer import TrainingContext
from antiphon.codecs import schema
from antiphon.codecs.sealing import SecretKey
from antiphon.simulation import clock
from antiphon.simulation.crash import Party
from antiphon.simulation.disk import MemoryDisk
from antiphon.simulation.memory_broker import MemoryBroker

FOLDER = Path("/agent")
FRAME = 16 << 10


class Host:
    """The agent's machine: its disk outlives its processes."""

    def __init__(self, peer: Peer, make: Callable[[], Adder], seed: int = 0, **settings: Any) -> None:
        self.peer, self.make, self.settings = peer, make, settings
        self.disk = MemoryDisk(seed)
        self.lives = 0
        self.trained: list[int] = []
        """The versions that any process trained on."""

    def start(self) -> Agent:
        self.lives += 1
        self.party = Party("a1", self.disk)
        trainer = self.make()
        trainer.trained = self.trained
        environment = self.party.environment(life=self.lives)
        self.agent = self.peer.make_agent(trainer, FOLDER, environment=environment, **self.settings)
        self.party.run(self.agent.run())
        return self.agent

    def kill(self, *, power: bool = False) -> None:
        """As ``kill -9``, or as a power cut."""
        self.party.crash(power)
        self.peer.broker.abandon("a1")


def host(peer: Peer, params: Params, seed: int = 0, **settings: Any) -> Host:
    kind = Scrambler if len(params["w"]) > 100 else Adder
    return Host(peer, lambda: kind(dict(params)), seed, **settings)


def test_an_update_left_in_the_outbox_is_delivered_under_its_old_name(tmp_path: Path) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            peer.answer = lambda upload: None
            agent = peer.make_agent(Adder(model()), tmp_path)
            async with Running(agent):
                await peer.until(lambda: bool(peer.offers))
            peer.answer = None
            trainer = Adder(model())
            agent = peer.make_agent(trainer, tmp_path)
            async with Running(agent):
                await peer.until(lambda: agent.counters.applied == 1)
            assert trainer.trained == []
            assert len({(offer.incarnation, offer.sequence) for offer in peer.offers}) == 1
            assert len(set(peer.transfers)) == 2

    clock.run(story)


@pytest.mark.parametrize("params", [model(), noise(30)], ids=["row", "file"])
def test_an_agent_killed_after_training_and_before_sending_delivers_once(params: Params) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker(), frame=FRAME) as peer:
            await peer.publish(params, 0)
            await peer.announce(epoch=bytes(32))  # nothing can be offered yet
            machine = host(peer, params)
            agent = machine.start()
            await peer.until(lambda: agent.counters.sent == 1)
            machine.kill(power=True)
            await asyncio.sleep(100)
            await peer.announce(epoch=peer.epoch.public)
            again = machine.start()
            await peer.until(lambda: again.counters.applied == 1, 120)
            await asyncio.sleep(60)
            assert (len(peer.updates), machine.trained) == (1, [0])

    clock.run(story)


def conserved(agent: Agent, peer: Peer) -> bool:
    """Whether what was delivered and what error feedback keeps are Δ, to the last bit."""
    outbox, own = agent._outbox, schema.infer(noise(6))  # pyright: ignore[reportPrivateUsage]
    rest = outbox.residual(update.residual_spec(peer.run, own))
    assert rest is not None
    trainer = Scrambler(noise(6))
    trainer.train_model(TrainingContext(0, {}, np.random.default_rng(0), lambda: False))
    delta = trainer.params["w"] - noise(6)["w"]
    return np.array_equal(peer.updates[0][1]["w"] + np.frombuffer(rest, np.float32), delta)


@pytest.mark.parametrize("power", [False, True], ids=["crash", "power cut"])
def test_an_agent_killed_at_any_step_delivers_what_it_trained_once(power: bool) -> None:
    """Whatever was stored arrives, once; what was not is trained again."""

    def life(step: int) -> int:
        found: list[int] = []

        async def story() -> None:
            async with Peer(MemoryBroker(), frame=FRAME) as peer:
                await peer.publish(noise(6), 0)
                machine = host(peer, noise(6), seed=step, encoding="float16")
                agent = machine.start()
                if step:
                    machine.party.at(step, lambda: machine.kill(power=power))
                await peer.until(lambda: agent.counters.applied == 1 or machine.party.over, 600)
                found.append(machine.party.steps)
                if machine.party.over:
                    again = machine.start()
                    await peer.until(lambda: bool(peer.outcomes) and not again._outbox.entries, 600)  # pyright: ignore
                    await asyncio.sleep(60)
                assert len(peer.updates) == 1
                assert len({offer.digest for offer in peer.offers}) == len(
                    {(offer.incarnation, offer.sequence) for offer in peer.offers}
                )
                assert len(machine.trained) <= 2
                assert conserved(machine.agent, peer)

        clock.run(story)
        return found[0]

    steps = life(0)
    assert steps > 60
    for step in range(1, steps, 2 if power else 1):
        life(step)


def test_an_upload_goes_on_where_a_killed_agent_left_it() -> None:
    """After 60 % of the chunks, at most 40 % and a window travel again."""

    async def story() -> None:
        async with Peer(MemoryBroker(bandwidth=200_000), frame=FRAME) as peer:
            peer.window = 8 * FRAME
            await peer.publish(noise(100), 0, slot=0)
            machine = host(peer, noise(100))
            machine.start()
            await peer.until(lambda: len(peer.sends) >= 60)
            machine.kill()
            sent, frames = peer.chunk_bytes, len(peer.sends)
            await asyncio.sleep(30)
            again = machine.start()
            await peer.until(lambda: again.counters.applied == 1, 600)
            assert (len(peer.updates), len(set(peer.transfers)), machine.trained) == (1, 1, [0])
            assert peer.chunk_bytes - sent <= 0.4 / 0.6 * sent + peer.window
            assert len(peer.sends) - frames <= 40 + 8
            numbers = [send for _, send in peer.sends]
            assert len(set(numbers)) == len(numbers)
            assert sum(number <= 1024 for number in numbers[frames:]) <= 8  # they were on the line
            assert peer.offers[-1].send > 1024

    clock.run(story)


def test_an_upload_goes_on_through_many_deaths_and_no_number_is_used_twice() -> None:
    async def story() -> None:
        async with Peer(MemoryBroker(bandwidth=200_000), frame=FRAME) as peer:
            peer.window = 4 * FRAME
            await peer.publish(noise(60), 0, slot=0)
            machine = host(peer, noise(60), seed=4)
            for death in range(5):
                machine.start()
                count = len(peer.sends)
                await peer.until(lambda count=count: len(peer.sends) >= count + 10, 600)
                machine.kill(power=death % 2 == 1)
            agent = machine.start()
            await peer.until(lambda: agent.counters.applied == 1, 600)
            numbers = [send for _, send in peer.sends]
            assert len(set(numbers)) == len(numbers) <= 60 + 5 * 4
            assert (len(set(peer.transfers)), machine.trained) == (1, [0])

    clock.run(story)


def test_an_upload_whose_epoch_key_is_gone_begins_anew_after_a_restart() -> None:
    async def story() -> None:
        async with Peer(MemoryBroker(bandwidth=200_000), frame=FRAME) as peer:
            peer.window = 4 * FRAME
            await peer.publish(noise(30), 0, slot=0)
            machine = host(peer, noise(30))
            machine.start()
            await peer.until(lambda: len(peer.sends) >= 10)
            machine.kill()
            peer.epoch = SecretKey.generate()
            await peer.announce(epoch=peer.epoch.public)
            agent = machine.start()
            await peer.until(lambda: agent.counters.applied == 1, 600)
            assert len(set(peer.transfers)) == 2

    clock.run(story)


def test_a_full_disk_does_not_keep_an_update_from_getting_away() -> None:
    async def story() -> None:
        async with Peer(MemoryBroker(bandwidth=200_000), frame=FRAME) as peer:
            peer.window = 4 * FRAME
            await peer.publish(noise(30), 0, slot=0)
            await peer.announce(epoch=bytes(32))
            machine = host(peer, noise(30))
            agent = machine.start()
            await peer.until(lambda: agent.counters.sent == 1)
            machine.disk.full = True
            await peer.announce(epoch=peer.epoch.public)
            await peer.until(lambda: len(peer.sends) >= 10)
            machine.kill()  # the transfer was not remembered: it begins anew
            machine.disk.full = False
            agent = machine.start()
            await peer.until(lambda: len(peer.sends) >= 20)
            machine.kill()
            machine.disk.full = True  # it was remembered, but no numbers can be reserved
            agent = machine.start()
            await peer.until(lambda: agent.counters.applied == 1, 600)
            assert len(set(peer.transfers)) == 3

    clock.run(story)


def test_send_numbers_go_on_when_the_reserved_ones_are_used_up() -> None:
    """A coordinator that is silent for days is asked more than a thousand times."""

    async def story() -> None:
        async with Peer(MemoryBroker(), frame=FRAME) as peer:
            peer.answer = lambda upload: None
            await peer.publish(noise(6), 0, slot=0)
            machine = host(peer, noise(6))
            machine.start()
            await peer.until(lambda: bool(peer.offers))
            await asyncio.sleep(2 * 86_400)
            machine.disk.full = True
            await asyncio.sleep(86_400)
            quiet = len(peer.offers)
            await asyncio.sleep(86_400)
            assert len(peer.offers) == quiet  # no number may be used that is not reserved
            machine.disk.full = False
            await peer.until(lambda: len(peer.offers) > quiet + 10)
            machine.kill()
            agent = machine.start()
            peer.answer = None
            await peer.until(lambda: agent.counters.applied == 1, 120)
            sends = [offer.send for offer in peer.offers]
            assert sends == sorted(set(sends))
            assert sends[-1] > 2048
            assert len(set(peer.transfers)) == 1

    clock.run(story)


@pytest.mark.parametrize("deaths", [False, True], ids=["reconnects", "deaths"])
def test_losses_and_five_interruptions_cost_little_more_than_the_bytes(deaths: bool) -> None:
    """20 % of the chunks lost: at most 1.4 times the bytes, and a window an interruption."""

    async def story() -> None:
        async with Peer(MemoryBroker(bandwidth=400_000), frame=FRAME) as peer:
            chance = random.Random(7)
            peer.window, peer.loses = 16 * FRAME, lambda send: chance.random() < 0.2
            await peer.publish(noise(300), 0, slot=0)
            machine = host(peer, noise(300))
            agent = machine.start()
            for _ in range(5):
                count = len(peer.sends)
                await peer.until(lambda count=count: len(peer.sends) >= count + 50, 600)
                if deaths:
                    machine.kill()
                    agent = machine.start()
                else:
                    peer.broker.kill("a1")
            await peer.until(lambda: agent.counters.applied == 1, 1200)
            whole = peer.chunk_bytes / len(peer.sends) * 300
            assert peer.chunk_bytes <= 1.4 * whole + 5 * peer.window
            assert (len(peer.updates), len(set(peer.transfers)), machine.trained) == (1, 1, [0])

    clock.run(story)
