"""From complete to received: nothing is said before it is written down, whatever happens meanwhile."""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from antiphon.broker_config.disk import Disk
from antiphon.codecs.errors import Rejected
from antiphon.codecs.messages import Asked
from antiphon.codecs.schema import infer
from antiphon.coordinator import checking, upkeep
from antiphon.coordinator.checking import Checked
from antiphon.coordinator.settings import End, Limits
from antiphon.coordinator.spool import Update
from antiphon.simulation.clock import run
from tests.coordinator.house import SMALL, settings
from tests.coordinator.peer import Peer, Pulled, Sent
from tests.coordinator.stage import Stage, staged, told
from tests.coordinator.test_transfers import BIG, LIMITS, offered

ONES = np.ones(60, np.float32)


def stage(**more: Any) -> Stage:
    chosen = {"aggregation": {"k": 1}, "durability": "fsync"} | more
    return Stage(settings(**chosen))


async def offer(peer: Peer) -> Sent:
    return await peer.offer(*peer.make(await peer.pull(), ONES))


def question(sent: Sent) -> Asked:
    made = sent.offer
    return Asked(incarnation=made.incarnation, sequence=made.sequence, digest=made.digest)


def test_received_is_said_after_the_commit_and_not_before() -> None:
    async def main() -> None:
        async with staged(stage()) as house:
            peer = await house.join("a")
            await peer.pull()
            house.slow["commit"] = 5.0
            sent = await offer(peer)
            await asyncio.sleep(4.0)
            assert not peer.receipts
            assert not house.named("accepted")
            house.slow.clear()
            await peer.until_told("received")
            assert (await peer.until_told("applied")).digest == sent.offer.digest

    run(main)


def test_update_offered_again_while_it_is_written_down_is_answered_like_one_that_is_checked() -> None:
    async def main() -> None:
        async with staged(stage()) as house:
            peer = await house.join("a")
            await peer.pull()
            house.slow["commit"] = 5.0
            sent = await offer(peer)
            await asyncio.sleep(1.0)
            await peer.say(sent.frame)
            second = await peer.offer(sent.offer, sent.payloads)  # in another transfer
            await peer.note(type="ask", updates=[question(sent)])
            await peer.note(type="probe", transfer=sent.transfer, send=1)
            await asyncio.sleep(1.0)
            assert {word.type for word in peer.receipts} == {"progress"}
            assert {word.transfer for word in peer.receipts} >= {sent.transfer, second.transfer}
            assert all(word.missing == [] and word.window == 0 for word in peer.receipts)
            assert (await peer.until_told("applied")).version == 1
            await asyncio.sleep(30.0)
            assert len(house.named("accepted")) == 1
            assert peer.announcement.number == 1

    run(main)


def test_refusal_is_said_after_the_commit_and_stands_after_a_crash() -> None:
    async def main() -> None:
        async with staged(stage()) as house:
            peer = await house.join("a")
            pulled = await peer.pull()
            house.slow["commit"] = 5.0
            made, payloads = peer.make(pulled, np.full(60, np.inf, np.float32))
            sent = await peer.offer(made, payloads)
            await asyncio.sleep(1.0)
            await peer.note(type="ask", updates=[question(sent)])
            assert (await peer.until_told("progress", "rejected")).type == "progress"
            assert (await peer.until_told("rejected")).reason == "not-finite"
            term = peer.announcement.term
            house.slow.clear()
            house.restart()
            await peer.until(lambda: peer.announcement.term > term)
            before = len(peer.receipts)
            await peer.note(type="ask", updates=[question(sent)])
            word = await peer.until_told("rejected", after=before)
            assert (word.reason, word.digest) == ("not-finite", made.digest)

    run(main)


def test_agent_revoked_while_its_update_is_written_down_is_rejected() -> None:
    async def main() -> None:
        async with staged(stage()) as house:
            peer = await house.join("a")
            await peer.pull()
            house.slow["commit"] = 10.0
            await offer(peer)
            await asyncio.sleep(1.0)
            del house.roster["a"]
            assert (await peer.until_told("rejected")).reason == "revoked"
            await asyncio.sleep(30.0)
            assert not told(peer, "received", "applied")
            assert peer.announcement.number == 0

    run(main)


@pytest.mark.parametrize("late", ["check_each", "commit"])
def test_first_version_that_comes_through_after_another_is_never_merged_into_it(late: str) -> None:
    async def main() -> None:
        house = stage()
        house.initial = None
        async with staged(house):
            peers = [await house.join(name, may_initialise=True) for name in ("a", "b")]
            house.slow["commit_version"] = 1.0
            for peer in peers:
                await peer.until(lambda peer=peer: peer.raw and peer.keys)
                pulled = Pulled(peer.announcement, infer(SMALL), ONES, b"")
                await peer.offer(*peer.make(pulled, ONES, initial=True))
                await asyncio.sleep(0.2)
                house.slow[late] = 10.0
            assert (await peers[0].until_told("applied")).version == 0
            assert (await peers[1].until_told("applied", "rejected")).reason == "unknown-base"
            await asyncio.sleep(60.0)
            assert peers[0].announcement.number == 0

    run(main)


def test_update_of_an_agent_that_was_revoked_while_it_was_checked_is_rejected() -> None:
    async def main() -> None:
        async with staged(stage()) as house:
            peer = await house.join("a")
            await peer.pull()
            house.slow["check_each"] = 10.0
            await offer(peer)
            await asyncio.sleep(1.0)
            del house.roster["a"]
            assert (await peer.until_told("rejected")).reason == "revoked"
            assert not told(peer, "received")

    run(main)


def test_update_that_is_written_down_while_the_run_ends_still_counts() -> None:
    async def main() -> None:
        chosen = settings(aggregation={"k": 1}, durability="fsync", end=End(time_budget=20.0, linger=60.0))
        async with staged(Stage(chosen)) as house:
            peer = await house.join("a")
            await peer.pull()
            await asyncio.sleep(15.0)
            house.slow["commit"] = 10.0
            await offer(peer)
            word = await peer.until_told("applied", "rejected")
            assert (word.type, word.version) == ("applied", 1)
            assert peer.announcement.number == 1

    run(main)


def test_update_that_the_disk_cannot_give_back_is_asked_for_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    right = checking.check

    def broken(*arguments: Any) -> Any:
        raise OSError(5, "Input/output error")

    async def main() -> None:
        chosen = settings(limits=LIMITS, aggregation={"k": 1}, durability="fsync")
        async with staged(Stage(chosen, BIG)) as house:
            peer = await house.join("a")
            _, sent = await offered(peer)
            await peer.until_told("granted")
            monkeypatch.setattr(checking, "check", broken)
            for index in range(sent.offer.chunks):
                await peer.chunk(sent, index)
            assert (await peer.until_told("wait")).after > 0
            assert house.named("disk")[0]["reason"] == "disk"
            await asyncio.sleep(5.0)
            assert house.spooled() == []
            monkeypatch.setattr(checking, "check", right)
            before = len(peer.receipts)
            await peer.say(sent.frame)
            word = await peer.until_told("granted", after=before)
            assert word.missing == [[0, sent.offer.chunks]]
            for index in range(sent.offer.chunks):
                await peer.chunk(sent, index)
            assert (await peer.until_told("applied")).version == 1

    run(main)


def test_flood_of_offers_and_starts_leaves_few_events() -> None:
    async def main() -> None:
        async with staged(stage()) as house:
            flood, friend = await house.join("flood"), await house.join("friend")
            pulled = await flood.pull()
            for n in range(300):
                flood.incarnation = n.to_bytes(16, "big")
                await flood.note(type="hello")
                await flood.offer(*flood.make(pulled, np.full(60, np.nan, np.float32)))
            await friend.answer()
            await friend.until_told("applied")
            await asyncio.sleep(2.0)
            seen = [event for event in house.events if event.get("agent") == "flood"]
            assert {event["event"] for event in seen} == {"joined", "rejected"}
            assert len(seen) <= 4
            assert len(house.named("version")) == 2
            # Each of them has its answer all the same.
            assert len({word.incarnation for word in told(flood, "rejected")}) == 300

    run(main)


EIGHT = {"k": 8, "deadline": {"least": 600.0}}

Jobs = list[str]


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Jobs:
    """The agents whose updates were checked together, a string for each job."""
    found: Jobs = []
    right = upkeep.check_each

    def check_each(updates: Sequence[tuple[Update, float]], disk: Disk) -> list[Checked | Rejected | OSError]:
        found.append("".join(update.agent for update, _ in updates))
        return right(updates, disk)

    monkeypatch.setattr(upkeep, "check_each", check_each)
    return found


async def eight(house: Stage) -> dict[str, Peer]:
    """Eight agents, each of which has brought an update: what is normal is known."""
    peers = {name: await house.join(name) for name in "abcdefgh"}
    for peer in peers.values():
        await offer(peer)
    for peer in peers.values():
        assert (await peer.until_told("applied")).version == 1
    return peers


def test_small_updates_are_checked_together_and_none_with_a_large_one(jobs: Jobs) -> None:
    async def main() -> None:
        async with staged(stage(aggregation=EIGHT)) as house:
            peers = await eight(house)
            large = peers["e"]
            sent = await large.offer(*large.make(await large.pull(), ONES, inline=False))
            await large.until_told("granted")
            jobs.clear()
            house.slow["check_each"] = 10.0
            for peer in peers.values():
                if peer is large:
                    await large.chunk(sent, 0)
                else:
                    await offer(peer)
                await asyncio.sleep(0.1)
            await large.until(lambda: large.announcement.number == 2)
            assert sorted(jobs) == ["a", "b", "cd", "e", "fgh"]  # there are two checkers

    run(main)


def test_updates_of_a_model_with_many_elements_are_checked_one_by_one_however_few_bytes_they_have(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "SMALL", ONES.size - 1)

    async def main() -> None:
        async with staged(stage(aggregation=EIGHT)) as house:
            peers = await eight(house)
            jobs.clear()
            house.slow["check_each"] = 1.0
            for peer in peers.values():
                await offer(peer)
            await peers["a"].until(lambda: peers["a"].announcement.number == 2)
            assert sorted(jobs) == list("abcdefgh")

    run(main)


def test_bad_update_among_those_that_are_checked_together_costs_the_others_nothing(jobs: Jobs) -> None:
    async def main() -> None:
        async with staged(stage(aggregation=EIGHT)) as house:
            peers = await eight(house)
            jobs.clear()
            house.slow["check_each"] = 1.0
            before = {name: len(peer.receipts) for name, peer in peers.items()}
            for peer in peers.values():
                what = np.full(60, np.nan, np.float32) if peer is peers["e"] else ONES
                await peer.offer(*peer.make(await peer.pull(), what))
            bad = await peers["e"].until_told("rejected", after=before["e"])
            assert bad.reason == "not-finite"
            await offer(peers["e"])
            for name in "abcdfgh":
                assert (await peers[name].until_told("applied", after=before[name])).version == 2
            assert any("e" in job and len(job) > 2 for job in jobs)

    run(main)


def test_first_updates_tell_what_is_normal_before_those_behind_them_are_judged() -> None:
    async def main() -> None:
        chosen = settings(aggregation={"k": 100}, limits=Limits(waiting_updates=300))
        async with staged(Stage(chosen)) as house:
            peer = await house.join("a")
            pulled = await peer.pull()
            for _ in range(10):
                await peer.offer(*peer.make(pulled, ONES))
            for _ in range(40):
                await peer.offer(*peer.make(pulled, ONES * np.float32(1e9)))
            await peer.until(lambda: len(told(peer, "received", "rejected")) == 50)
            assert len(told(peer, "rejected")) >= 30

    run(main)


def test_two_hundred_small_updates_take_few_commits() -> None:
    async def main() -> None:
        chosen = settings(
            aggregation={"k": 200, "deadline": {"least": 60.0}}, limits=Limits(waiting_updates=300)
        )
        async with staged(Stage(chosen)) as house:
            peer = await house.join("a")
            pulled = await peer.pull()
            await asyncio.sleep(5.0)
            house.slow["commit"] = 1.0
            before = house.disk.operations
            for _ in range(200):
                await peer.offer(*peer.make(pulled, ONES))
            await peer.until(lambda: len(told(peer, "received")) == 200)
            assert house.disk.operations - before < 60

    run(main)
