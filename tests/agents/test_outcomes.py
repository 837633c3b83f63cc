"""What becomes of updates, and how an agent hears of it; in virtual time."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from peer import Peer, Running, Upload, waits
from scenes import Scene, left, play
from trainers import Adder, Params, model, noise

from antiphon.agents import update
from antiphon.agents.service import Agent
from antiphon.agents.trainer import TrainingContext, TrainingResult
from antiphon.codecs import schema
from antiphon.codecs.errors import ConfigError
from antiphon.codecs.messages import Receipt
from antiphon.simulation import clock
from antiphon.simulation.clock import virtual_environment
from antiphon.simulation.disk import MemoryDisk
from antiphon.simulation.memory_broker import MemoryBroker


def test_outcome_lost_with_a_receipt_is_asked_for(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        peer.outcome = ""
        await peer.until(lambda: bool(peer.updates))
        await asyncio.sleep(5)
        assert [entry.state for entry in left(agent)] == ["received"]
        offer = peer.offers[0]
        peer.outcomes[offer.digest] = waits("applied", version=4)(peer.uploads[peer.transfers[0]])
        await peer.until(lambda: agent.counters.applied == 1, 601)
        assert not left(agent)

    play(scene, tmp_path, model())


def test_outcome_is_asked_for_at_every_connect(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        peer.outcome = ""
        await peer.until(lambda: bool(peer.updates))
        await asyncio.sleep(1)
        peer.broker.kill("a1")
        await peer.until(lambda: any(note.type == "ask" for note in peer.notes), 60)
        (asked,) = next(note for note in peer.notes if note.type == "ask").updates
        assert (asked.sequence, asked.digest) == (1, peer.offers[0].digest)

    play(scene, tmp_path, model())


def test_a_received_update_does_not_hold_up_the_next(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        peer.outcome = ""
        await peer.until(lambda: len(peer.updates) == 1)
        await peer.publish(model(value=1.0), 1)
        await peer.until(lambda: len(peer.updates) == 2, 30)
        assert [offer.sequence for offer in peer.offers] == [1, 2]

    play(scene, tmp_path, model())


@pytest.mark.parametrize("type", ["rejected", "refused", "settled"])
def test_other_final_receipts_empty_the_outbox(tmp_path: Path, type: str) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        peer.answer = waits(type, reason="norm" if type != "settled" else "")
        await peer.until(lambda: bool(peer.offers))
        await asyncio.sleep(5)
        assert not left(agent)
        assert len(peer.offers) == 1
        assert trainer.trained == [0]

    play(scene, tmp_path, model())


@pytest.mark.parametrize("reason", ["revoked", "schema"])
def test_reasons_that_only_a_person_can_change_stop_the_agent(tmp_path: Path, reason: str) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            peer.answer = waits("refused", reason=reason, detail="since Tuesday")
            agent = peer.make_agent(Adder(model()), tmp_path)
            with pytest.raises(ConfigError, match="since Tuesday"):
                await agent.run()

    clock.run(story)


def test_an_outcome_of_other_content_gives_the_update_a_new_id(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        def other(upload: Upload) -> Receipt:
            peer.answer = None
            return msgspec.structs.replace(waits("applied", version=9)(upload), digest=b"x" * 32)

        peer.answer = other
        await peer.until(lambda: agent.counters.applied == 1, 60)
        assert [offer.sequence for offer in peer.offers] == [1, 2]
        assert peer.offers[0].digest == peer.offers[1].digest

    play(scene, tmp_path, model())


def test_a_large_update_that_the_coordinator_lost_is_settled(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        peer.outcome = ""
        await peer.until(lambda: bool(peer.updates))
        await asyncio.sleep(5)
        await peer.say("wait", peer.offers[0], after=0.0)
        await asyncio.sleep(5)
        assert not left(agent)

    play(scene, tmp_path, noise(30))


@pytest.mark.parametrize(("params", "encoding"), [(model(), "lossless"), (noise(60), "bfloat16")])
def test_an_update_that_the_coordinator_lost_and_that_is_still_here_is_offered_again(
    tmp_path: Path, params: Params, encoding: str
) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        peer.outcome = ""
        await peer.until(lambda: bool(peer.updates))
        await asyncio.sleep(5)
        assert [entry.state for entry in left(agent)] == ["received"]
        peer.outcome = "applied"
        await peer.say("wait", peer.offers[0], after=0.0)  # as one that was restored from a backup
        await peer.until(lambda: agent.counters.applied == 1, 60)
        assert len({(offer.incarnation, offer.sequence) for offer, _ in peer.updates}) == 1
        assert len(peer.updates) == 2

    play(scene, tmp_path, params, encoding=encoding)


def test_outcomes_are_asked_for_when_the_coordinator_begins_another_term(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        peer.outcome = ""
        await peer.until(lambda: bool(peer.updates))
        await asyncio.sleep(20)
        peer.notes.clear()
        await peer.announce()  # signed again: no reason to ask
        await asyncio.sleep(20)
        assert [note.type for note in peer.notes if note.type == "ask"] == []
        await peer.announce(term=5, spread=30.0)
        await peer.until(lambda: any(note.type == "ask" for note in peer.notes), 31)
        await asyncio.sleep(60)
        assert len([note for note in peer.notes if note.type == "ask"]) == 1

    play(scene, tmp_path, model())


def residual(agent: Agent) -> NDArray[np.float32] | None:
    own = schema.infer(model())
    view = agent._outbox.residual(update.residual_spec(b"r" * 16, own))  # pyright: ignore[reportPrivateUsage]
    return None if view is None else np.frombuffer(view, np.float32)


class Third(Adder):
    """Its Δ has no place in float16: 1/3 is 0.33325195 and a rest."""

    def train_model(self, context: TrainingContext) -> TrainingResult:
        super().train_model(context)
        self.params["w"] = self.params["w"] - np.float32(2 / 3)
        return TrainingResult(examples=1)


THIRD = np.float32(1) - np.float32(2 / 3)
REST = float(THIRD - np.float32(np.float16(THIRD)))


def with_feedback(scene: Scene, folder: Path, **settings: Any) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            trainer = Third(model())
            agent = peer.make_agent(trainer, folder, encoding="float16", **settings)
            async with Running(agent):
                await scene(peer, agent, trainer)

    clock.run(story)


@pytest.mark.parametrize("type", ["applied", "settled"])
def test_what_was_left_out_stays_when_an_update_counted(tmp_path: Path, type: str) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        peer.outcome = type
        await peer.until(lambda: bool(peer.updates) and not left(agent))
        np.testing.assert_array_equal(residual(agent), [REST] * 3)  # pyright: ignore[reportArgumentType]

    with_feedback(scene, tmp_path)


@pytest.mark.parametrize("received", [False, True])
@pytest.mark.parametrize("type", ["rejected", "refused"])
def test_a_rejected_update_comes_back_through_the_next(tmp_path: Path, type: str, received: bool) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        if received:
            peer.outcome = ""
            await peer.until(lambda: bool(peer.updates))
            await peer.say(type, peer.offers[0], reason="stale")
        else:
            peer.answer = waits(type, reason="stale")
        await peer.until(lambda: agent.counters.rejected == 1)
        np.testing.assert_array_equal(residual(agent), [THIRD] * 3)  # pyright: ignore[reportArgumentType]
        peer.answer, peer.outcome = None, "applied"
        await peer.publish(model(), 1)
        await peer.until(lambda: agent.counters.applied == 1)
        np.testing.assert_array_equal(peer.updates[-1][1]["w"], np.float32(np.float16(2 * THIRD)))

    with_feedback(scene, tmp_path)


@pytest.mark.parametrize("reason", ["norm", "not-finite", "run-over"])
def test_numbers_that_were_judged_do_not_come_back(tmp_path: Path, reason: str) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        peer.answer = waits("rejected", reason=reason)
        await peer.until(lambda: agent.counters.rejected == 1)
        np.testing.assert_array_equal(residual(agent), [REST] * 3)  # pyright: ignore[reportArgumentType]

    with_feedback(scene, tmp_path)


def test_without_error_feedback_nothing_is_kept(tmp_path: Path) -> None:
    async def scene(peer: Peer, agent: Agent, trainer: Adder) -> None:
        peer.answer = waits("rejected", reason="stale")
        await peer.until(lambda: agent.counters.rejected == 1)
        assert residual(agent) is None

    with_feedback(scene, tmp_path, error_feedback=False)


def test_an_update_that_a_full_disk_keeps_from_coming_back_is_asked_about_again(tmp_path: Path) -> None:
    disk = MemoryDisk()

    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            environment = virtual_environment(party="a1", disk=disk)
            agent = peer.make_agent(Third(model()), tmp_path, environment=environment, encoding="float16")
            async with Running(agent):
                peer.outcome = ""
                await peer.until(lambda: bool(peer.updates))
                disk.full = True
                rejected = waits("rejected", reason="stale")(peer.uploads[peer.transfers[0]])
                peer.outcomes[peer.offers[0].digest] = rejected
                await peer.say("rejected", peer.offers[0], reason="stale")
                await asyncio.sleep(5)
                assert (len(left(agent)), agent.counters.rejected) == (1, 0)
                disk.full = False
                await peer.until(lambda: agent.counters.rejected == 1, 700)
                np.testing.assert_array_equal(residual(agent), [THIRD] * 3)  # pyright: ignore

    clock.run(story)


def test_an_update_back_after_three_days_is_answered_and_leaves_the_residual_alone(tmp_path: Path) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            first = peer.make_agent(Third(model()), tmp_path, encoding="float16")
            peer.outcome = ""
            async with Running(first):
                await peer.until(lambda: bool(peer.updates))
                await asyncio.sleep(1)
            # It is applied, and the receipt goes to nobody.
            peer.outcomes[peer.offers[0].digest] = waits("applied", version=1)(
                peer.uploads[peer.transfers[0]]
            )
            peer.answer = waits("applied", version=1)
            await asyncio.sleep(3 * 86_400)
            trainer = Third(model())
            again = peer.make_agent(trainer, tmp_path, encoding="float16")
            async with Running(again):
                await peer.until(lambda: again.counters.applied == 1, 60)
                np.testing.assert_array_equal(residual(again), [REST] * 3)  # pyright: ignore
                assert (left(again), trainer.trained, len(peer.updates)) == ((), [], 1)

    clock.run(story)


def test_an_outcome_of_other_content_for_a_received_update_settles_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            peer.outcome = ""
            agent = peer.make_agent(Adder(model()), tmp_path)
            async with Running(agent):
                await peer.until(lambda: bool(peer.updates))
                await asyncio.sleep(5)
                await peer.say("applied", peer.offers[0], digest=b"o" * 32)
                await peer.say("applied", peer.offers[0])  # of what is not there any more
                await asyncio.sleep(5)
                assert not left(agent)
                assert agent.counters.applied == 0

    clock.run(story)


def test_updates_of_an_earlier_run_are_dropped(tmp_path: Path) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            peer.answer = lambda upload: None
            agent = peer.make_agent(Adder(model()), tmp_path)
            async with Running(agent):
                await peer.until(lambda: bool(peer.offers))
                peer.answer = None
                peer.run, peer.started = b"s" * 16, peer.started + 60
                await peer.announce(run=peer.run, started=peer.started, term=70)
                await peer.publish(model(), 0)
                await peer.until(lambda: agent.counters.applied == 1)
            assert agent.counters.rejected == 1

    clock.run(story)
