"""An agent's work when trainers, disks, announcements and brokers misbehave; in virtual time."""

import asyncio
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from peer import Adder, Peer, Running, model

from antiphon.agents import update
from antiphon.agents.outbox import Outbox
from antiphon.agents.trainer import TrainingContext, TrainingResult
from antiphon.broker_config.environment import Environment
from antiphon.broker_config.topics import COORDINATOR
from antiphon.codecs import announcements
from antiphon.codecs.errors import ConfigError, StateError
from antiphon.codecs.messages import NO_DIGEST
from antiphon.simulation import clock
from antiphon.simulation.memory_broker import MemoryBroker


def said(peer: Peer) -> dict[str, Any]:
    return json.loads(peer.broker.retained["status/a1"])


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


def test_an_update_left_in_the_outbox_is_delivered_under_its_old_name(tmp_path: Path) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            peer.answer = lambda upload: None
            agent = peer.make_agent(Adder(model()), tmp_path)
            async with Running(agent):
                await peer.until(lambda: bool(peer.offers))
            assert len(list((tmp_path / "outbox").glob("*.update"))) == 1
            peer.answer = None
            agent = peer.make_agent(Adder(model()), tmp_path)
            async with Running(agent):
                await peer.until(lambda: agent.counters.applied == 1)
            assert len({(offer.incarnation, offer.sequence) for offer in peer.offers}) == 1
            assert len(set(peer.transfers)) == 2

    clock.run(story)


def test_damaged_memory_is_no_reason_not_to_start(tmp_path: Path) -> None:
    (tmp_path / "trained.json").write_text("{")

    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            agent = peer.make_agent(Adder(model()), tmp_path)
            async with Running(agent):
                await peer.until(lambda: agent.counters.applied == 1)

    clock.run(story)


def test_the_end_of_a_run_drops_what_was_never_received(tmp_path: Path) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            peer.answer = lambda upload: None
            agent = peer.make_agent(Adder(model()), tmp_path)
            running = Running(agent)
            async with running:
                await peer.until(lambda: bool(peer.offers))
                await peer.announce(state="over")
                async with asyncio.timeout(5):
                    await running.task
            assert not list((tmp_path / "outbox").iterdir())
            assert agent.counters.rejected == 1

    clock.run(story)


def test_an_update_that_reaches_the_disk_after_the_end_of_its_run_is_dropped_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def on_a_slow_disk(function: Any, *arguments: Any) -> Any:
        if function is update.store:
            await asyncio.sleep(5)
        return function(*arguments)

    def environment(**named: Any) -> Environment:
        return replace(clock.virtual_environment(**named), run=on_a_slow_disk)

    monkeypatch.setattr("peer.virtual_environment", environment)

    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            trainer = Adder(model())
            agent = peer.make_agent(trainer, tmp_path)
            running = Running(agent)
            async with running:
                await peer.until(lambda: trainer.trained == [0])
                await peer.announce(state="over")
                async with asyncio.timeout(10):
                    await running.task
            assert not list((tmp_path / "outbox").iterdir())
            assert agent.counters.rejected == 1

    clock.run(story)


def test_the_end_of_a_run_waits_for_outcomes_but_not_for_ever(tmp_path: Path) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            peer.outcome = ""
            running = Running(peer.make_agent(Adder(model()), tmp_path))
            async with running:
                await peer.until(lambda: bool(peer.updates))
                await peer.announce(state="over")
                await asyncio.sleep(20)
                assert not running.task.done()
                assert len([note for note in peer.notes if note.type == "ask"]) >= 3
                async with asyncio.timeout(15):
                    await running.task

    clock.run(story)


def test_an_agent_that_stays_joins_the_next_run(tmp_path: Path) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            agent = peer.make_agent(Adder(model()), tmp_path, stay=True)
            async with Running(agent):
                await peer.until(lambda: agent.counters.applied == 1)
                await peer.announce(state="over")
                await asyncio.sleep(10)
                await peer.announce(run=b"s" * 16, started=peer.started - 5)  # an older run: not believed
                await asyncio.sleep(10)
                await peer.announce(run=b"s" * 16, started=peer.started + 5, term=9, state="running")
                await peer.publish(model(), 0)
                await peer.until(lambda: agent.counters.applied == 2)

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


def test_a_full_outbox_pauses_training_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            trainer = Adder(model())
            agent = peer.make_agent(trainer, tmp_path)
            async with Running(agent):
                await peer.until(lambda: agent.counters.applied == 1)
                monkeypatch.setattr(Outbox, "room", lambda self, size: "the disk is full")  # pyright: ignore
                await peer.publish(model(value=1.0), 1)
                await asyncio.sleep(20)
                assert trainer.trained == [0]
                assert (said(peer)["activity"], said(peer)["detail"]) == ("paused", "outbox full")
                monkeypatch.undo()
                await peer.until(lambda: agent.counters.applied == 2, 30)

    clock.run(story)
    assert caplog.text.count("the disk is full") == 1


def test_a_write_that_fails_costs_the_work_but_not_the_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = Outbox.add

    def fail(*_: Any) -> Any:
        monkeypatch.setattr(Outbox, "add", add)
        raise StateError("cannot write: No space left on device")

    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            monkeypatch.setattr(Outbox, "add", fail)
            agent = peer.make_agent(Adder(model()), tmp_path)
            async with Running(agent):
                await peer.until(lambda: agent.counters.applied == 1, 60)

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


def waits_for_newer(peer: Peer) -> Any:
    import msgspec

    return msgspec.structs.replace(peer.version, number=7)


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


def test_status_that_somebody_else_left_is_put_right(tmp_path: Path) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            async with Running(peer.make_agent(Adder(model()), tmp_path)):
                await asyncio.sleep(5)
                for payload in (b'{"state": "lost"}', b"[]", b"not json"):
                    await peer.connection.publish("status/a1", payload, retain=True)
                    await asyncio.sleep(3)
                    assert said(peer)["state"] == "online"
                peer.broker.kill("a1")
                assert said(peer)["state"] == "lost"
                await asyncio.sleep(20)
                assert said(peer)["state"] == "online"
            assert said(peer)["state"] == "offline"
            metrics = json.loads(peer.broker.retained["metrics/a1"])
            assert metrics["version_trained"] == -1

    clock.run(story)


def test_stop_before_and_during_a_run(tmp_path: Path) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            early = peer.make_agent(Adder(model()), tmp_path)
            early.stop()
            async with asyncio.timeout(5):
                await early.run()
            assert not early.training

    clock.run(story)


def test_a_broker_that_refuses_for_good_stops_the_agent(tmp_path: Path) -> None:
    async def story() -> None:
        broker = MemoryBroker()
        async with Peer(broker) as peer:
            broker.refused.add("a1")
            with pytest.raises(ConfigError):
                await peer.make_agent(Adder(model()), tmp_path).run()

    clock.run(story)


def test_a_coordinator_key_that_is_none_is_refused(tmp_path: Path) -> None:
    from antiphon.codecs.errors import AntiphonError

    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            agent = peer.make_agent(Adder(model()), tmp_path)
            object.__setattr__(agent._identity, "coordinator", bytes(32))  # pyright: ignore
            with pytest.raises(AntiphonError):
                await agent.run()

    clock.run(story)


def test_the_coordinators_own_name_is_refused(tmp_path: Path) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            from dataclasses import replace

            from antiphon.agents.service import Agent
            from antiphon.agents.settings import AgentSettings
            from antiphon.simulation.clock import virtual_environment

            with pytest.raises(ConfigError, match="reserved"):
                Agent(
                    AgentSettings(),
                    replace(peer.identity, id=COORDINATOR),
                    Adder(model()),
                    tmp_path,
                    peer.broker.connect,
                    virtual_environment(),
                )

    clock.run(story)


logging.getLogger("antiphon.agents").setLevel(logging.INFO)


def test_a_goodbye_that_the_broker_refuses_does_not_matter(tmp_path: Path) -> None:
    async def story() -> None:
        allowed = [True]
        broker = MemoryBroker(may_publish=lambda client, topic: client != "a1" or allowed[0])
        async with Peer(broker) as peer:
            await peer.publish(model(), 0)
            agent = peer.make_agent(Adder(model()), tmp_path)
            async with Running(agent):
                await peer.until(lambda: agent.counters.applied == 1)
                allowed[0] = False

    clock.run(story)


def test_a_defect_in_an_agents_part_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def defect(*_: Any) -> None:
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


def test_updates_that_the_coordinator_lost_are_settled(tmp_path: Path) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            peer.outcome = ""
            agent = peer.make_agent(Adder(model()), tmp_path)
            async with Running(agent):
                await peer.until(lambda: bool(peer.updates))
                await asyncio.sleep(5)
                await peer.say("wait", peer.offers[0], after=0.0)
                await asyncio.sleep(5)
                assert not list((tmp_path / "outbox").iterdir())

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
                assert not list((tmp_path / "outbox").iterdir())
                assert agent.counters.applied == 0

    clock.run(story)


def test_files_in_the_outbox_that_are_no_updates_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "outbox").mkdir()
    (tmp_path / "outbox" / "000000000000.update").write_bytes(b"?")

    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            agent = peer.make_agent(Adder(model()), tmp_path)
            async with Running(agent):
                await peer.until(lambda: agent.counters.applied == 1)

    clock.run(story)
    assert "not a readable update" in caplog.text


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


@pytest.mark.parametrize("topic", ["status/a1", "status/coordinator"])
def test_brackets_in_brackets_on_a_status_topic_do_not_end_the_agent(tmp_path: Path, topic: str) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            agent = peer.make_agent(Adder(model()), tmp_path)
            async with Running(agent):
                await peer.until(lambda: agent.counters.applied == 1)
                for size in (50_000, 200_000):
                    await peer.connection.publish(topic, b"[" * size, retain=True)
                await asyncio.sleep(10)
                assert said(peer)["state"] == "online"
                await peer.publish(model(value=1.0), 1)
                await peer.until(lambda: agent.counters.applied == 2)

    clock.run(story)


def test_a_crash_between_update_and_mark_does_not_train_twice(tmp_path: Path) -> None:
    async def story() -> None:
        async with Peer(MemoryBroker()) as peer:
            await peer.publish(model(), 0)
            peer.answer = lambda upload: None
            agent = peer.make_agent(Adder(model()), tmp_path)
            async with Running(agent):
                await peer.until(lambda: bool(peer.offers))
            (tmp_path / "trained.json").unlink()
            trainer = Adder(model())
            agent = peer.make_agent(trainer, tmp_path)
            async with Running(agent):
                await asyncio.sleep(60)
                assert trainer.trained == []
                assert len({(offer.incarnation, offer.sequence) for offer in peer.offers}) == 1

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
