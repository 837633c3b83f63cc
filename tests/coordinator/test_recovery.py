"""A coordinator that is stopped or killed, and started again over the same folder."""

import asyncio
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from antiphon.broker_config.connection import Message
from antiphon.broker_config.topics import COORDINATOR
from antiphon.codecs.errors import ConfigError, StateError
from antiphon.codecs.messages import Asked
from antiphon.codecs.schema import infer
from antiphon.codecs.sealing import SecretKey, SigningKey
from antiphon.coordinator.aggregation.presets import build_rule
from antiphon.coordinator.keys import Identity
from antiphon.coordinator.ledger.ledger import Ledger
from antiphon.coordinator.ledger.records import Recovered
from antiphon.coordinator.models import metadata_of
from antiphon.coordinator.settings import End, LedgerSettings
from antiphon.coordinator.state_folder import begin, make_ledger
from antiphon.simulation.clock import run, virtual_environment
from antiphon.simulation.disk import MemoryDisk
from tests.coordinator.house import SMALL, House, running, settings
from tests.coordinator.peer import Peer, Pulled, Sent
from tests.coordinator.stage import FOLDER, Stage, staged, told
from tests.coordinator.test_broadcast import chunked_versions
from tests.coordinator.test_service import versions
from tests.coordinator.test_transfers import BIG, LIMITS, offered

PATIENT: dict[str, Any] = {"k": 3, "deadline": {"least": 3600.0, "most": 3600.0}}


def stage(
    aggregation: Mapping[str, Any] | None = None,
    initial: Mapping[str, Any] = SMALL,
    seed: int = 0,
    **more: Any,
) -> Stage:
    chosen = settings(aggregation=aggregation or {"k": 1}, durability="fsync", limits=LIMITS, **more)
    return Stage(chosen, initial=initial, disk=MemoryDisk(seed))


async def back(peer: Peer, term: int) -> None:
    """Wait until the coordinator announced a later term."""
    await peer.until(lambda: peer.raw and peer.announcement.term > term)


async def ask(peer: Peer, sent: Sent) -> str:
    """Ask what became of an update; returns the word."""
    before = len(peer.receipts)
    offer = sent.offer
    asked = Asked(incarnation=offer.incarnation, sequence=offer.sequence, digest=offer.digest)
    await peer.note(type="ask", updates=[asked])
    await peer.until(lambda: len(peer.receipts) > before)
    return peer.receipts[before].type


def allow(house: Stage, rule: Callable[[str, str], bool]) -> None:
    """Let the broker take from a client on a topic only what the rule says."""
    house.broker._may_publish = rule  # pyright: ignore[reportPrivateUsage]


def dies_when_it_announces(house: Stage) -> None:
    """Kill the coordinator when its next announcement reaches the broker, which never sees it."""

    def rule(client: str, topic: str) -> bool:
        dead = client == COORDINATOR and topic == house.topics.broadcast
        if dead:
            house.crash()
        return not dead

    allow(house, rule)


@pytest.mark.parametrize("how", ["stopped", "killed", "power cut"])
def test_updates_that_wait_are_merged_once_by_the_next_process(how: str) -> None:
    async def main() -> None:
        async with staged(stage(PATIENT)) as house:
            peers = [await house.join(name) for name in ("a", "b", "c")]
            for peer in peers[:2]:
                await peer.answer(0.5)
                await peer.until_told("received")
            run_id = peers[0].announcement.run
            if how == "stopped":
                summary = await house.stop()
                assert (summary.applied, summary.rejected, summary.version) == (0, 0, 0)
            else:
                house.crash(power=how == "power cut")
            house.start()
            await house.until(lambda: house.named("recovered"))
            assert house.named("recovered")[0]["detail"] == "version 0, 2 updates wait"
            await peers[2].answer(0.5)
            for peer in peers:
                assert (await peer.until_told("applied")).version == 1
            assert peers[0].announcement.run == run_id
            assert (await peers[0].pull()).vector == pytest.approx(np.full(60, 0.5))
            summary = await house.stop()
            assert (summary.applied, summary.version) == (3, 1)

    run(main)


def test_version_that_was_committed_and_not_announced_is_published_by_the_next_process() -> None:
    async def main() -> None:
        async with staged(stage()) as house:
            peer = await house.join("a")
            pulled = await peer.pull()
            await asyncio.sleep(3.0)
            dies_when_it_announces(house)
            sent = await peer.offer(*peer.make(pulled, np.ones(60, np.float32)))
            await peer.until_told("received")
            await asyncio.sleep(5.0)
            assert house.party.over
            assert peer.announcement.number == 0
            allow(house, lambda client, topic: True)
            house.start()
            assert (await peer.until_told("applied")).version == 1
            assert (await peer.pull()).vector == pytest.approx(np.ones(60))
            assert await ask(peer, sent) == "applied"
            await peer.offer(sent.offer, sent.payloads)
            await asyncio.sleep(10.0)
            assert peer.announcement.number == 1

    run(main)


def test_receipt_that_never_left_is_sent_by_the_next_process() -> None:
    async def main() -> None:
        async with staged(stage()) as house:
            peer = await house.join("a")
            await peer.pull()
            deaf = house.topics.receipts("a")
            allow(house, lambda client, topic: topic != deaf)
            await peer.answer()
            await peer.until_version(1)
            assert not told(peer, "applied")
            house.restart()
            allow(house, lambda client, topic: True)
            assert (await peer.until_told("applied")).version == 1

    run(main)


@pytest.mark.parametrize("preset", ["fedadam", "fedasync", "fedbuff", "fedyogi"])
def test_run_with_crashes_computes_the_very_bits_of_one_without(preset: str) -> None:
    fair = {"fairness": "inverse-rate"} if preset == "fedbuff" else {}
    waiting = {} if preset == "fedasync" else PATIENT

    async def main(crashes: int) -> tuple[bytes, dict[str, Any]]:
        house = Stage(settings(preset=preset, aggregation={**waiting, **fair}, durability="fsync"))
        async with staged(house):
            peers = [await house.join(name) for name in ("a", "b", "c")]
            for turn in range(5):
                for n, peer in enumerate(peers):
                    if turn % 3 or n:
                        before = len(peer.receipts)
                        await peer.answer(0.1 * n + 0.01 * turn, metrics={"loss": 1.0 / (turn + 1)})
                        await peer.until_told("received", after=before)
                if crashes > turn:
                    term = peers[0].announcement.term
                    house.restart()
                    await back(peers[0], term)
            await peers[0].until(lambda: peers[0].announcement.number >= 3)
            said = house.coordinator.said_by(["a", "b", "c"])
            summary = await house.stop()
            return summary.digest, {"version": summary.version, "applied": summary.applied, **said}

    assert run(lambda: main(5)) == run(lambda: main(0))


def test_counters_influence_and_reports_go_on() -> None:
    async def main() -> None:
        async with staged(stage()) as house:
            peer = await house.join("a")
            await versions(peer, 2)
            await peer.offer(*peer.make(await peer.pull(), np.full(60, np.nan, np.float32)))
            await peer.until_told("rejected")
            summary = await house.stop()
            house.start()
            await back(peer, peer.announcement.term)
            await versions(peer, 1)
            later = await house.stop()
            assert (summary.applied, summary.rejected, summary.version) == (2, 1, 2)
            assert (later.applied, later.rejected, later.version) == (3, 1, 3)
            assert later.run == summary.run
            assert house.coordinator.said_by(["a"]) == {}

    run(main)


class Published:
    """Counts what the coordinator publishes below ``model/broadcast/``."""

    def __init__(self, house: Stage) -> None:
        self.count = 0
        self._before, self._prefix = house.broker.tap, house.topics.broadcast + "/"
        house.broker.tap = self._hear

    def _hear(self, client: str, message: Message) -> None:
        self.count += message.topic.startswith(self._prefix) and bool(message.payload)
        if self._before is not None:
            self._before(client, message)


def test_slot_whose_files_are_intact_is_announced_again_and_not_sealed_or_sent_anew() -> None:
    async def main() -> None:
        async with staged(stage(initial=BIG)) as house:
            peer = await house.join("a")
            await chunked_versions(peer, 2)
            said = peer.announcement
            house.crash()
            published = Published(house)
            house.start()
            await back(peer, said.term)
            now = peer.announcement
            assert (now.transfer, now.slot, now.number, now.page) == (
                said.transfer,
                said.slot,
                said.number,
                said.page,
            )
            assert published.count == 0
            await asyncio.sleep(60.0)
            assert published.count == 0
            await chunked_versions(peer, 1)

    run(main)


def test_broker_that_lost_everything_meanwhile_gets_the_newest_slot_again() -> None:
    async def main() -> None:
        async with staged(stage(initial=BIG)) as house:
            peer = await house.join("a")
            await chunked_versions(peer, 1)
            said = peer.announcement
            house.crash()
            house.broker.stop()
            published = Published(house)
            house.broker.start()
            house.start()
            await asyncio.sleep(60.0)
            assert published.count == said.chunks + said.pages
            late = await house.join("late")
            assert (await late.pull()).announcement.transfer == said.transfer

    run(main)


def test_chunk_that_the_broker_lost_is_sent_from_the_files_of_the_former_process() -> None:
    async def main() -> None:
        async with staged(stage(initial=BIG)) as house:
            peer = await house.join("a")
            await peer.pull()
            said = peer.announcement
            await asyncio.sleep(5.0)
            house.crash()
            topic = house.topics.chunk(said.slot, 2)
            lost = house.broker.retained.pop(topic)
            house.start()
            await back(peer, said.term)
            await peer.note(type="absent", transfer=said.transfer, chunks=[2])
            await asyncio.sleep(2.0)
            assert house.broker.retained[topic] == lost

    run(main)


@pytest.mark.parametrize("damage", ["missing", "another", "page"])
def test_slot_whose_files_are_not_intact_is_sealed_anew(damage: str) -> None:
    async def main() -> None:
        async with staged(stage(initial=BIG)) as house:
            peer = await house.join("a")
            await peer.pull()
            said = peer.announcement
            await asyncio.sleep(5.0)
            house.crash()
            files = FOLDER / "state" / "published" / str(said.slot)
            if damage == "missing":
                house.disk.remove(files / "3")
            elif damage == "another":
                house.disk.write(files / "3", [house.disk.read(files / "4")], sync=True)
            else:
                house.disk.write(files / "m0", [b"x"], sync=True)
            house.start()
            await back(peer, said.term)
            assert peer.announcement.transfer != said.transfer
            assert (await peer.pull()).announcement.number == 0

    run(main)


def test_pinned_slot_is_kept_for_half_a_minute_after_a_restart() -> None:
    async def main() -> None:
        chosen = stage(initial=BIG)
        chosen.settings = settings(
            aggregation={"k": 1}, limits=replaced_limits(slot_bytes=1 << 20), durability="fsync"
        )
        async with staged(chosen) as house:
            slow, fast = await house.join("slow"), await house.join("fast")
            await slow.until_version(0)
            said = slow.announcement
            await slow.note(type="pulling", transfer=said.transfer)
            await asyncio.sleep(5.0)
            house.restart()
            await back(fast, said.term)
            begin = asyncio.get_running_loop().time()
            topic = house.topics.chunk(said.slot, 0)
            lies = house.broker.retained[topic]
            await chunked_versions(fast, 2)
            assert house.broker.retained[topic] == lies
            while house.broker.retained[topic] == lies:
                await asyncio.sleep(5.0)
                await chunked_versions(fast, 3)
                assert asyncio.get_running_loop().time() - begin < 60.0
            assert asyncio.get_running_loop().time() - begin > 25.0

    run(main)


def replaced_limits(**more: Any) -> Any:
    return msgspec.structs.replace(LIMITS, **more)


def test_clock_that_was_set_back_by_a_day_delays_nothing_and_the_term_grows() -> None:
    async def main() -> None:
        patient = {"k": 2, "deadline": {"least": 5.0, "most": 10.0}}
        async with staged(stage(patient, end=End(time_budget=3 * 86_400.0))) as house:
            peer = await house.join("a")
            await versions(peer, 2)
            before, at = peer.announcement, asyncio.get_running_loop().time()
            house.crash()
            house.ahead = -86_400.0
            house.start()
            await back(peer, before.term)
            await versions(peer, 2)
            assert asyncio.get_running_loop().time() - at < 60.0
            house.party.jump(-86_400.0)
            await versions(peer, 2)
            assert asyncio.get_running_loop().time() - at < 120.0

    run(main)


def test_time_budget_counts_through_restarts() -> None:
    async def main() -> None:
        async with staged(stage(end=End(time_budget=1000.0, linger=0.1))) as house:
            peer = await house.join("a")
            await versions(peer, 1)
            house.crash()
            await asyncio.sleep(600.0)
            house.start()
            await asyncio.sleep(300.0)
            assert not house.task.done()
            async with asyncio.timeout(200.0):
                summary = await house.task
            assert "time budget" in summary.reason

    run(main)


def test_run_that_was_over_says_so_again_and_ends_with_what_to_do() -> None:
    async def main() -> None:
        async with staged(stage(end=End(max_versions=2, linger=5.0))) as house:
            peer = await house.join("a")
            await versions(peer, 2)
            first = await house.task
            term = peer.announcement.term
            house.start()
            await back(peer, term)
            assert (peer.announcement.state, peer.announcement.number) == ("over", 2)
            told_before = len(peer.receipts)
            await peer.answer()
            assert (await peer.until_told("refused", after=told_before)).reason == "run-over"
            again = await house.task
            assert "--new-run" in again.reason
            assert (again.version, again.digest) == (first.version, first.digest)

    run(main)


def test_run_that_was_over_goes_on_when_the_operator_raises_its_bound() -> None:
    async def main() -> None:
        async with staged(stage(end=End(max_versions=1, linger=1.0))) as house:
            peer = await house.join("a")
            await versions(peer, 1)
            await house.task
            term = peer.announcement.term
            house.settings = settings(aggregation={"k": 1}, end=End(max_versions=3, linger=1.0))
            house.start()
            await back(peer, term)
            assert peer.announcement.state == "running"
            await versions(peer, 2)
            assert (await house.task).version == 3
            house.start()
            assert "--new-run" in (await house.task).reason

    run(main)


def test_new_run_puts_the_old_one_aside_and_begins_from_its_own_first_version() -> None:
    async def main() -> None:
        async with staged(stage()) as house:
            peer = await house.join("a")
            await versions(peer, 2)
            old = peer.announcement
            await house.stop()
            house.initial = {"w": np.ones(60, np.float32)}
            house.start(new_run=True)
            await peer.until(lambda: peer.announcement.run != old.run)
            assert peer.announcement.number == 0
            assert (await peer.pull()).vector == pytest.approx(np.ones(60))
            assert house.disk.names(FOLDER / "state" / "runs") == [old.run.hex()]
            await versions(peer, 1)

    run(main)


def test_first_version_that_is_insisted_on_is_refused_when_there_is_a_run() -> None:
    async def main() -> None:
        async with staged(stage()) as house:
            peer = await house.join("a")
            await versions(peer, 1)
            await house.stop()
            house.start(insist=True)
            with pytest.raises(ConfigError, match="--new-run"):
                await house.task
            house.start()
            await back(peer, peer.announcement.term)
            assert (await peer.pull()).vector == pytest.approx(np.full(60, 0.5))

    run(main)


def test_full_disk_pauses_merging_and_loses_nothing() -> None:
    async def main() -> None:
        async with staged(stage(PATIENT)) as house:
            peers = [await house.join(name) for name in ("a", "b", "c")]
            for peer in peers[:2]:
                await peer.answer(0.5)
                await peer.until_told("received")
            house.slow["commit_version"] = 1.0
            await peers[2].answer(0.5)
            await peers[2].until_told("received")
            house.disk.full = True
            await asyncio.sleep(60.0)
            assert peers[0].announcement.number == 0
            assert "tried again" in house.named("disk")[-1]["detail"]
            assert not house.task.done()
            house.disk.full = False
            for peer in peers:
                assert (await peer.until_told("applied", seconds=30.0)).version == 1

    run(main)


def test_first_version_is_published_when_the_disk_has_room_for_it() -> None:
    async def main() -> None:
        house = stage()
        house.slow["commit_version"] = 5.0
        async with staged(house):
            peer = await house.join("a")
            await asyncio.sleep(3.0)
            house.disk.full = True
            await asyncio.sleep(30.0)
            assert not peer.raw
            house.disk.full = False
            await peer.until_version(0, seconds=30.0)

    run(main)


def test_end_of_a_run_waits_for_room_to_merge_what_is_left() -> None:
    async def main() -> None:
        async with staged(stage(PATIENT, end=End(time_budget=60.0, linger=0.1))) as house:
            peer = await house.join("a")
            await peer.answer(0.5)
            await peer.until_told("received")
            await asyncio.sleep(30.0)
            house.disk.full = True
            await asyncio.sleep(120.0)
            assert not house.task.done()
            house.disk.full = False
            summary = await house.task
            assert (summary.version, summary.applied) == (1, 1)

    run(main)


def test_update_that_rots_on_the_disk_is_rejected_and_the_others_are_merged_without_it() -> None:
    async def main() -> None:
        async with staged(stage(PATIENT, initial=BIG)) as house:
            peers = [await house.join(name) for name in ("a", "b", "c")]
            for n, peer in enumerate(peers):
                _, sent = await offered(peer)
                await peer.until_told("granted")
                if n == 2:
                    [rotten] = [name for name in house.spooled() if name.startswith("a-")]
                    path = FOLDER / "state" / "spool" / rotten
                    data = bytearray(house.disk.read(path))
                    data[100] ^= 1
                    house.disk.write(path, [bytes(data)], sync=True)
                for index in range(sent.offer.chunks):
                    await peer.chunk(sent, index)
                await peer.until_told("received")
            assert (await peers[0].until_told("rejected", "applied", seconds=4000.0)).reason == "malformed"
            for peer in peers[1:]:
                assert (await peer.until_told("applied")).version == 1

    run(main)


def test_full_disk_holds_up_the_sealing_of_a_version_until_there_is_room() -> None:
    async def main() -> None:
        async with staged(stage(initial=BIG)) as house:
            peer = await house.join("a")
            await peer.until_version(0)
            house.slow["_seal_now"] = 1.0
            task = asyncio.create_task(chunked_versions(peer, 1))
            await peer.until_told("received")
            await asyncio.sleep(0.5)
            house.disk.full = True
            await asyncio.sleep(30.0)
            assert peer.announcement.number == 0
            house.disk.full = False
            await task
            assert peer.announcement.number == 1

    run(main)


def test_older_copy_of_the_state_folder_is_refused_while_the_broker_shows_a_newer_version(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        house = House(tmp_path)
        async with running(tmp_path, house=house):
            peer = await house.join("a")
            await versions(peer, 1)
        shutil.copytree(tmp_path / "state", tmp_path / "copy")
        house.tasks.clear()
        task = asyncio.create_task(house.coordinator().run())
        peer = await house.join("b")
        await versions(peer, 2)
        lost = await peer.pull()
        house.broker.kill(COORDINATOR)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        shutil.rmtree(tmp_path / "state")
        shutil.move(tmp_path / "copy", tmp_path / "state")
        with pytest.raises(StateError, match="--take-over"):
            await house.coordinator().run()
        assert "older copy" in house.named("stopped")[-1]["detail"]
        async with running(tmp_path, house=house, take_over=True):
            await back(peer, lost.announcement.term)
            assert peer.announcement.number == 1
            await peer.offer(*peer.make(lost, np.ones(60, np.float32)))
            assert (await peer.until_told("refused")).reason == "unknown-base"
            await versions(peer, 1)

    run(main)


def test_agent_back_after_three_days_whose_receipt_was_lost_is_answered_applied_and_not_applied_again() -> (
    None
):
    async def main() -> None:
        async with staged(stage()) as house:
            away, busy = await house.join("away"), await house.join("busy")
            await away.pull()
            deaf = house.topics.receipts("away")
            allow(house, lambda client, topic: topic != deaf)
            sent = await away.answer()
            await away.until_version(1)
            house.broker.kill("away")
            for _ in range(3):
                await versions(busy, 2)
                await asyncio.sleep(3_600.0)
                term = busy.announcement.term
                house.crash(power=True)  # a day of a running coordinator takes seconds to simulate
                await asyncio.sleep(82_800.0)
                house.start()
                await back(busy, term)
            allow(house, lambda client, topic: True)
            assert not told(away, "applied")
            await asyncio.sleep(60.0)
            number = busy.announcement.number
            assert await ask(away, sent) == "applied"
            assert told(away, "applied")[-1].version == 1
            before = len(away.receipts)
            await away.say(sent.frame)  # its epoch key is destroyed: it asks, it does not offer again
            await away.offer(sent.offer, sent.payloads)
            await away.until_told("applied", after=before)
            await asyncio.sleep(60.0)
            assert busy.announcement.number == number
            summary = await house.stop()
            assert summary.applied == number

    run(main)


def test_optimiser_that_the_settings_replaced_begins_from_zeros_and_says_so() -> None:
    async def main() -> None:
        house = stage()
        house.settings = settings(preset="fedadam", aggregation={"k": 1}, durability="fsync")
        async with staged(house):
            peer = await house.join("a")
            await versions(peer, 2)
            house.settings = settings(aggregation={"k": 1}, durability="fsync")
            house.restart()
            await back(peer, peer.announcement.term)
            assert len(house.named("optimiser")) == 1
            before = (await peer.pull()).vector
            await versions(peer, 1, 0.25)
            assert (await peer.pull()).vector == pytest.approx(before + 0.25)
            house.restart()
            await back(peer, peer.announcement.term)
            assert len(house.named("optimiser")) == 1

    run(main)


def test_other_federations_state_is_refused_with_a_sentence() -> None:
    async def main() -> None:
        async with staged(stage()) as house:
            peer = await house.join("a")
            await versions(peer, 1)
            await house.stop()
            right = house.identity
            house.identity = Identity("another", right.secret, right.signing)
            house.start()
            with pytest.raises(StateError, match="belongs to federation 'stage'"):
                await house.task
            house.identity = Identity("stage", SecretKey.generate(), SigningKey.generate())
            house.start()
            with pytest.raises(StateError, match="other keys"):
                await house.task
            house.identity = right
            house.start()
            await back(peer, peer.announcement.term)

    run(main)


def test_update_of_an_agent_that_was_revoked_meanwhile_is_rejected_at_the_start() -> None:
    async def main() -> None:
        async with staged(stage(PATIENT)) as house:
            peers = [await house.join(name) for name in ("a", "b")]
            for peer in peers:
                await peer.answer(metrics={"auc": 0.5})
                await peer.until_told("received")
            house.crash()
            del house.roster["a"]
            house.start()
            await house.until(lambda: house.named("rejected"))
            assert house.coordinator.said_by(["a"]) == {}
            assert house.coordinator.said_by(["b"]) == {"auc": 0.5}
            assert [(e["agent"], e["reason"]) for e in house.named("rejected")] == [("a", "revoked")]
            summary = await house.stop()
            assert summary.rejected == 1

    run(main)


def test_revocation_while_a_version_is_committed_waits_for_what_comes_of_it() -> None:
    async def main(full: bool) -> list[str]:
        async with staged(stage()) as house:
            one = await house.join("one")
            await one.pull()
            house.slow["commit_version"] = 10.0
            await one.answer()
            await one.until_told("received")
            await asyncio.sleep(1.0)
            house.disk.full = full
            del house.roster["one"]
            await asyncio.sleep(30.0)
            house.disk.full = False
            await asyncio.sleep(30.0)
            return [word.type for word in told(one, "applied", "rejected")]

    assert run(lambda: main(full=False)) == ["applied"]
    assert run(lambda: main(full=True)) == ["rejected"]


def test_second_first_version_that_waited_is_rejected_by_the_next_process() -> None:
    async def main() -> None:
        house = stage()
        house.initial = None
        async with staged(house):
            peers = [await house.join(name, may_initialise=True) for name in ("a", "b")]
            house.slow["commit_version"] = 5.0
            schema = infer(SMALL)
            for peer in peers:
                await peer.until(lambda peer=peer: peer.raw and peer.keys)
                pulled = Pulled(peer.announcement, schema, np.ones(60, np.float32), b"")
                await peer.offer(*peer.make(pulled, np.ones(60, np.float32), initial=True))
                await asyncio.sleep(1.0)
            dies_when_it_announces(house)
            await asyncio.sleep(20.0)
            assert house.party.over
            allow(house, lambda client, topic: True)
            house.start()
            words = [await peer.until_told("applied", "rejected") for peer in peers]
            assert [(word.type, word.reason) for word in words] == [
                ("applied", ""),
                ("rejected", "unknown-base"),
            ]

    run(main)


def test_stop_in_the_middle_of_a_commit_leaves_the_word_of_the_ledger() -> None:
    async def main() -> None:
        async with staged(stage()) as house:
            peer = await house.join("a")
            await peer.pull()
            house.slow["commit_version"] = 3.0
            await peer.answer(0.5)
            await peer.until_told("received")
            await asyncio.sleep(0.5)
            summary = await house.stop()
            found = opened(house)
            assert found.version is not None
            assert (found.version.model.number, found.version.model.digest) == (
                summary.version,
                summary.digest,
            )

    run(main)


def opened(house: Stage) -> Recovered:
    """Open the ledger as the next process would."""
    rule = build_rule(house.settings.preset, house.settings.aggregation)
    ledger: Ledger = make_ledger(house.settings, rule, FOLDER / "state", house.disk)
    found = begin(ledger, house.identity, virtual_environment(disk=house.disk), new_run=False)
    ledger.close()
    return found


def test_base_that_is_no_longer_kept_is_refused() -> None:
    async def main() -> None:
        chosen = stage(initial=BIG)
        chosen.settings = settings(
            preset="fedasync",
            limits=replaced_limits(base_bytes=1),
            ledger=LedgerSettings(keep_versions=2),
        )
        async with staged(chosen) as house:
            fast, slow = await house.join("fast"), await house.join("slow")
            old = await slow.pull()
            await chunked_versions(fast, 3)
            offer, payloads = slow.make(old, np.zeros(old.schema.size, np.float32), inline=False)
            await slow.offer(offer, payloads)
            assert (await slow.until_told("refused")).reason == "base-gone"

    run(main)


def test_base_that_an_update_waits_with_is_kept_through_a_restart() -> None:
    async def main() -> None:
        chosen = stage(initial=BIG)
        chosen.settings = settings(
            preset="fedasync",
            aggregation={"trigger": {"kind": "updates", **PATIENT, "k": 2}},
            limits=replaced_limits(base_bytes=1),
            ledger=LedgerSettings(keep_versions=1),
            durability="fsync",
        )
        async with staged(chosen) as house:
            fast, slow = await house.join("fast"), await house.join("slow")
            old = await slow.pull()
            offer, payloads = slow.make(old, np.full(old.schema.size, 0.5, np.float32), inline=False)
            sent = await slow.offer(offer, payloads)
            await slow.until_told("granted")
            for index in range(sent.offer.chunks):
                await slow.chunk(sent, index)
            await slow.until_told("received")
            house.restart()
            await back(fast, old.announcement.term)
            await chunked_versions(fast, 1)
            assert (await slow.until_told("applied")).version == 1

    run(main)


def test_model_file_is_left_for_people_at_the_end_and_not_before(tmp_path: Path) -> None:
    async def main() -> None:
        file = tmp_path / "state" / "model.safetensors"
        async with running(tmp_path) as house:
            peer = await house.join("a")
            await versions(peer, 2)
            assert not file.exists()
        assert metadata_of(file)["version"] == "2"

    run(main)


def test_stop_on_a_full_disk_does_not_claim_a_model_file() -> None:
    async def main() -> None:
        async with staged(stage(PATIENT)) as house:
            await (await house.join("a")).until_version(0)
            house.disk.full = True
            summary = await house.stop()
            assert (summary.version, summary.model) == (0, None)
            house.disk.full = False
            house.restart()
            assert (await house.stop()).model is not None

    run(main)
