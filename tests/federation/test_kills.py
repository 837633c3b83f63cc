"""Real processes that die by ``kill -9``, over a real mosquitto: nothing is lost, nothing counts twice."""

import asyncio
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import kills
import pytest
from arena import SETTINGS, Arena, Plan, listening
from kills import Tally, choose_victims
from mosquitto import Mosquitto

from antiphon.broker_config.connection import Message
from antiphon.broker_config.disk import RealDisk
from antiphon.broker_config.topics import COORDINATOR
from antiphon.codecs import frames
from antiphon.codecs.frames import Kind
from antiphon.simulation.evidence import read_ledger, read_outbox

KILLS = 20

DISK = RealDisk()


@pytest.mark.timeout(300)
def test_coordinator_agents_and_broker_killed_twenty_times_each_lose_nothing(
    tmp_path: Path, mosquitto_kind: type[Mosquitto]
) -> None:
    """The broker comes back empty each time; an agent that starts afterwards still gets the model."""
    seed = 3
    victims = choose_victims(dict.fromkeys(kills.VICTIMS, KILLS), seed)
    with Arena(tmp_path, mosquitto_kind, Plan()) as arena:
        tally = asyncio.run(kills.run(arena, victims, seed))
    print(tally)
    assert tally.kills == Counter(dict.fromkeys(kills.VICTIMS, KILLS))
    assert tally.broken == []
    assert tally.received > tally.kills.total() // 2
    command = [sys.executable, "-m", "antiphon", "replay", str(arena.federation)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert arena.tap.newest is not None
    assert arena.tap.newest.digest.hex()[:16] in done.stdout
    assert len(_broken_by_a_forgetful_ledger(arena)) == 1


def _broken_by_a_forgetful_ledger(arena: Arena) -> list[str]:
    """What the judge says when an update that was received is not in the ledger: that the test can fail."""
    database = DISK.database(arena.federation / "state" / "ledger.db", sync=False)
    received = [name for name, story in arena.tap.updates.items() if story.received]
    names = {(name.agent, name.id.incarnation, name.id.sequence) for name in received}
    with database.transaction() as cursor:
        cursor.execute("SELECT n, agent, incarnation, sequence FROM outcomes")
        n, agent, *_ = next(row for row in cursor.fetchall() if row[1:] in names)
        cursor.execute("DELETE FROM outcomes WHERE agent = ? AND n = ?", (agent, n))
    database.close()
    tally = Tally()
    kills.judge(arena, tally)
    return [sentence for sentence in tally.broken if "was received, the ledger says None" in sentence]


@pytest.mark.timeout(180)
def test_agent_killed_between_training_and_sending_delivers_once_after_its_restart(
    tmp_path: Path, mosquitto_kind: type[Mosquitto]
) -> None:
    async def main(arena: Arena) -> Tally:
        place = arena.folder / "bank-0"
        async with listening(arena):
            arena.start(COORDINATOR)
            arena.start("bank-0")
            await arena.until(lambda: arena.newest >= 1, "version 1")
            await asyncio.sleep(arena.plan.seconds / 3)  # it trains on that by now
            arena.broker.kill()
            before = set(read_outbox(DISK, place))
            await arena.until(lambda: bool(set(read_outbox(DISK, place)) - before), "an update in the outbox")
            arena.children.kill("bank-0")
            (trained,) = set(read_outbox(DISK, place)) - before
            ledger = read_ledger(DISK, arena.federation)
            assert ("bank-0", trained) not in ledger.outcomes
            assert ("bank-0", trained) not in ledger.waiting
            await asyncio.to_thread(arena.broker.start)
            arena.start("bank-0")
            await arena.until(
                lambda: ("bank-0", trained) in read_ledger(DISK, arena.federation).outcomes, "its outcome"
            )
            await kills.end(arena, ["bank-0"], 2)
        assert read_ledger(DISK, arena.federation).outcomes["bank-0", trained].type == "applied"
        kills.judge(arena, tally := Tally())
        return tally

    settings = SETTINGS.replace("k = 2", "k = 1")
    with Arena(tmp_path, mosquitto_kind, Plan(agents=1, seconds=1.2, settings=settings)) as arena:
        tally = asyncio.run(main(arena))
    assert tally.broken == []


class Wire:
    """Counts the bytes of each chunk of an agent's updates that went over the broker."""

    def __init__(self) -> None:
        self.chunks: dict[bytes, dict[int, list[int]]] = {}
        """By transfer and index: the size of each copy."""

    def hear(self, message: Message) -> None:
        header = frames.read(message.payload, 1 << 24).header
        if header.kind == Kind.UPDATE_CHUNK:
            copies = self.chunks.setdefault(header.transfer, {})
            copies.setdefault(header.index, []).append(len(message.payload))

    def total(self) -> int:
        """Bytes so far."""
        return sum(size for copies in self.chunks.values() for sizes in copies.values() for size in sizes)


@pytest.mark.timeout(180)
def test_agent_killed_after_most_of_a_large_upload_sends_the_rest_alone(
    tmp_path: Path, mosquitto_kind: type[Mosquitto]
) -> None:
    size, window = 50_000_000, 4 << 20

    async def main(arena: Arena) -> None:
        wire = Wire()
        async with listening(arena, wire.hear):
            arena.start(COORDINATOR)
            arena.start("bank-0")
            await arena.until(lambda: wire.total() > 0.62 * size, "most of the upload")
            arena.children.kill("bank-0")
            await asyncio.sleep(1.0)  # what the broker still has arrives
            before = wire.total()
            arena.start("bank-0")
            await arena.until(lambda: any(story.received for story in arena.tap.updates.values()), "the rest")
        (copies,) = wire.chunks.values()
        whole = sum(sizes[0] for sizes in copies.values())
        print(f"{before / whole:.1%} before the kill, {(wire.total() - before) / whole:.1%} after it")
        assert 0.6 * whole < before < whole
        assert wire.total() - before <= 0.4 * whole + window
        assert wire.total() <= whole + window

    settings = SETTINGS.replace("16384", "524288").replace(
        "[limits]", f"[limits]\nintake_bytes = {window}\nintake_messages = 100"
    )
    plan = replace(Plan(), agents=1, size=size // 4, interval=3600.0, settings=settings)
    with Arena(tmp_path, mosquitto_kind, plan) as arena:
        asyncio.run(main(arena))
