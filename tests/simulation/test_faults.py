"""What goes wrong with messages, and how often."""

import asyncio
from collections.abc import Callable, Coroutine
from itertools import pairwise

import pytest
from stages import until_connected

from antiphon.broker_config.connection import Connection, Message
from antiphon.codecs.errors import ConfigError, PublishRefused
from antiphon.simulation.clock import run
from antiphon.simulation.faults import NONE, PROMPT, Dice, Faults
from antiphon.simulation.memory_broker import MemoryBroker

MANY = 5000


def arrivals(faults: Faults, count: int = 200, seed: int = 0) -> list[int]:
    """Numbers in the order in which they arrive; one is sent every 10 ms."""

    async def main() -> list[int]:
        broker = MemoryBroker(faults=faults, seed=seed)
        async with broker.connect("a") as one, broker.connect("b") as other:
            await until_connected(one)
            await until_connected(other)
            await other.subscribe("topic")
            for number in range(count):
                await one.publish("topic", number.to_bytes(2, "big"))
                await asyncio.sleep(0.008)
            await asyncio.sleep(60)
            broker.faults = NONE
            await one.publish("topic", b"")
            return await until_empty(other)

    return run(main)


async def until_empty(connection: Connection) -> list[int]:
    """Everything up to an empty message."""
    found: list[int] = []
    async for event in connection.events():
        if isinstance(event, Message):
            if not event.payload:
                return found
            found.append(int.from_bytes(event.payload, "big"))
    raise AssertionError("the connection ended")


def test_no_faults_no_harm() -> None:
    assert arrivals(NONE) == list(range(200))
    assert not NONE.any
    assert Dice(1, "a").fate(NONE).copies == PROMPT


def test_dropped_messages_never_arrive_although_they_were_acknowledged() -> None:
    found = arrivals(Faults(drop=0.2))
    assert found == sorted(set(found))
    assert 130 < len(found) < 185


def test_duplicates_arrive_twice_the_second_later() -> None:
    found = arrivals(Faults(duplicate=0.1, held=0.1))
    assert sorted(set(found)) == list(range(200))
    assert 205 < len(found) < 240


def test_reordered_messages_are_overtaken() -> None:
    found = arrivals(Faults(reorder=0.1, held=0.1))
    assert sorted(found) == list(range(200))
    late = [one for one, after in pairwise(found) if after < one]
    assert 5 < len(late) < 40


def test_delayed_messages_keep_their_order() -> None:
    assert arrivals(Faults(delay=1.0)) == list(range(200))


@pytest.mark.parametrize(
    ("faults", "share"),
    [(Faults(drop=0.2), 0.2), (Faults(duplicate=0.1), -0.1), (Faults(drop=0.2, duplicate=0.1), 0.12)],
)
def test_shares_are_what_they_say(faults: Faults, share: float) -> None:
    dice = Dice(7, "a")
    copies = sum(len(dice.fate(faults).copies) for _ in range(MANY))
    assert 1 - copies / MANY == pytest.approx(share, abs=0.02)


def test_another_seed_drops_others() -> None:
    faults = Faults(drop=0.2, duplicate=0.1, reorder=0.1, delay=0.01)
    assert arrivals(faults, seed=1) == arrivals(faults, seed=1) != arrivals(faults, seed=2)


def test_one_clients_traffic_does_not_change_what_another_loses() -> None:
    async def talk(broker: MemoryBroker, noise: int) -> list[int]:
        async with (
            broker.connect("a") as one,
            broker.connect("b") as other,
            broker.connect("c") as third,
        ):
            for each in (one, other, third):
                await until_connected(each)
            await other.subscribe("topic")
            await third.subscribe("noise")
            for number in range(100):
                await one.publish("topic", bytes([0, number]))
                for _ in range(noise):
                    await one.publish("noise", b"x")
            broker.faults = NONE
            await one.publish("topic", b"")
            return await until_empty(other)

    def play(noise: int) -> list[int]:
        return run(lambda: talk(MemoryBroker(faults=Faults(drop=0.3)), noise))

    assert play(0) == play(2)


def test_refused_packet_is_told_over_mqtt_5_only() -> None:
    def scene(protocol: int) -> Callable[[], Coroutine[None, None, tuple[int, int]]]:
        async def main() -> tuple[int, int]:
            broker = MemoryBroker(faults=Faults(refuse=0.3), protocol=protocol)
            refused = 0
            async with broker.connect("a") as one, broker.connect("b") as other:
                await until_connected(one)
                await until_connected(other)
                await other.subscribe("topic")
                for _ in range(100):
                    try:
                        await one.publish("topic", b"xx")
                    except PublishRefused:
                        refused += 1
                broker.faults = NONE
                await one.publish("topic", b"")
                return refused, len(await until_empty(other))

        return main

    refused, arrived = run(scene(5))
    assert 15 < refused < 45
    assert arrived == 100 - refused
    assert run(scene(4)) == (0, arrived)


@pytest.mark.parametrize("wrong", [{"drop": 1.5}, {"refuse": -0.1}, {"held": -1.0}, {"delay": float("nan")}])
def test_shares_and_times_that_are_none_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Faults(**wrong)
