"""Pulling models: slots, windows, silence, superseded slots, keys that are missing; in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from peer import Peer, Running
from trainers import Adder, Params, model

from antiphon.agents.service import Agent
from antiphon.codecs.sealing import new_group_key
from antiphon.simulation import clock
from antiphon.simulation.memory_broker import MemoryBroker
from antiphon.simulation.pipe import Line

Scene = Callable[[Peer, Agent, Adder], Awaitable[None]]


def slotted(value: float = 0.0) -> Params:
    """A model of 26 chunks of 16 KiB."""
    return {"w": np.random.default_rng(3).normal(size=100_000).astype(np.float32) + np.float32(value)}


def play(
    scene: Scene,
    folder: Path,
    broker: MemoryBroker | None = None,
    params: Params | None = None,
    **peer_fields: Any,
) -> None:
    async def story() -> None:
        async with Peer(broker or MemoryBroker(), frame=16 << 10, **peer_fields) as peer:
            trainer = Adder(params or slotted())
            agent = peer.make_agent(trainer, folder)
            async with Running(agent):
                await scene(peer, agent, trainer)

    clock.run(story)


def test_model_in_a_slot_is_pulled_a_window_at_a_time(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        most = 0
        await peer.publish(slotted(), 0, slot=0)

        def look() -> bool:
            nonlocal most
            session = peer.broker.sessions.get("a1")
            filters = list(session.filters) if session else []
            assert not any("#" in name or "+" in name for name in filters)
            most = max(most, sum(name.startswith("model/broadcast/") for name in filters))
            return agent.counters.applied == 1

        await peer.until(look)
        assert 1 < most <= 18
        await asyncio.sleep(5)
        session = peer.broker.sessions["a1"]
        assert not [name for name in session.filters if name.startswith("model/broadcast/")]
        np.testing.assert_allclose(peer.updates[0][1]["w"], 1, atol=1e-6)

    play(scene, tmp_path, MemoryBroker(bandwidth=2_000_000))


def test_chunks_on_a_slow_line_are_asked_for_one_by_one_and_do_not_seem_absent(tmp_path: Path) -> None:
    """Fifteen seconds a chunk: a whole window of them would queue, and copies of it behind them."""
    few: Params = {"w": slotted()["w"][:50_000]}

    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        await peer.publish(few, 0, slot=0)

        async def send_again() -> None:
            while True:
                await asyncio.sleep(1)
                absent = [note for note in peer.notes if note.type == "absent"]
                peer.notes[:] = [note for note in peer.notes if note.type != "absent"]
                for index in [index for note in absent for index in note.chunks]:
                    sent_again.append(index)
                    await peer.connection.publish(
                        peer.topics.chunk(0, index), peer.sealed[index], retain=True
                    )

        sent_again: list[int] = []
        task = asyncio.create_task(send_again())
        await peer.until(lambda: trainer.trained == [0], 300)
        task.cancel()
        assert len(sent_again) <= 5

    broker = MemoryBroker()
    broker.lines["a1"] = Line(bandwidth=1_000)
    play(scene, tmp_path, broker, params=few)


def test_chunk_that_the_broker_lacks_is_reported_absent(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        await peer.publish(slotted(), 0, slot=2, leave_out=5)
        await peer.until(lambda: any(note.type == "absent" for note in peer.notes), 20)
        note = next(note for note in peer.notes if note.type == "absent")
        assert (note.chunks, note.pages, note.transfer) == ([5], [], peer.version.transfer)
        await peer.connection.publish(peer.topics.chunk(2, 5), peer.sealed[5], retain=True)
        await peer.until(lambda: agent.counters.applied == 1, 20)

    play(scene, tmp_path)


def test_chunks_that_were_lost_do_not_make_the_agent_more_patient(tmp_path: Path) -> None:
    few: Params = {"w": slotted()["w"][:10_000]}

    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        for number in range(4):
            await peer.publish({"w": few["w"] + number}, number, slot=number, leave_out=2)
            began, known = asyncio.get_running_loop().time(), len(peer.notes)

            def missed(known: int = known) -> bool:
                return any(note.type == "absent" for note in peer.notes[known:])

            await peer.until(missed, 60)
            assert asyncio.get_running_loop().time() - began < 8
            await peer.connection.publish(peer.topics.chunk(number, 2), peer.sealed[2], retain=True)
            await peer.until(lambda number=number: agent.counters.applied == number + 1, 20)

    play(scene, tmp_path, params=few)


def test_absence_is_repeated_but_not_often(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        await peer.publish(slotted(), 0, slot=2, leave_out=5)
        await asyncio.sleep(100)
        absent = [note for note in peer.notes if note.type == "absent"]
        assert 8 <= len(absent) <= 11
        assert 3 <= len([note for note in peer.notes if note.type == "pulling"]) <= 5
        assert trainer.trained == []

    play(scene, tmp_path)


def test_slot_that_was_taken_by_a_newer_version_is_given_up(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        await peer.publish(slotted(), 0, slot=0, leave_out=20)
        await asyncio.sleep(1)
        await peer.publish(slotted(1.0), 1, slot=0)
        await peer.until(lambda: agent.counters.applied == 1, 30)
        assert trainer.trained == [1]

    play(scene, tmp_path)


def test_superseded_but_whole_slot_is_pulled_to_its_end(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        await peer.publish(slotted(), 0, slot=0)
        await asyncio.sleep(2.0)
        assert trainer.trained == []
        await peer.publish(slotted(1.0), 1, slot=1)
        await peer.until(lambda: len(trainer.trained) == 2, 300)
        assert trainer.trained == [0, 1]

    play(scene, tmp_path, MemoryBroker(bandwidth=100_000))


def test_silent_slot_is_given_up_for_a_newer_version(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        await peer.publish(slotted(), 0, slot=0, leave_out=20)
        await asyncio.sleep(2)
        await peer.publish(slotted(1.0), 1, slot=1)
        await peer.until(lambda: trainer.trained == [1], 60)

    play(scene, tmp_path)


def test_two_lost_pulls_ask_for_a_pin(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        for number in range(3):
            await peer.publish(slotted(number), number, slot=0, leave_out=20 + number)
            await asyncio.sleep(1)
        await peer.until(lambda: any(note.type == "pin" for note in peer.notes), 60)
        assert next(n for n in peer.notes if n.type == "pin").transfer == peer.version.transfer
        await peer.connection.publish(peer.topics.chunk(0, 22), peer.sealed[22], retain=True)
        await peer.until(lambda: trainer.trained == [2], 60)

    play(scene, tmp_path)


def test_a_cut_line_resumes_the_pull_where_it_was(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        await peer.publish(slotted(), 0, slot=0)
        await asyncio.sleep(2.5)
        peer.broker.kill("a1")
        await peer.until(lambda: agent.counters.applied == 1, 120)

    play(scene, tmp_path, MemoryBroker(bandwidth=100_000))


def test_pull_that_takes_too_long_starts_anew(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        await peer.publish(slotted(), 0, slot=0, leave_out=3)
        await asyncio.sleep(3700)
        await peer.connection.publish(peer.topics.chunk(0, 3), peer.sealed[3], retain=True)
        await peer.until(lambda: agent.counters.applied == 1, 60)

    play(scene, tmp_path)


def test_missing_group_key_is_asked_for_with_back_off(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        real = peer.group
        peer.group = new_group_key()  # what it is asked for, it has not
        await peer.give_keys()
        peer.group = real
        peer.give_keys, give = _nothing, peer.give_keys
        await peer.publish(slotted(), 0, slot=0)
        await asyncio.sleep(1000)
        asked = [note for note in peer.notes if note.type == "need-key"]
        assert 5 <= len(asked) <= 60
        await give()
        await peer.until(lambda: agent.counters.applied == 1, 60)

    play(scene, tmp_path, keys_known=False)


async def _nothing() -> None:
    pass


def test_model_that_does_not_hold_together_is_left_for_the_next(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        await peer.publish(slotted(), 0, slot=0)
        await peer.announce(number=1, digest=b"?" * 32)
        await asyncio.sleep(60)
        assert 1 not in trainer.trained
        await peer.publish(slotted(), 2, slot=1)
        await peer.until(lambda: 2 in trainer.trained, 60)

    play(scene, tmp_path)


def test_messages_about_nothing_are_ignored(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        for topic in ("model/broadcast", "keys/a1", "status/coordinator", "status/a1"):
            await peer.connection.publish(topic, b"")
            await peer.connection.publish(topic, b"\xc1nonsense")
        await peer.publish(slotted(), 0, slot=0)
        await peer.until(lambda: agent.counters.applied == 1, 60)

    play(scene, tmp_path)


def test_frames_of_another_publication_are_not_opened(tmp_path: Path) -> None:
    from antiphon.agents.model import open_broadcast
    from antiphon.codecs.errors import MalformedError
    from antiphon.codecs.frames import Kind
    from antiphon.codecs.sealing import SymmetricKey

    async def story() -> None:
        async with Peer(MemoryBroker(), frame=16 << 10) as peer:
            await peer.publish(slotted(), 0, slot=0)
            version, key = peer.version, SymmetricKey(peer.group.key)
            frame, total = peer.sealed[3], len(peer.sealed)
            wrong = [
                (version, 4, total),
                (version, 3, total + 1),
                (msgspec.structs.replace(version, transfer=b"t" * 16), 3, total),
                (msgspec.structs.replace(version, run=b"t" * 16), 3, total),
                (msgspec.structs.replace(version, key=b"t" * 8), 3, total),
            ]
            for announced, index, count in wrong:
                try:
                    open_broadcast(frame, announced, Kind.MODEL_CHUNK, index, count, key, 1 << 20)
                except MalformedError:
                    continue
                raise AssertionError(announced)

    clock.run(story)


def test_small_model_needs_no_slot(tmp_path: Path) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            agent = peer.make_agent(Adder(model()), tmp_path)
            async with Running(agent):
                await peer.until(lambda: agent.counters.applied == 1)
            assert not [note for note in peer.notes if note.type == "pulling"]

    clock.run(story)


def test_subscriptions_that_fail_are_tried_again(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        subscribe, refused = peer.broker.subscribe, 2

        def refuse(session: Any, topic_filter: str) -> int:
            nonlocal refused
            if topic_filter.startswith("model/broadcast/") and refused:
                refused -= 1
                return 135
            return subscribe(session, topic_filter)

        peer.broker.subscribe = refuse
        await peer.publish(slotted(), 0, slot=0)
        await peer.until(lambda: agent.counters.applied == 1, 120)

    play(scene, tmp_path)


def test_older_group_keys_do_not_replace_newer_ones(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        peer.counter += 10
        await peer.give_keys()
        await asyncio.sleep(1)
        peer.counter -= 10
        real, peer.group = peer.group, new_group_key()
        await peer.give_keys()  # an older message, delivered late
        await peer.connection.publish("keys/a1", b"\x92\xc4\x00\xc4\x00")
        peer.group = real
        peer.counter += 20
        await peer.publish(slotted(), 0, slot=0)
        await peer.until(lambda: agent.counters.applied == 1, 60)
        assert not [note for note in peer.notes if note.type == "need-key"]

    play(scene, tmp_path)


def test_manifest_that_does_not_add_up_is_left_for_the_next(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        await peer.publish(slotted(), 0, slot=0)
        await peer.announce(number=1, pages=3)
        await peer.announce(number=2, pages=2, chunks=3)
        await asyncio.sleep(20)
        assert set(trainer.trained) <= {0}
        await peer.announce(number=3, pages=2, chunks=len(peer.sealed))
        await peer.publish(slotted(), 4, slot=0)
        await peer.until(lambda: 4 in trainer.trained, 60)

    play(scene, tmp_path)


def test_frames_above_the_limit_are_not_taken(tmp_path: Path) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker(), frame=16 << 10) as peer:
            await peer.publish(slotted(), 0, slot=0)
            trainer = Adder(slotted())
            async with Running(peer.make_agent(trainer, tmp_path, limits={"frame": 10_000})):
                await asyncio.sleep(60)
            assert trainer.trained == []

    clock.run(story)


def test_a_group_key_that_was_changed_before_it_came_is_not_waited_for(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        await peer.publish(slotted(), 0)
        peer.group = new_group_key()  # the coordinator that gave the first one is gone
        await peer.until(lambda: any(note.type == "need-key" for note in peer.notes), 60)
        peer.version = msgspec.structs.replace(peer.version, key=peer.group.id)
        await peer.publish(slotted(1.0), 1)
        await peer.until(lambda: agent.counters.applied == 1, 600)
        assert trainer.trained == [1]

    play(scene, tmp_path, keys_known=False)


def test_an_outage_in_a_pull_does_not_pass_for_a_slow_line(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        await peer.publish(slotted(), 0, slot=0, leave_out=1)
        await asyncio.sleep(1800)
        await peer.connection.publish("model/broadcast/0/1", peer.sealed[1], retain=True)
        await peer.until(lambda: agent.counters.applied == 1, 60)
        peer.notes.clear()
        await peer.publish(slotted(1.0), 1, slot=1, leave_out=1)
        await peer.until(lambda: any(note.type == "absent" for note in peer.notes), 200)

    play(scene, tmp_path)


def test_a_pull_from_a_slot_does_not_sleep_over_what_came_while_it_spoke(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        await peer.publish(slotted(), 0, slot=0)
        await peer.until(lambda: trainer.trained == [0], 2.5)

    play(scene, tmp_path, MemoryBroker(latency=0.05))
