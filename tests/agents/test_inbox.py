"""Receipts that are old, foreign or retained; in virtual time."""

import asyncio
from pathlib import Path

from peer import Peer
from scenes import play
from trainers import Adder, model

from antiphon.agents.service import Agent


def test_a_run_begun_after_the_coordinators_clock_was_put_right_is_listened_to(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        await peer.announce(term=90_000)  # its clock was a day ahead when it was started again
        await peer.until(lambda: agent.counters.applied == 1)
        peer.run, peer.started, peer.term = b"s" * 16, peer.started + 3600, 3600
        await peer.announce(run=peer.run, started=peer.started, term=peer.term)
        await peer.publish(model(), 0)
        await peer.until(lambda: agent.counters.applied == 2, 120)

    play(scene, tmp_path, model(), stay=True)


def test_old_foreign_and_retained_receipts_are_ignored(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        peer.answer = lambda upload: None
        await peer.until(lambda: len(peer.offers) == 1)
        topic = peer.topics.receipts("a1")
        await peer.connection.publish(topic, b"no frame")
        await peer.connection.publish(topic, b"retained", retain=True)
        peer.counter -= 1  # a receipt of an order that was there already
        await peer.say("refused", peer.offers[0], reason="norm")
        peer.run, run = b"x" * 16, peer.run
        peer.counter += 5
        await peer.say("refused", peer.offers[0], reason="norm")
        await asyncio.sleep(0.5)
        assert agent.counters.rejected == 0
        peer.run, peer.answer = run, None
        await peer.until(lambda: agent.counters.applied == 1, 120)

    play(scene, tmp_path, model())
