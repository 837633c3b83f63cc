"""Versions are made whatever becomes of those whose updates are in them."""

import asyncio
import gc
import weakref
from typing import Any

import numpy as np
import pytest

from antiphon.codecs.errors import StateError
from antiphon.coordinator import merging
from antiphon.coordinator.merging import Spoiled
from antiphon.coordinator.settings import End, Limits
from antiphon.simulation.clock import run
from tests.coordinator.house import settings
from tests.coordinator.peer import Peer
from tests.coordinator.stage import FOLDER, Stage, staged, told
from tests.coordinator.test_recovery import opened
from tests.coordinator.test_transfers import BIG, LIMITS, offered

ONES = np.ones(60, np.float32)


def stage(k: int, limits: Limits | None = None, **more: Any) -> Stage:
    return Stage(settings(aggregation={"k": k}, durability="fsync", limits=limits or Limits()), **more)


async def answers(house: Stage, *names: str) -> list[Peer]:
    peers = [await house.join(name) for name in names]
    for peer in peers:
        await peer.offer(*peer.make(await peer.pull(), ONES))
        await peer.until_told("received")
    return peers


def test_agent_that_is_revoked_before_its_file_is_read_is_left_out() -> None:
    async def main() -> None:
        async with staged(stage(2, LIMITS, initial=BIG)) as house:
            house.slow["merge"] = 10.0
            peers = [await house.join(name) for name in ("a", "b")]
            for peer in peers:
                _, sent = await offered(peer)
                await peer.until_told("granted")
                for index in range(sent.offer.chunks):
                    await peer.chunk(sent, index)
                await peer.until_told("received")
            await asyncio.sleep(1.0)
            del house.roster["a"]
            assert (await peers[1].until_told("applied")).version == 1
            assert [word.reason for word in told(peers[0], "applied", "rejected")] == ["revoked"]

    run(main)


def test_update_that_the_disk_does_not_give_back_stops_the_service_with_what_to_do() -> None:
    async def main() -> None:
        house = stage(1, LIMITS, initial=BIG)
        async with staged(house):
            peer = await house.join("a")
            _, sent = await offered(peer)
            await peer.until_told("granted")
            house.slow["merge"] = 10.0
            for index in range(sent.offer.chunks):
                await peer.chunk(sent, index)
            await peer.until_told("received")
            (name,) = house.spooled()
            house.disk.remove(FOLDER / "state" / "spool" / name)
            with pytest.raises(StateError, match=f"{name}.*; repair the disk or restore"):
                await house.task
            house.crash()

    run(main)


def test_update_that_is_revoked_while_it_spoils_a_merge_is_rejected_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def merge(*_: Any) -> Spoiled:
        return Spoiled(0, "not-finite", "it does not add up")

    async def main() -> None:
        monkeypatch.setattr(merging, "merge", merge)
        async with staged(stage(1)) as house:
            house.slow["merge"] = 10.0
            (peer,) = await answers(house, "a")
            del house.roster["a"]
            await asyncio.sleep(30.0)
            assert [word.reason for word in told(peer, "rejected")] == ["revoked"]
            assert [event["reason"] for event in house.named("rejected")] == ["revoked"]

    run(main)


def test_agent_revoked_in_a_commit_that_a_stop_gave_up_hears_what_the_ledger_says() -> None:
    async def main() -> None:
        async with staged(stage(1)) as house:
            house.slow["commit_version"] = 8.0
            (peer,) = await answers(house, "a")
            del house.roster["a"]
            await asyncio.sleep(3.0)
            await house.stop()
            assert not told(peer, "rejected")
            assert told(peer, "applied")

    run(main)


def test_version_that_a_start_found_is_not_kept_in_memory_for_ever() -> None:
    async def main() -> None:
        async with staged(stage(1)) as house:
            (peer,) = await answers(house, "a")
            await peer.until_told("applied")
            await house.stop()
            term = peer.announcement.term
            house.start()
            await peer.until(lambda: peer.announcement.term > term)
            assert house.coordinator.model is not None
            found = weakref.ref(house.coordinator.model.vector)
            await peer.answer()
            await peer.until_version(2)
            await asyncio.sleep(5.0)
            gc.collect()
            assert found() is None

    run(main)


def test_stop_while_the_end_of_a_run_commits_its_last_version_waits_for_that() -> None:
    async def main() -> None:
        chosen = settings(
            aggregation={"k": 9, "deadline": {"least": 600.0}}, end=End(time_budget=20.0, linger=60.0)
        )
        async with staged(Stage(chosen)) as house:
            await answers(house, "a")
            house.slow["commit_version"] = 1.9
            await asyncio.sleep(20.7)
            summary = await house.stop()
            found = opened(house).version
            assert found is not None
            assert (found.model.number, found.model.digest) == (summary.version, summary.digest)
            assert summary.version == 1

    run(main)
