"""Admitted agents that do what no honest agent does: nothing of it stops the coordinator or counts twice."""

import asyncio
import tracemalloc
from pathlib import Path

import msgspec
import numpy as np
import pytest

from antiphon.codecs import schema
from antiphon.codecs.messages import NO_DIGEST, Offer
from antiphon.coordinator.settings import End
from antiphon.simulation.clock import run
from antiphon.simulation.memory_broker import MemoryBroker
from tests.coordinator.house import House, running, settings
from tests.coordinator.test_transfers import BIG, big, offered


def test_two_updates_under_one_transfer_id_are_both_applied(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, settings(aggregation={"k": 3, "deadline": {"least": 5.0}})) as house:
            peer, other = await house.join("a"), await house.join("b")
            pulled = await peer.pull()
            for delta in (1.0, 2.0):
                await peer.offer(*peer.make(pulled, np.full(60, delta, np.float32)))
                peer.transfers -= 1
            await other.answer()
            await peer.until(lambda: sum(word.type == "applied" for word in peer.receipts) == 2)
            assert not house.named("rejected")
            assert list((tmp_path / "state" / "spool").iterdir()) == []

    run(main)


def test_update_offered_in_chunks_and_inside_at_once_is_applied_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, big()) as house:
            peer = await house.join("a")
            pulled = await peer.pull()
            offer, payloads = peer.make(pulled, np.ones(60, np.float32), inline=False)
            chunked = await peer.offer(offer, payloads)
            await peer.until_told("granted")
            await peer.offer(msgspec.structs.replace(offer, inline=payloads), payloads)
            await peer.chunk(chunked, 0)
            await peer.until_told("applied")
            await asyncio.sleep(20)
            assert [event["agents"] for event in house.named("version")] == [[], ["a"]]
            assert len(house.named("accepted")) == 1

    run(main)


def test_agent_revoked_while_its_update_is_published_is_settled_once(tmp_path: Path) -> None:
    async def main() -> None:
        house = House(tmp_path, MemoryBroker(bandwidth=100_000.0))
        async with running(tmp_path, big(), house, initial=BIG):
            peer = await house.join("a")
            _, sent = await offered(peer)
            await peer.until_told("granted", seconds=100)
            for index in range(sent.offer.chunks):
                await peer.chunk(sent, index)
            await peer.until_told("received", seconds=100)
            await asyncio.sleep(3)
            del house.roster["a"]
            await asyncio.sleep(60)
            finals = [word.type for word in peer.receipts if word.type in ("applied", "rejected")]
            assert not house.named("rejected")
            assert finals == ["applied"]

    run(main)


def test_update_that_completes_after_the_end_is_rejected(tmp_path: Path) -> None:
    async def main() -> None:
        house = House(tmp_path)
        chosen = big(end=End(max_versions=1, linger=5.0))
        task = asyncio.create_task(house.coordinator(chosen, initial=BIG).run())
        one, two = await house.join("one"), await house.join("two")
        _, slow = await offered(two)
        await two.until_told("granted")
        _, sent = await offered(one)
        await one.until_told("granted")
        for index in range(sent.offer.chunks):
            await one.chunk(sent, index)
        await one.until(lambda: one.announcement.state == "over")
        for index in range(slow.offer.chunks):
            await two.chunk(slow, index)
        await task
        assert [w.type for w in two.receipts][-1] in ("rejected", "refused")
        for peer in house.tasks:
            peer.cancel()

    run(main)


def test_first_model_of_a_million_million_numbers_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, initial=None) as house:
            peer = await house.join("a", may_initialise=True)
            await peer.until(lambda: peer.raw)
            giant = schema.infer({"w": np.broadcast_to(np.float32(0), (1 << 40,))})
            offer = Offer(
                incarnation=peer.incarnation,
                sequence=1,
                base=NO_DIGEST,
                base_number=-1,
                schema=giant.digest,
                digest=b"d" * 32,
                encoding="float32",
                chunks=1 << 30,
                size=1 << 44,
                examples=1,
                schema_body=giant.encode(),
            )
            tracemalloc.start()
            await peer.offer(offer, [])
            word = await peer.until_told("refused")
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert (word.reason, "model_bytes" in word.detail) == ("too-large", True)
            assert peak < 10 << 20

    run(main)


def test_more_chunks_than_bytes_to_fill_them_are_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, big(), initial=BIG) as house:
            peer = await house.join("a")
            pulled = await peer.pull()
            offer, payloads = peer.make(pulled, np.zeros(pulled.schema.size, np.float32), inline=False)
            await peer.offer(msgspec.structs.replace(offer, chunks=200, size=1000), payloads)
            assert (await peer.until_told("refused")).reason == "malformed"

    run(main)


@pytest.mark.parametrize("trained", [0, 9])
def test_one_huge_update_of_a_broken_trainer_changes_nothing(tmp_path: Path, trained: int) -> None:
    async def main() -> None:
        async with running(tmp_path, settings(preset="fedadam")) as house:
            peer = await house.join("a")
            for number in range(trained):
                await peer.answer(0.1)
                await peer.until_version(number + 1)
            before = (await peer.pull()).vector
            await peer.answer(2e38 if not trained else 1e6)
            assert (await peer.until_told("rejected")).reason == "norm"
            await peer.answer(0.1)
            await peer.until_version(trained + 1)
            assert np.abs((await peer.pull()).vector - before).max() < 1

    run(main)
