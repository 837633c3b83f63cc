"""Bringing updates to a coordinator that loses, delays, refuses and forgets; in virtual time."""

import asyncio
import errno
import random
from pathlib import Path

import pytest
from peer import Peer, Running, Upload, waits
from scenes import left, play
from trainers import Adder, Scrambler, model, noise

from antiphon.agents.service import Agent
from antiphon.codecs.sealing import SecretKey
from antiphon.simulation import clock
from antiphon.simulation.memory_broker import MemoryBroker


def test_update_in_pieces_fills_the_window_and_no_more(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        peer.window = 40_000
        await peer.until(lambda: agent.counters.applied == 1)
        assert [index for index, _ in peer.sends] == list(range(20))
        assert peer.offers[0].chunks == 20

    play(scene, tmp_path, noise())


def test_a_fifth_of_the_chunks_lost_costs_little_more(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        chance = random.Random(5)
        peer.window = 10 << 14
        peer.loses = lambda send: chance.random() < 0.2
        await peer.until(lambda: agent.counters.applied == 1)
        assert len(peer.sends) <= 1.4 * 60

    play(scene, tmp_path, noise(60))


def test_a_silent_coordinator_is_asked_again_patiently(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        peer.answer = lambda upload: None
        await peer.until(lambda: len(peer.offers) > 0)
        await asyncio.sleep(3600)
        assert 40 <= len(peer.offers) <= 200
        assert len(set(peer.transfers)) == 1
        sends = [offer.send for offer in peer.offers]
        assert sends[0] == 0
        assert sends[1:] == sorted(set(sends[1:]))
        peer.answer = None
        await peer.until(lambda: agent.counters.applied == 1, 70)

    play(scene, tmp_path, model())


def test_wait_is_kept_and_offered_again(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        peer.answer = lambda upload: waits("wait", after=100.0, transfer=peer.transfers[-1])(upload)
        await peer.until(lambda: len(peer.offers) == 1)
        await asyncio.sleep(99)
        assert len(peer.offers) == 1
        await asyncio.sleep(2)
        assert len(peer.offers) == 2
        peer.answer = None
        await peer.until(lambda: agent.counters.applied == 1, 101)

    play(scene, tmp_path, model())


def test_lost_tail_is_found_by_a_probe(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        peer.loses = lambda send: send in (19, 20)
        await peer.until(lambda: agent.counters.applied == 1, 60)
        assert [note.type for note in peer.notes if note.type == "probe"] == ["probe"]
        assert len(peer.sends) == 22

    play(scene, tmp_path, noise())


def test_a_coordinator_that_forgot_the_transfer_gets_it_anew(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        def lose_all(send: int) -> bool:
            if send == 7:
                peer.uploads = {
                    id: Upload(known.offer, known.key, type(known.assembly)(known.assembly.total))
                    for id, known in peer.uploads.items()
                }
            return send == 7

        peer.window, peer.loses = 40_000, lose_all
        await peer.until(lambda: agent.counters.applied == 1, 120)
        assert len(peer.updates) == 1

    play(scene, tmp_path, noise())


def test_probes_without_any_answer_end_in_another_offer(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        peer.window = 40_000
        await peer.until(lambda: len(peer.sends) > 4)
        peer.deaf = True
        await asyncio.sleep(60)
        peer.deaf = False
        await peer.until(lambda: agent.counters.applied == 1, 200)

    play(scene, tmp_path, noise())


def test_a_grant_taken_back_is_given_again(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        peer.window = 0
        await peer.until(lambda: len(peer.offers) > 0)
        await asyncio.sleep(30)
        assert not peer.sends
        peer.window = 1 << 20
        await peer.until(lambda: agent.counters.applied == 1, 120)

    play(scene, tmp_path, noise())


def test_a_cut_line_in_the_middle_resumes_with_what_is_missing(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        peer.window = 40_000
        await peer.until(lambda: len(peer.sends) > 6)
        peer.broker.kill("a1")
        await peer.until(lambda: agent.counters.applied == 1, 120)
        assert len(set(peer.transfers)) == 1
        assert len(peer.sends) <= 24

    play(scene, tmp_path, noise())


def test_an_unknown_epoch_key_means_another_transfer(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        peer.answer = lambda upload: None
        await peer.until(lambda: len(peer.offers) == 1)
        peer.answer = None
        peer.epoch = SecretKey.generate()  # as after a restart that lost the old one
        await asyncio.sleep(30)
        assert agent.counters.rejected == 0
        await peer.announce(epoch=peer.epoch.public)
        await peer.until(lambda: agent.counters.applied == 1, 120)
        assert len(set(peer.transfers)) == 2

    play(scene, tmp_path, model())


def test_a_coordinator_back_from_offline_is_offered_at_once(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        status = peer.topics.status("coordinator")
        peer.deaf = True
        await peer.connection.publish(status, b'{"state": "offline"}', retain=True)
        await asyncio.sleep(7200)
        await peer.connection.publish(status, b"nonsense", retain=True)
        peer.deaf = False
        await peer.connection.publish(status, b'{"state": "online"}', retain=True)
        await peer.until(lambda: agent.counters.applied == 1, 5)

    play(scene, tmp_path, model())


def test_a_file_that_vanished_does_not_hold_up_the_next_update(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        peer.window = 0
        await peer.until(lambda: len(peer.offers) > 0)
        peer.broker.kill("a1")
        (path,) = (tmp_path / "outbox").iterdir()
        path.write_bytes(b"")
        agent._outbox.pending[0].close()  # pyright: ignore
        peer.window = 1 << 20
        await peer.publish(noise(), 1)
        await peer.until(lambda: agent.counters.applied == 1, 120)
        assert trainer.trained == [0, 1]

    play(scene, tmp_path, noise())
    assert "cannot read update 1" in caplog.text


def test_a_broker_with_smaller_packets_than_announced_is_respected(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        await peer.until(lambda: agent.counters.applied == 1, 60)
        assert peer.offers[0].chunks == 20
        peer.broker.maximum_packet = 9_000
        peer.broker.kill("a1")
        await asyncio.sleep(5)
        await peer.announce(number=1, slot=0)
        await peer.until(lambda: agent.counters.applied == 2, 60)
        assert peer.offers[-1].chunks == 30

    async def story() -> None:
        broker = MemoryBroker()
        async with Peer(broker, frame=16 << 10) as peer:
            await peer.publish(noise(), 0, slot=0)
            agent = peer.make_agent(Scrambler(noise()), tmp_path)
            async with Running(agent):
                await scene(peer, agent, Adder({}))

    clock.run(story)


def test_packets_that_shrink_in_a_transfer_cut_it_anew(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        peer.window = 0
        await peer.until(lambda: len(peer.offers) > 0)
        peer.broker.maximum_packet = 9_000
        peer.broker.kill("a1")
        peer.window = 1 << 20
        await peer.until(lambda: agent.counters.applied == 1, 120)
        assert [offer.chunks for offer in peer.offers[:: len(peer.offers) - 1]] == [20, 30]

    play(scene, tmp_path, noise())


def test_an_epoch_key_that_is_none_is_waited_out(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        await peer.announce(epoch=bytes(32))
        await peer.publish(model(), 0)
        await asyncio.sleep(120)
        assert trainer.trained == [0]
        await peer.announce(epoch=peer.epoch.public)
        await peer.until(lambda: agent.counters.applied == 1, 120)

    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            trainer = Adder(model())
            agent = peer.make_agent(trainer, tmp_path)
            async with Running(agent):
                await scene(peer, agent, trainer)

    clock.run(story)


def test_lines_that_are_cut_all_the_time_lose_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        broker = MemoryBroker(bandwidth=60_000)
        async with Peer(broker, frame=16 << 10) as peer:
            await peer.publish(noise(), 0, slot=0)
            agent = peer.make_agent(Scrambler(noise()), tmp_path)
            chance = random.Random(2)
            async with Running(agent):
                while not agent.counters.applied:
                    await asyncio.sleep(chance.uniform(0.5, 12))
                    broker.kill("a1")
            assert len(peer.updates) == 1

    clock.run(story)


def test_a_disk_that_does_not_answer_for_a_while_costs_no_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        peer.window = 0
        await peer.until(lambda: len(peer.offers) > 0)
        (entry,) = left(agent)

        def broken() -> memoryview:
            raise OSError(errno.EIO, "Input/output error")

        read, entry.read = entry.read, broken
        entry.close()
        peer.window = 1 << 20
        await asyncio.sleep(100)
        assert not peer.sends
        entry.read = read
        await peer.until(lambda: agent.counters.applied == 1, 120)
        assert trainer.trained == [0]

    play(scene, tmp_path, noise())
    assert "cannot read update 1 now" in caplog.text
