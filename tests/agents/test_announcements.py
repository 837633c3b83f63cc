"""Which version an agent believes in, when announcements are old, foreign or missing; in virtual time."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from peer import Peer, Running
from scenes import said
from trainers import Adder, model

from antiphon.agents.trainer import TrainingContext, TrainingResult
from antiphon.codecs import announcements
from antiphon.simulation import clock
from antiphon.simulation.memory_broker import MemoryBroker


def waits_for_newer(peer: Peer) -> Any:
    return msgspec.structs.replace(peer.version, number=7)


def test_announcements_never_go_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 5)
            trainer = Adder(model())
            agent = peer.make_agent(trainer, tmp_path)
            async with Running(agent):
                await peer.until(lambda: agent.counters.applied == 1)
                await peer.publish(model(value=2.0), 4)
                await asyncio.sleep(5)
                await peer.announce(number=5, digest=b"d" * 32)
                await asyncio.sleep(5)
                await peer.announce(number=7, federation="shops")
                await asyncio.sleep(5)
                await peer.connection.publish("model/broadcast", b"\x92\xc4\x01a\xc4\x01b", retain=True)
                await asyncio.sleep(5)
                await peer.announce(number=8, federation="banks", wire=2)
                await asyncio.sleep(5)
                assert trainer.trained == [5]

    clock.run(story)
    for words in ("older than the one known", "another content", "'shops'", "dropped", "wire version 2"):
        assert words in caplog.text


def test_missing_announcement_is_reported_and_frozen_ones_stop_training(tmp_path: Path) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            trainer = Adder(model())
            agent = peer.make_agent(trainer, tmp_path)
            async with Running(agent):
                await peer.until(lambda: agent.counters.applied == 1)
                old = peer.version
                peer.version = waits_for_newer(peer)
                await peer.say("hello")
                await peer.until(lambda: any(note.type == "absent" for note in peer.notes), 20)
                await peer.until(lambda: any(note.type == "frozen" for note in peer.notes), 1300)
                note = next(note for note in peer.notes if note.type == "frozen")
                assert (note.term, note.number) == (1, 0)
                peer.version = old
                await peer.publish(model(value=1.0), 1)  # still older than what the receipts name
                await asyncio.sleep(60)
                assert trainer.trained == [0]
                assert said(peer)["detail"] == "the broker serves an old announcement"
                await peer.publish(model(value=2.0), 8)
                await peer.until(lambda: trainer.trained == [0, 8], 60)

    clock.run(story)


def test_agent_that_hears_of_another_run_asks_for_its_announcement(tmp_path: Path) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            agent = peer.make_agent(Adder(model()), tmp_path)
            async with Running(agent):
                await peer.until(lambda: agent.counters.applied == 1)
                peer.run = b"z" * 16
                peer.counter += 1
                await peer.say("hello")
                await peer.until(lambda: any(note.type == "absent" for note in peer.notes), 60)
                assert peer.note_runs[-1] == bytes(16)

    clock.run(story)


def test_a_clock_that_was_set_back_hides_no_newer_version_and_no_end(tmp_path: Path) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await asyncio.sleep(5000)
            await peer.publish(model(), 0)
            agent = peer.make_agent(Adder(model()), tmp_path)
            running = Running(agent)

            async def say(**changes: Any) -> None:
                """As a coordinator whose clock is an hour slow."""
                late = msgspec.structs.replace(peer.version, **changes)
                peer.version = msgspec.structs.replace(late, issued=late.issued - 3600)
                raw = announcements.sign(peer.version, peer.signing)
                await peer.connection.publish("model/broadcast", raw, retain=True)

            async with running:
                await peer.until(lambda: agent.counters.applied == 1)
                await say(number=1)
                await peer.until(lambda: agent.counters.applied == 2)
                await say(state="over")
                async with asyncio.timeout(60):
                    await running.task

    clock.run(story)


class Watched(Adder):
    """Keeps the context of its last training."""

    context: TrainingContext

    def train_model(self, context: TrainingContext) -> TrainingResult:
        self.context = context
        return super().train_model(context)


def test_agent_that_trains_verifies_only_what_it_is_about_to_use_and_still_hears_of_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signature costs as much as the rest of an update, and a busy federation signs a version a second."""
    trainer, verified = Watched(model()), list[int]()
    real = announcements.verify

    def verify(*arguments: Any) -> Any:
        found = real(*arguments)
        verified.append(found.number)
        return found

    monkeypatch.setattr(announcements, "verify", verify)

    async def story() -> None:
        environment = clock.virtual_environment(party="agent")

        async def slow(function: Callable[..., Any], *arguments: Any) -> Any:
            trained = len(trainer.trained)
            result = await environment.run(function, *arguments)
            await asyncio.sleep(100 * (len(trainer.trained) - trained))
            return result

        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            agent = peer.make_agent(trainer, tmp_path, environment=replace(environment, run=slow))
            async with Running(agent):
                await peer.until(lambda: trainer.trained == [0], 50)
                for number in range(1, 31):
                    await peer.publish(model(value=float(number)), number)
                    await asyncio.sleep(1)
                assert verified == [0]
                await peer.until(lambda: trainer.trained == [0, 30], 200)
                assert verified == [0, 30]
                await peer.announce(state="over")
                await peer.until(trainer.context.stopping, 2)

    clock.run(story)
