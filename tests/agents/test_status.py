"""What an agent says of itself, and how often; in virtual time."""

import asyncio
import json
from contextlib import suppress

import pytest
from peer import Peer

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
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    clock.run(story)
    for times in told.values():
        assert 9 <= len(times) <= 11
    assert max(told["metrics/a1"]) >= 89  # at most a second old
    assert all(
        later - sooner > 0.9 for sooner, later in zip(told["status/a1"], told["status/a1"][1:], strict=False)
    )
