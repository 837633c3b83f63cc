"""Uploads and a coordinator that is killed: nothing that was received is lost, only the missing is sent."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np
import pytest

from antiphon.agents.service import Agent
from antiphon.agents.settings import AgentIdentity, AgentSettings
from antiphon.agents.trainer import Array, TrainingContext, TrainingResult
from antiphon.broker_config.folders import RosterEntry
from antiphon.codecs import announcements
from antiphon.codecs.messages import Announcement, Asked
from antiphon.codecs.sealing import SecretKey
from antiphon.coordinator import epochs
from antiphon.coordinator.ledger.ledger import Ledger
from antiphon.coordinator.settings import Limits
from antiphon.simulation.clock import run, virtual_environment
from antiphon.simulation.disk import MemoryDisk
from antiphon.simulation.faults import Faults
from antiphon.simulation.memory_broker import MemoryBroker
from tests.coordinator.house import settings
from tests.coordinator.peer import Peer, Sent
from tests.coordinator.stage import FOLDER, Stage, staged, told
from tests.coordinator.test_transfers import BIG, LIMITS, offered

TINY = Limits(frame=16 << 10, packet=16 << 10)
FEW: dict[str, Any] = {"w": np.zeros((20, 1024), np.float32)}
"""80 KB: some chunks of 16 KiB, and a checkpoint that is a file."""

SMALL_DELTA = np.ones(60, np.float32)


def stage(seed: int = 0, *, limits: Limits = LIMITS, initial: Mapping[str, Any] = BIG, **more: Any) -> Stage:
    return Stage(
        settings(limits=limits, aggregation={"k": 1}, durability="fsync"),
        initial=initial,
        disk=MemoryDisk(seed),
        **more,
    )


def replace_limits(**more: Any) -> Limits:
    return msgspec.structs.replace(LIMITS, **more)


async def send(peer: Peer, sent: Sent, *indices: int) -> None:
    for index in indices:
        await peer.chunk(sent, index)


async def again(stage: Stage, peer: Peer, sent: Sent) -> int:
    """Offer the same transfer once more after a restart; returns how many receipts there were before."""
    term, before = peer.announcement.term, len(peer.receipts)
    await peer.until(lambda: peer.raw and peer.announcement.term > term)
    await peer.say(sent.frame)
    return before


def test_chunks_that_came_before_the_crash_are_not_asked_for_again() -> None:
    async def main() -> None:
        async with staged(stage()) as house:
            peer = await house.join("a")
            _, sent = await offered(peer)
            await peer.until_told("granted")
            total = sent.offer.chunks
            await send(peer, sent, 7, 3, 12, 4)
            await asyncio.sleep(1.0)
            house.restart()
            before = await again(house, peer, sent)
            word = await peer.until_told("granted", after=before)
            assert word.missing == [[0, 3], [5, 2], [8, 4], [13, total - 13]]
            assert word.send >= 4
            await send(peer, sent, *[n for n in range(total) if n not in (3, 4, 7, 12)])
            assert (await peer.until_told("applied")).version == 1
            assert [len(each) for each in house.chunks.values()] == [total]

    run(main)


@pytest.mark.parametrize("seed", range(8))
def test_power_cut_in_the_middle_of_an_upload_loses_only_what_was_not_synced(seed: int) -> None:
    async def main() -> None:
        async with staged(stage(seed)) as house:
            peer = await house.join("a")
            pulled, sent = await offered(peer)
            await peer.until_told("granted")
            total = sent.offer.chunks
            await send(peer, sent, *range(total - 1))
            await asyncio.sleep(1.0)
            house.restart(power=True)
            before = await again(house, peer, sent)
            word = await peer.until_told("granted", after=before)
            missing = [n for first, count in word.missing for n in range(first, first + count)]
            assert total - 1 in missing
            await send(peer, sent, *missing)
            await peer.until_told("applied")
            assert (await peer.pull()).vector.mean() == pytest.approx(1.0, abs=1e-3)
            assert pulled.announcement.run == peer.announcement.run
            assert len(house.named("accepted")) == 1

    run(main)


def test_offer_under_an_epoch_key_that_is_gone_goes_on_with_its_upload() -> None:
    async def main() -> None:
        async with staged(stage()) as house:
            peer = await house.join("a")
            _, sent = await offered(peer)
            await peer.until_told("granted")
            await send(peer, sent, 0, 1)
            await asyncio.sleep(1.0)
            old = peer.announcement.epoch
            house.crash()
            await asyncio.sleep(epochs.LIFE)
            house.start()
            before = await again(house, peer, sent)
            await peer.until_told("granted", after=before)
            assert peer.announcement.epoch != old
            for _ in range(3):  # somebody works on it, so that it is not forgotten
                await asyncio.sleep(epochs.REST / 2)
                sent.send += 1
                await peer.note(type="probe", transfer=sent.transfer, send=sent.send)
            fresh = peer.transfers
            await peer.say(sent.frame)
            word = await peer.until_told("granted", after=len(peer.receipts))
            assert word.missing == [[2, sent.offer.chunks - 2]]
            # A new transfer under the old key is another matter.
            raw, peer.raw = peer.raw, announcements.sign(replaced(peer, old), house.identity.signing)
            stranger = await peer.offer(sent.offer, sent.payloads)
            assert (await peer.until_told("refused")).transfer == stranger.transfer
            peer.raw, peer.transfers = raw, fresh
            await send(peer, sent, *range(2, sent.offer.chunks))
            await peer.until_told("applied")

    run(main)


def replaced(peer: Peer, epoch: bytes) -> Announcement:
    return msgspec.structs.replace(peer.announcement, epoch=epoch)


def test_epoch_key_turns_and_is_announced_while_the_service_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epochs, "LIFE", 1800.0)

    async def main() -> None:
        async with staged(stage(initial={"w": np.zeros(60, np.float32)})) as house:
            peer = await house.join("a")
            await peer.until_version(0)
            first, group, term = peer.announcement.epoch, peer.announcement.key, peer.announcement.term
            house.restart()
            await asyncio.sleep(60.0)
            assert peer.announcement.term > term
            assert (peer.announcement.epoch, peer.announcement.key) == (first, group)
            await asyncio.sleep(epochs.LIFE)
            second = peer.announcement.epoch
            assert second != first
            await peer.answer()
            assert (await peer.until_told("applied")).version == 1

    run(main)


NEVER = 1 << 60


def trip_at(house: Stage, operations: int, *, power: bool = False) -> None:
    """Kill the coordinator at its next so-manieth disk operation."""
    house.disk.trip(house.disk.operations + operations, lambda: house.crash(power=power))


@pytest.mark.parametrize("power", [False, True], ids=["killed", "power cut"])
def test_crash_at_any_disk_operation_between_the_last_chunk_and_the_version_loses_nothing(
    power: bool,
) -> None:
    """Whatever it hits: the update counts once, and only what is missing is sent again."""
    at, crashed = 1, True
    while crashed:

        async def main(at: int = at) -> bool:
            async with staged(stage(at, limits=TINY, initial=FEW)) as house:
                peer = await house.join("a")
                _, sent = await offered(peer)
                await peer.until_told("granted")
                total = sent.offer.chunks
                await send(peer, sent, *range(total - 1))
                await asyncio.sleep(5.0)
                trip_at(house, at, power=power)
                await send(peer, sent, total - 1)
                await asyncio.sleep(5.0)
                died = house.party.over
                trip_at(house, NEVER)
                if died:
                    said = {word.type for word in told(peer, "received", "applied")}
                    house.start()
                    before = await again(house, peer, sent)
                    word = await peer.until_told("granted", "received", "applied", "progress", after=before)
                    if word.type == "granted":
                        assert not said
                        missing = [n for first, count in word.missing for n in range(first, first + count)]
                        assert power or missing == [total - 1]
                        await send(peer, sent, *missing)
                assert (await peer.until_told("applied", seconds=600)).version == 1
                await asyncio.sleep(30.0)
                assert peer.announcement.number == 1
                assert (await peer.pull()).vector.mean() == pytest.approx(1.0, abs=1e-3)
                return died

        crashed = run(main)
        at += 1
    assert at > 8


def test_crash_at_any_disk_operation_of_an_inline_update_loses_nothing() -> None:
    at, crashed = 1, True
    while crashed:

        async def main(at: int = at) -> bool:
            async with staged(stage(initial={"w": np.zeros(60, np.float32)})) as house:
                peer = await house.join("a")
                pulled = await peer.pull()
                await asyncio.sleep(5.0)
                trip_at(house, at)
                sent = await peer.offer(*peer.make(pulled, SMALL_DELTA))
                await asyncio.sleep(5.0)
                died = house.party.over
                trip_at(house, NEVER)
                if died:
                    said = {word.type for word in told(peer, "received", "applied")}
                    term = peer.announcement.term
                    house.start()
                    await peer.until(lambda: peer.announcement.term > term)
                    before = len(peer.receipts)
                    asked = Asked(
                        incarnation=sent.offer.incarnation,
                        sequence=sent.offer.sequence,
                        digest=sent.offer.digest,
                    )
                    await peer.note(type="ask", updates=[asked])
                    word = await peer.until_told("wait", "received", "applied", after=before)
                    if word.type == "wait":
                        assert not said
                        await peer.say(sent.frame)
                assert (await peer.until_told("applied", seconds=600)).version == 1
                await asyncio.sleep(30.0)
                assert peer.announcement.number == 1
                assert (await peer.pull()).vector == pytest.approx(SMALL_DELTA)
                return died

        crashed = run(main)
        at += 1
    assert at > 4


def test_complete_upload_that_was_not_received_is_checked_without_a_word_of_its_agent() -> None:
    async def main() -> None:
        async with staged(stage()) as house:
            peer = await house.join("a")
            _, sent = await offered(peer)
            await peer.until_told("granted")
            total = sent.offer.chunks
            await send(peer, sent, *range(total - 1))
            await asyncio.sleep(5.0)
            trip_at(house, 2)  # the last chunk is written, its sync is not
            await send(peer, sent, total - 1)
            await asyncio.sleep(5.0)
            assert house.party.over
            assert not told(peer, "received")
            house.start()
            assert (await peer.until_told("applied")).version == 1
            assert len(house.chunks["a"]) == total

    run(main)


def test_updates_that_wait_for_their_check_after_a_restart_are_not_begun_anew() -> None:
    async def main() -> None:
        house = stage(limits=replace_limits(checks=1))
        async with staged(house):
            made: list[tuple[Peer, Sent]] = []
            for name in "abcdef":
                peer = await house.join(name)
                made.append((peer, (await offered(peer))[1]))
                await peer.until_told("granted")
            house.slow["commit"] = 1000.0
            for peer, sent in made:
                await send(peer, sent, *range(sent.offer.chunks))
            await asyncio.sleep(5.0)
            house.crash()
            house.slow = {"check_each": 10.0}
            term = made[0][0].announcement.term
            house.start()
            for peer, sent in made:
                await peer.until(lambda peer=peer: peer.announcement.term > term)
                before = len(peer.receipts)
                await peer.offer(sent.offer, sent.payloads)
                assert (await peer.until_told("progress", "granted", after=before)).type == "progress"
            for peer, _ in made:
                await peer.until_told("applied")
            assert len(house.named("accepted")) == len(made)

    run(main)


def test_full_disk_says_wait_and_the_update_comes_again() -> None:
    async def main() -> None:
        async with staged(stage(initial={"w": np.zeros(60, np.float32)})) as house:
            peer = await house.join("a")
            pulled = await peer.pull()
            house.disk.full = True
            sent = await peer.offer(*peer.make(pulled, SMALL_DELTA))
            assert (await peer.until_told("wait")).after > 0
            assert not told(peer, "received", "applied")
            assert house.named("disk")
            house.disk.full = False
            await peer.say(sent.frame)
            assert (await peer.until_told("applied")).version == 1

    run(main)


def test_full_disk_refuses_nothing_for_good() -> None:
    async def main() -> None:
        async with staged(stage(initial={"w": np.zeros(60, np.float32)})) as house:
            peer = await house.join("a")
            pulled = await peer.pull()
            house.disk.full = True
            sent = await peer.offer(*peer.make(pulled, np.full(60, np.nan, np.float32)))
            await peer.until_told("wait")
            assert not told(peer, "rejected", "refused")
            house.disk.full = False
            before = len(peer.receipts)
            await peer.say(sent.frame)
            assert (await peer.until_told("rejected", after=before)).reason == "not-finite"
            house.restart()
            before = await again(house, peer, sent)
            assert (await peer.until_told("rejected", after=before)).reason == "not-finite"

    run(main)


def test_upload_of_an_agent_that_was_revoked_meanwhile_is_dropped_at_the_start() -> None:
    async def main() -> None:
        async with staged(stage()) as house:
            peer = await house.join("a")
            _, sent = await offered(peer)
            await peer.until_told("granted")
            await send(peer, sent, 0, 1)
            await asyncio.sleep(1.0)
            assert house.spooled()
            house.crash()
            del house.roster["a"]
            house.start()
            await house.until(lambda: house.named("recovered"))
            await asyncio.sleep(30.0)
            assert not house.spooled()

    run(main)


def test_base_of_what_waited_through_a_restart_is_let_go_when_it_is_applied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held: dict[int, int] = {}

    def hold(ledger: Ledger, number: int) -> None:
        held[number] = held.get(number, 0) + 1

    def release(ledger: Ledger, number: int) -> None:
        held[number] = held.get(number, 0) - 1

    monkeypatch.setattr(Ledger, "hold", hold)
    monkeypatch.setattr(Ledger, "release", release)

    async def main() -> None:
        house = stage(initial={"w": np.zeros(60, np.float32)})
        house.settings = settings(aggregation={"k": 2, "deadline": {"least": 600.0}})
        async with staged(house):
            one, two = await house.join("one"), await house.join("two")
            await one.answer()
            await one.until_told("received")
            assert held == {0: 1}
            held.clear()
            house.restart()
            await house.until(lambda: house.named("recovered"))
            assert held == {0: 1}
            await two.answer()
            await one.until_told("applied")
            await two.until_told("applied")
            assert held == {0: 0}

    run(main)


# A real agent and 50 MB.

VALUES = 15_500_000
"""Of which 50 MB are left after compression."""
WINDOW = 4 << 20
LARGE = Limits(intake_bytes=WINDOW)


@dataclass
class Noise:
    """Adds what no compression makes much smaller."""

    values: Array = field(default_factory=lambda: np.zeros(VALUES, np.float32))
    trained: int = 0

    def get_model_params(self) -> Mapping[str, Array]:
        return {"w": self.values}

    def update_model_params(self, params: Mapping[str, Array]) -> None:
        self.values = params["w"].copy()

    def train_model(self, context: TrainingContext) -> TrainingResult:
        self.trained += 1
        self.values += np.random.default_rng(1).random(VALUES, np.float32)
        return TrainingResult(examples=1)


def large(broker: MemoryBroker) -> Stage:
    made = stage(limits=LARGE, initial={"w": np.zeros(VALUES, np.float32)}, broker=broker)
    made.settings = settings(limits=LARGE, aggregation={"k": 1}, durability="fsync")
    return made


def employ(house: Stage, id: str = "a") -> Agent:
    """Let a real agent take part."""
    secret, own = SecretKey.generate(), house.identity
    house.roster[id] = RosterEntry(id, secret.public)
    known = AgentIdentity(id, own.federation, secret, own.secret.public, own.signing.public)
    environment = replace(virtual_environment(party=id), disk=MemoryDisk())
    agent = Agent(AgentSettings(), known, Noise(), FOLDER / id, house.broker.connect, environment)
    house.tasks.append(asyncio.create_task(agent.run(), name=id))
    return agent


def size_of(chunks: list[tuple[int, int]]) -> int:
    """Bytes of one copy of every chunk."""
    return sum(dict(chunks).values())


async def until_share(house: Stage, share: float) -> None:
    """Wait until so much of the update was taken by the broker."""
    await house.until(lambda: len(dict(house.chunks.get("a", []))) >= share * house.totals.get("a", 1 << 40))


def test_fifth_of_the_chunks_lost_and_five_reconnects_cost_at_most_two_fifths_more() -> None:
    async def main() -> None:
        broker = MemoryBroker(bandwidth=2_000_000.0, latency=0.02, seed=3)
        async with staged(large(broker)) as house:
            await house.until(lambda: house.named("version"))
            broker.faults = Faults(drop=0.2)
            agent = employ(house)
            for n in range(1, 6):
                await until_share(house, n / 7)
                broker.cut("a")
            await house.until(lambda: len(house.named("version")) == 2)
            agent.stop()
            sent, once = sum(size for _, size in house.chunks["a"]), size_of(house.chunks["a"])
            assert once > 50_000_000
            assert sent <= 1.4 * once + 5 * WINDOW

    run(main)


def test_coordinator_killed_after_three_fifths_of_an_upload_gets_only_the_rest_again() -> None:
    async def main() -> None:
        broker = MemoryBroker(bandwidth=2_000_000.0, latency=0.02)
        async with staged(large(broker)) as house:
            await house.until(lambda: house.named("version"))
            agent = employ(house)
            await until_share(house, 0.65)
            house.crash()
            before = len(house.chunks["a"])
            await asyncio.sleep(20.0)
            house.start()
            await house.until(lambda: len(house.named("version")) == 2)
            agent.stop()
            once = size_of(house.chunks["a"])
            after = sum(size for _, size in house.chunks["a"][before:])
            assert once > 50_000_000
            assert after <= 0.4 * once + WINDOW
            assert len(house.named("accepted")) == 1

    run(main)
