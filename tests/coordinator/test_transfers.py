"""Uploads of many frames: windows, gaps, resends, grants that lapse."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from antiphon.codecs.messages import Asked
from antiphon.coordinator import uploads
from antiphon.coordinator.commits import CROWDED
from antiphon.coordinator.settings import LedgerSettings, Limits
from antiphon.simulation.clock import run
from antiphon.simulation.disk import MemoryDisk
from tests.coordinator.house import running, settings
from tests.coordinator.peer import Peer, Pulled, Sent
from tests.coordinator.stage import Stage, staged, told

BIG: dict[str, Any] = {"w": np.zeros((300, 1024), np.float32), "n": np.array([3, 5], np.int64)}
"""1.2 MB: 20 chunks of 64 KiB and one of the exact section."""

LIMITS = Limits(frame=64 << 10, packet=64 << 10, intake_bytes=256 << 10)


async def offered(peer: Peer, delta: float = 1.0, **more: Any) -> tuple[Pulled, Sent]:
    pulled = await peer.pull()
    rng = np.random.default_rng(1)
    noise = rng.normal(delta, 0.001, pulled.schema.size).astype(np.float32)
    offer, payloads = peer.make(pulled, noise, inline=False, **more)
    return pulled, await peer.offer(offer, payloads)


def big(**more: Any) -> Any:
    return settings(limits=LIMITS, aggregation={"k": 1}, **more)


def test_model_larger_than_a_packet_is_pulled_from_a_slot_and_answered_in_chunks(tmp_path: Path) -> None:
    async def main() -> None:
        newest = LedgerSettings(keep_versions=1)
        async with running(tmp_path, big(ledger=newest), initial=BIG) as house:
            peer = await house.join("a")
            pulled, sent = await offered(peer)
            assert pulled.announcement.slot >= 0
            assert pulled.announcement.model == b""
            assert sent.offer.chunks > 10
            grant = await peer.until_told("granted")
            assert 0 < grant.window <= LIMITS.intake_bytes
            assert grant.missing == [[0, sent.offer.chunks]]
            for index in range(sent.offer.chunks):
                await peer.chunk(sent, index)
            await peer.until_told("received")
            await peer.until_version(1)
            merged = await peer.pull()
            assert merged.vector.mean() == pytest.approx(1.0, abs=1e-3)
            assert merged.exact == pulled.exact
            assert list((tmp_path / "state" / "spool").iterdir()) == []

    run(main)


def test_out_of_order_duplicated_and_lost_chunks_come_together(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, big(), initial=BIG) as house:
            peer = await house.join("a")
            _, sent = await offered(peer)
            await peer.until_told("granted")
            total = sent.offer.chunks
            for index in [*reversed(range(3, total)), 5, 5]:
                await peer.chunk(sent, index)
            told = len(peer.receipts)
            sent.send += 1
            await peer.note(type="probe", transfer=sent.transfer, send=sent.send)
            await peer.until(lambda: any(w.send == sent.send for w in peer.receipts[told:]))
            word = peer.receipts[-1]
            assert (word.missing, word.upto) == ([[0, 3]], total)
            for index in (1, 0, 2):
                await peer.chunk(sent, index)
            await peer.until_told("applied")

    run(main)


def test_every_quarter_of_the_window_is_answered(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, big(), initial=BIG) as house:
            peer = await house.join("a")
            _, sent = await offered(peer)
            grant = await peer.until_told("granted")
            bytes_sent = answers = 0
            for index in range(8):
                await peer.chunk(sent, index)
                bytes_sent += len(sent.payloads[index])
            await peer.note(type="hello")
            await peer.until_told("hello")
            answers = sum(word.type == "progress" for word in peer.receipts)
            assert answers >= bytes_sent // (grant.window // 4) - 1

    run(main)


def test_damaged_chunk_is_dropped_and_reported_missing(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, big(), initial=BIG) as house:
            peer = await house.join("a")
            _, sent = await offered(peer)
            await peer.until_told("granted")
            right, sent.key = sent.key, peer.pair
            await peer.chunk(sent, 0)  # sealed under another key
            sent.key = right
            for index in range(1, sent.offer.chunks):
                await peer.chunk(sent, index)
            word = await peer.until_told("progress")
            await peer.note(type="probe", transfer=sent.transfer, send=sent.send)
            await peer.until(lambda: any(w.missing == [[0, 1]] for w in peer.receipts), 10)
            assert word.send <= sent.send
            await peer.chunk(sent, 0)
            await peer.until_told("applied")

    run(main)


def test_upload_that_holds_something_else_than_offered_is_rejected(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, big(), initial=BIG) as house:
            peer = await house.join("a")
            pulled, sent = await offered(peer)
            await peer.until_told("granted")
            for index in range(sent.offer.chunks):
                await peer.chunk(sent, index, sent.payloads[0] if index == 1 else None)
            word = await peer.until_told("rejected")
            assert word.reason == "malformed"
            assert (await peer.pull()).announcement.digest == pulled.announcement.digest
            assert list((tmp_path / "state" / "spool").iterdir()) == []

    run(main)


def test_chunks_without_an_offer_or_beyond_its_size_are_dropped(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, big(), initial=BIG) as house:
            peer = await house.join("a")
            pulled, sent = await offered(peer)
            await peer.until_told("granted")
            stray = Sent(sent.offer, b"s" * 16, sent.key, sent.payloads, b"")
            await peer.chunk(stray, 0)
            small = peer.make(pulled, np.zeros(pulled.schema.size, np.float32), inline=False)
            lie = await peer.offer(*small)
            await peer.until(lambda: any(w.transfer == lie.transfer for w in peer.receipts))
            for index in range(lie.offer.chunks):
                await peer.chunk(lie, index, bytes(60_000))
            await peer.note(type="probe", transfer=lie.transfer, send=lie.send + 1)
            await peer.until(lambda: any(w.send == lie.send + 1 for w in peer.receipts))
            assert sum(path.stat().st_size for path in (tmp_path / "state" / "spool").iterdir()) < 60_000

    run(main)


def test_lapsed_grant_keeps_what_arrived_and_a_probe_brings_a_new_one(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, big(), initial=BIG) as house:
            peer = await house.join("a")
            _, sent = await offered(peer)
            await peer.until_told("granted")
            for index in range(4):
                await peer.chunk(sent, index)
            await asyncio.sleep(60)
            told = len(peer.receipts)
            sent.send += 1
            await peer.note(type="probe", transfer=sent.transfer, send=sent.send)
            word = await peer.until_told("progress", after=told)
            assert word.missing == [[4, sent.offer.chunks - 4]]
            await peer.until(lambda: any(w.window > 0 for w in peer.receipts[told:]))
            for index in range(4, sent.offer.chunks):
                await peer.chunk(sent, index)
            await peer.until_told("applied")

    run(main)


def test_upload_that_sleeps_for_an_hour_is_forgotten_and_may_start_anew(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, big(), initial=BIG) as house:
            peer = await house.join("a")
            _, sent = await offered(peer)
            await peer.until_told("granted")
            await peer.chunk(sent, 0)
            await asyncio.sleep(3700)
            assert list((tmp_path / "state" / "spool").iterdir()) == []
            told = len(peer.receipts)
            await peer.note(type="probe", transfer=sent.transfer, send=9)
            word = await peer.until_told("wait", after=told)
            assert (word.transfer, word.after) == (sent.transfer, 0.0)

    run(main)


def test_agents_share_the_intake_and_all_get_through(tmp_path: Path) -> None:
    async def main() -> None:
        chosen = settings(limits=LIMITS, aggregation={"k": 6})
        async with running(tmp_path, chosen, initial=BIG) as house:
            peers = [await house.join(f"a{n}") for n in range(6)]
            sents = [(await offered(peer))[1] for peer in peers]
            done: set[str] = set()
            while len(done) < len(peers):
                granted = 0
                for peer, sent in zip(peers, sents, strict=True):
                    words = [w for w in peer.receipts if w.type in ("granted", "progress") and w.window]
                    if peer.id in done or not words:
                        continue
                    granted += words[-1].window
                    for index in range(sent.offer.chunks):
                        await peer.chunk(sent, index)
                    await peer.until_told("received")
                    done.add(peer.id)
                assert granted > 0
            await peers[0].until_version(1)
            assert house.named("version")[-1]["agents"] == [peer.id for peer in peers]

    run(main)


def test_question_about_an_upload_under_way_tells_how_far_it_is(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, big(), initial=BIG) as house:
            peer = await house.join("a")
            _, sent = await offered(peer)
            await peer.until_told("granted")
            asked = Asked(
                incarnation=peer.incarnation, sequence=sent.offer.sequence, digest=sent.offer.digest
            )
            unknown = Asked(incarnation=b"z" * 16, sequence=4, digest=b"d" * 32)
            await peer.note(type="ask", updates=[asked, unknown])
            assert (await peer.until_told("progress")).transfer == sent.transfer
            word = await peer.until_told("wait")
            assert (word.incarnation, word.sequence, word.digest) == (b"z" * 16, 4, b"d" * 32)

    run(main)


def test_new_offer_replaces_the_agents_incomplete_transfer(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, big(), initial=BIG) as house:
            peer = await house.join("a")
            _, first = await offered(peer)
            await peer.until_told("granted")
            await peer.chunk(first, 0)
            told = len(peer.receipts)
            second = await peer.offer(first.offer, first.payloads)
            await peer.until_told("granted", after=told)
            await peer.chunk(first, 1)  # of the dropped transfer
            assert len(list((tmp_path / "state" / "spool").iterdir())) == 0
            for index in range(second.offer.chunks):
                await peer.chunk(second, index)
            await peer.until_told("applied")

    run(main)


def test_same_transfer_under_another_one_time_key_starts_anew(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, big(), initial=BIG) as house:
            peer = await house.join("a")
            _, first = await offered(peer)
            await peer.until_told("granted")
            await peer.chunk(first, 0)
            told = len(peer.receipts)
            peer.transfers -= 1
            second = await peer.offer(first.offer, first.payloads)
            assert second.transfer == first.transfer
            word = await peer.until_told("granted", after=told)
            assert word.missing == [[0, first.offer.chunks]]
            for index in range(second.offer.chunks):
                await peer.chunk(second, index)
            await peer.until_told("applied")

    run(main)


def test_same_offer_again_goes_on_where_it_was(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, big(), initial=BIG) as house:
            peer = await house.join("a")
            _, sent = await offered(peer)
            await peer.until_told("granted")
            for index in range(3):
                await peer.chunk(sent, index)
            told = len(peer.receipts)
            await peer.say(sent.frame)
            word = await peer.until_told("granted", after=told)
            assert word.missing == [[3, sent.offer.chunks - 3]]
            for index in range(3, sent.offer.chunks):
                await peer.chunk(sent, index)
            await peer.until_told("applied")

    run(main)


async def restarted(house: Stage, peer: Peer) -> int:
    """Kill the coordinator and wait for the next; returns how many receipts the agent had."""
    term, before = peer.announcement.term, len(peer.receipts)
    house.restart()
    await peer.until(lambda: peer.announcement.term > term)
    return before


def slow_stage() -> Stage:
    return Stage(settings(limits=LIMITS, aggregation={"k": 1}, durability="fsync"), BIG)


def test_nothing_is_granted_before_the_upload_is_written_down() -> None:
    async def main() -> None:
        async with staged(slow_stage()) as house:
            peer = await house.join("a")
            await peer.pull()
            house.slow["commit"] = 5.0
            _, sent = await offered(peer)
            await asyncio.sleep(2.0)
            await peer.say(sent.frame)
            await peer.note(type="probe", transfer=sent.transfer, send=1)
            await asyncio.sleep(1.0)
            assert [(word.type, word.window) for word in peer.receipts] == [("progress", 0)]
            house.slow.clear()
            await peer.until_told("granted")
            before = await restarted(house, peer)
            await peer.say(sent.frame)
            assert (await peer.until_told("granted", after=before)).missing == [[0, sent.offer.chunks]]

    run(main)


def test_upload_that_a_full_disk_does_not_take_is_not_begun() -> None:
    async def main() -> None:
        async with staged(slow_stage()) as house:
            peer = await house.join("a")
            await peer.pull()
            house.disk.full = True
            _, sent = await offered(peer)
            assert (await peer.until_told("wait", "granted")).type == "wait"
            for index in range(3):
                await peer.chunk(sent, index)
            await asyncio.sleep(1.0)
            assert house.spooled() == []
            house.disk.full = False
            await peer.say(sent.frame)
            assert (await peer.until_told("granted")).missing == [[0, sent.offer.chunks]]
            for index in range(sent.offer.chunks):
                await peer.chunk(sent, index)
            await peer.until_told("applied")

    run(main)


def test_offers_on_a_full_disk_do_not_pile_up() -> None:
    async def main() -> None:
        async with staged(slow_stage()) as house:
            peer = await house.join("a")
            _, sent = await offered(peer)
            await peer.until_told("granted")
            house.disk.full = True
            for _ in range(CROWDED + 100):
                await peer.offer(sent.offer, sent.payloads)
            before = len(peer.receipts)
            await asyncio.sleep(10.0)
            await peer.note(type="hello")
            await peer.until_told("hello", after=before, seconds=5.0)
            house.disk.full = False

    run(main)


def test_agent_revoked_while_its_upload_is_written_down_gets_no_window() -> None:
    async def main() -> None:
        async with staged(slow_stage()) as house:
            peer = await house.join("a")
            await peer.pull()
            house.slow["commit"] = 10.0
            await offered(peer)
            await asyncio.sleep(1.0)
            del house.roster["a"]
            await asyncio.sleep(30.0)
            assert told(peer, "granted") == []
            house.slow.clear()
            house.restart()
            await asyncio.sleep(30.0)
            assert house.spooled() == []

    run(main)


def test_chunk_that_speaks_of_another_length_is_dropped() -> None:
    async def main() -> None:
        async with staged(slow_stage()) as house:
            peer = await house.join("a")
            _, sent = await offered(peer)
            await peer.until_told("granted")
            right = sent.offer
            sent.offer = msgspec.structs.replace(right, chunks=right.chunks + 1)
            await peer.chunk(sent, 0)
            sent.offer = right
            await peer.until(lambda: house.named("dropped"))
            sent.send += 1
            await peer.note(type="probe", transfer=sent.transfer, send=sent.send)
            await peer.until(lambda: told(peer, "progress"))
            assert told(peer, "progress")[-1].missing == [[0, right.chunks]]

    run(main)


def test_upload_whose_file_cannot_be_read_at_the_start_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    right = uploads.restore

    def broken(disk: Any, upload: Any) -> None:
        raise OSError(5, "Input/output error")

    async def main() -> None:
        async with staged(slow_stage()) as house:
            peer = await house.join("a")
            _, sent = await offered(peer)
            await peer.until_told("granted")
            await peer.chunk(sent, 0)
            await asyncio.sleep(1.0)
            monkeypatch.setattr(uploads, "restore", broken)
            before = await restarted(house, peer)
            assert house.named("disk")
            monkeypatch.setattr(uploads, "restore", right)
            await peer.say(sent.frame)
            assert (await peer.until_told("granted", after=before)).missing == [[0, sent.offer.chunks]]
            assert house.spooled() == []

    run(main)


def test_chunk_that_comes_before_the_upload_is_written_down_leaves_no_file() -> None:
    async def main() -> None:
        async with staged(Stage(big(durability="fsync"), BIG)) as house:
            peer = await house.join("a")
            await peer.pull()
            house.slow["commit"] = 5.0
            _, sent = await offered(peer)
            await peer.chunk(sent, 0)
            await asyncio.sleep(1.0)
            house.disk.full = True
            await asyncio.sleep(10.0)
            assert house.spooled() == []
            house.disk.full = False
            house.slow.clear()
            await peer.say(sent.frame)
            assert (await peer.until_told("granted")).missing == [[0, sent.offer.chunks]]

    run(main)


def test_file_of_a_forgotten_upload_that_cannot_be_deleted_ends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any) -> None:
        raise OSError(5, "Input/output error")

    async def main() -> None:
        async with staged(Stage(big(durability="fsync"), BIG)) as house:
            peer = await house.join("a")
            _, sent = await offered(peer)
            await peer.until_told("granted")
            house.slow["_store"] = 5.0
            await peer.chunk(sent, 0)

            monkeypatch.setattr(MemoryDisk, "remove", broken)
            del house.roster["a"]
            await asyncio.sleep(20.0)
            assert house.named("revoked")
            assert not house.task.done()
            monkeypatch.undo()

    run(main)
