"""What an agent says of itself, and how often; in virtual time."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from peer import Peer, Running
from scenes import said
from trainers import Adder, model

from antiphon.agents.line import Line
from antiphon.agents.settings import AgentSettings
from antiphon.agents.status import LARGEST, Counters, Reporter, read_status
from antiphon.broker_config.connection import Connected, Message
from antiphon.simulation import clock
from antiphon.simulation.memory_broker import MemoryBroker


@pytest.mark.parametrize(
    "payload", [b"", b"not json", b"[1]", b"[" * 5_000, b'{"a": "' + b"x" * LARGEST + b'"}']
)
def test_what_is_no_status_says_nothing(payload: bytes) -> None:
    assert read_status(payload) == {}


async def end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def test_numbers_and_activity_are_each_told_every_second_while_both_change_all_the_time() -> None:
    """Numbers that waited until an activity lasts would reach a monitor seconds late."""
    told: dict[str, list[float]] = {"status/a1": [], "metrics/a1": []}

    async def watch(broker: MemoryBroker) -> None:
        async with broker.connect("watcher") as connection:
            async for event in connection.events():
                if isinstance(event, Connected):
                    await connection.subscribe("status/a1", "metrics/a1")
                elif isinstance(event, Message):
                    said = json.loads(event.payload)
                    told[event.topic].append(said["timestamp"] if "state" in said else said["updates_sent"])

    async def story() -> None:
        async with Peer(MemoryBroker()) as peer, peer.broker.connect("a1") as connection:
            line = Line(AgentSettings(), peer.identity, connection, clock.virtual_environment())
            counters = Counters()
            reporter = Reporter(line, counters, lambda: 0, "session")
            tasks = [asyncio.create_task(watch(peer.broker)), asyncio.create_task(reporter.run())]
            await asyncio.sleep(1)
            line.session = line.subscribed = 1
            for step in range(100):
                counters.sent = step
                reporter.set("training" if step % 2 else "sending", str(step))
                await asyncio.sleep(0.1)
            await end(tasks)

    clock.run(story)
    for times in told.values():
        assert 9 <= len(times) <= 11
    assert max(told["metrics/a1"]) >= 89  # at most a second old
    assert all(
        later - sooner > 0.9 for sooner, later in zip(told["status/a1"], told["status/a1"][1:], strict=False)
    )


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


def test_monitors_are_told_as_seldom_as_the_settings_say_and_then_the_truth() -> None:
    told: list[tuple[float, str]] = []

    async def watch(broker: MemoryBroker) -> None:
        async with broker.connect("watcher") as connection:
            async for event in connection.events():
                if isinstance(event, Connected):
                    await connection.subscribe("status/a1")
                elif isinstance(event, Message):
                    said = json.loads(event.payload)
                    told.append((asyncio.get_running_loop().time(), said["activity"]))

    async def story() -> None:
        async with Peer(MemoryBroker()) as peer, peer.broker.connect("a1") as connection:
            line = Line(AgentSettings(report=30.0), peer.identity, connection, clock.virtual_environment())
            reporter = Reporter(line, Counters(), lambda: 0, "session")
            tasks = [asyncio.create_task(watch(peer.broker)), asyncio.create_task(reporter.run())]
            await asyncio.sleep(1)
            line.session = line.subscribed = 1
            for step in range(100):
                reporter.set("training" if step % 2 else "pulling")
                await asyncio.sleep(1)
            reporter.set("waiting")
            reporter.sending = lambda: True
            await asyncio.sleep(60)
            await end(tasks)

    clock.run(story)
    assert [round(now / 30) for now, _ in told] == [0, 1, 2, 3, 4]
    assert told[-1][1] == "sending"
