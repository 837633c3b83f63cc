"""What an agent says when it connects; in virtual time."""

import asyncio
from pathlib import Path

import pytest
from peer import Peer, Running
from trainers import Adder, model

from antiphon.simulation import clock
from antiphon.simulation.memory_broker import MemoryBroker


def test_greeting_is_repeated_until_it_is_answered(tmp_path: Path) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            peer.deaf = True
            async with Running(peer.make_agent(Adder(model()), tmp_path)):
                await asyncio.sleep(120)
                peer.deaf = False
                await peer.until(lambda: any(note.type == "hello" for note in peer.notes), 60)
                await asyncio.sleep(600)
                assert len([note for note in peer.notes if note.type == "hello"]) == 1

    clock.run(story)


def test_what_the_broker_forbids_is_tried_again_without_haste(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        allowed = [False]
        broker = MemoryBroker(may_publish=lambda client, topic: client != "a1" or allowed[0])
        async with Peer(broker) as peer:
            await peer.publish(model(), 0)
            agent = peer.make_agent(Adder(model()), tmp_path)
            async with Running(agent):
                await asyncio.sleep(600)
                assert not peer.notes
                allowed[0] = True
                await peer.until(lambda: agent.counters.applied == 1, 120)

    clock.run(story)
    assert 1 <= caplog.text.count("does not let this agent") <= 15
