"""Every way in which an update can be wrong: rejected with its reason, the model untouched."""

import dataclasses
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from antiphon.codecs import frames, messages
from antiphon.codecs.messages import REASONS, Receipt
from antiphon.codecs.sealing import SecretKey
from antiphon.coordinator.settings import Limits
from antiphon.simulation.clock import run
from tests.coordinator.house import running, settings
from tests.coordinator.peer import Peer, Pulled

Case = Callable[[Peer, Pulled], Awaitable[object]]


def wrong_number(value: float) -> Case:
    async def case(peer: Peer, pulled: Pulled) -> object:
        delta = np.zeros(60, np.float32)
        delta[17] = value
        return await peer.offer(*peer.make(pulled, delta))

    return case


def wrong_offer(**fields: Any) -> Case:
    async def case(peer: Peer, pulled: Pulled) -> object:
        offer, payloads = peer.make(pulled, np.ones(60, np.float32))
        return await peer.offer(msgspec.structs.replace(offer, **fields), payloads)

    return case


def wrong_header(**fields: Any) -> Case:
    async def case(peer: Peer, pulled: Pulled) -> object:
        return await peer.offer(*peer.make(pulled, np.ones(60, np.float32)), **fields)

    return case


async def wrong_shape(peer: Peer, pulled: Pulled) -> object:
    """A chunk of another model than the one that the offer names."""
    from antiphon.codecs.schema import infer

    other = infer({"w": np.zeros((61, 1100), np.float32)})
    made = peer.make(dataclasses.replace(pulled, schema=other), np.ones(other.size, np.float32), inline=False)
    offer = msgspec.structs.replace(made[0], schema=pulled.schema.digest, inline=made[1][:1], chunks=1)
    return await peer.offer(offer, made[1])


async def other_encoding(peer: Peer, pulled: Pulled) -> object:
    offer, payloads = peer.make(pulled, np.ones(60, np.float32), encoding="float16")
    return await peer.offer(msgspec.structs.replace(offer, encoding="float32"), payloads)


async def chunk_missing(peer: Peer, pulled: Pulled) -> object:
    offer, payloads = peer.make(pulled, np.ones(60, np.float32))
    bad = msgspec.structs.replace(offer, inline=[payloads[0], payloads[0]], chunks=2)
    return await peer.offer(bad, payloads)


async def bomb(peer: Peer, pulled: Pulled) -> object:
    """A chunk that says it decompresses to a terabyte."""
    payload = messages.pack([0, 0, 1 << 28, "float32", b"\x28\xb5\x2f\xfd"])
    offer, _ = peer.make(pulled, np.ones(60, np.float32))
    return await peer.offer(msgspec.structs.replace(offer, inline=[payload]), [])


CASES: list[tuple[str, Case, str, str]] = [
    ("a NaN", wrong_number(float("nan")), "rejected", "not-finite"),
    ("an infinity", wrong_number(float("-inf")), "rejected", "not-finite"),
    ("a norm above the bound", wrong_number(1e6), "rejected", "norm"),
    ("a wrong shape", wrong_shape, "rejected", "malformed"),
    ("another schema", wrong_offer(schema=b"x" * 32), "refused", "schema"),
    ("an unknown key", wrong_header(key_id=b"12345678"), "refused", "unknown-key"),
    ("an unknown base", wrong_offer(base=b"x" * 32), "refused", "unknown-base"),
    ("a base of another number", wrong_offer(base_number=7), "refused", "unknown-base"),
    (
        "a first model when there is one",
        wrong_offer(base=bytes(32), base_number=-1),
        "refused",
        "unknown-base",
    ),
    ("another digest", wrong_offer(digest=b"x" * 32), "rejected", "digest"),
    ("another encoding than offered", other_encoding, "rejected", "malformed"),
    ("an encoding that does not exist", wrong_offer(encoding="float7"), "refused", "malformed"),
    ("no chunks", wrong_offer(chunks=0, inline=[]), "refused", "malformed"),
    ("sequence 0", wrong_offer(sequence=0), "refused", "malformed"),
    ("fewer chunks inside than offered", wrong_offer(chunks=2), "refused", "malformed"),
    ("a metric that is no number", wrong_offer(metrics={"auc": float("nan")}), "refused", "malformed"),
    ("more bytes than such a model can have", wrong_offer(size=1 << 40, inline=[]), "refused", "too-large"),
    (
        "more chunks than such a model can have",
        wrong_offer(chunks=1 << 40, inline=[]),
        "refused",
        "too-large",
    ),
    ("a chunk twice", chunk_missing, "rejected", "malformed"),
    ("a decompression bomb", bomb, "rejected", "too-large"),
]


@pytest.mark.parametrize(("case", "type", "reason"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_wrong_update_gets_its_reason_and_changes_nothing(
    tmp_path: Path, case: Case, type: str, reason: str
) -> None:
    assert reason in REASONS

    async def main() -> None:
        chosen = settings(limits=Limits(norm=1000.0))
        async with running(tmp_path, chosen) as house:
            peer = await house.join("a")
            before = await peer.pull()
            await case(peer, before)
            word = await peer.until_told(type)
            assert word.reason == reason
            events = house.named("rejected")
            assert [(event["agent"], event["reason"]) for event in events] == [("a", reason)]
            good = await house.join("b")
            assert (await good.pull()).announcement.digest == before.announcement.digest
            # The service lives on, and merges the next good update as if nothing had been.
            await good.answer(2.0)
            await good.until_version(1)
            assert (await good.pull()).vector == pytest.approx(np.full(60, 2.0))

    run(main)


def test_unknown_sender_makes_one_event_and_no_state(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as house:
            peer = await house.join("stranger", SecretKey.generate())
            await peer.until(lambda: peer.raw)
            for _ in range(20):
                await peer.note(type="hello")
            friend = await house.join("friend")
            await friend.pull()  # it is admitted when it has its keys
            await friend.note(type="hello")
            await friend.until_told("hello")
            events = house.named("rejected")
            assert ("stranger", "unknown-sender") in [(e["agent"], e["reason"]) for e in events]
            assert len(events) == 1
            assert not peer.receipts

    run(main)


@pytest.mark.parametrize(
    "fields",
    [
        {"federation": "other"},
        {"sender": "b"},
        {"recipient": "b"},
        {"run": b"r" * 16},
        {"transfer": b"t" * 16},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_frame_of_another_place_is_dropped_without_a_word(tmp_path: Path, fields: dict[str, Any]) -> None:
    async def main() -> None:
        async with running(tmp_path) as house:
            house.admit("b")
            peer = await house.join("a")
            pulled = await peer.pull()
            await peer.offer(*peer.make(pulled, np.ones(60, np.float32)), **fields)
            await peer.note(type="hello")
            await peer.until_told("hello")
            assert [word.type for word in peer.receipts] == ["hello"]
            assert [event["event"] for event in house.events if "reason" in event] == ["dropped"]

    run(main)


def test_garbage_retained_messages_and_receipts_are_dropped(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as house:
            peer = await house.join("a")
            await peer.pull()
            for data in (b"", b"\x00", b"\xc1" * 500, b"x" * (1 << 20)):
                await peer.say(data)
            header = peer.header(frames.Kind.RECEIPT)
            await peer.say(frames.seal_frame(header, peer.pair, messages.encode(receipt_like())))
            await peer.note(type="hello")
            await peer.until_told("hello")
            assert house.broker.sessions["coordinator"]

    run(main)


def receipt_like() -> Receipt:
    return Receipt(type="hello", term=1, counter=1, newest_term=1, newest_number=0)


def test_same_update_offered_again_and_again_is_applied_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as house:
            peer = await house.join("a")
            pulled = await peer.pull()
            offer, payloads = peer.make(pulled, np.ones(60, np.float32))
            for _ in range(3):
                await peer.offer(offer, payloads)
            await peer.until_version(1)
            told = len(peer.receipts)
            await peer.offer(offer, payloads)
            assert (await peer.until_told("applied", after=told)).version == 1
            assert (await peer.pull()).vector == pytest.approx(np.ones(60))
            assert len(house.named("version")) == 2

    run(main)


def test_other_content_under_the_same_id_gets_the_first_ones_outcome(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as house:
            peer = await house.join("a")
            pulled = await peer.pull()
            first, payloads = peer.make(pulled, np.ones(60, np.float32))
            await peer.offer(first, payloads)
            await peer.until_told("applied")
            told = len(peer.receipts)
            peer.sequence = 0
            second, others = peer.make(pulled, np.full(60, 9, np.float32))
            await peer.offer(second, others)
            word = await peer.until_told("applied", after=told)
            assert word.digest == first.digest != second.digest

    run(main)


def test_agent_with_too_many_waiting_updates_is_asked_for_patience(tmp_path: Path) -> None:
    async def main() -> None:
        chosen = settings(limits=Limits(waiting_updates=1), aggregation={"k": 5})
        async with running(tmp_path, chosen) as house:
            peer = await house.join("a")
            pulled = await peer.pull()
            await peer.offer(*peer.make(pulled, np.ones(60, np.float32)))
            await peer.until_told("received")
            await peer.offer(*peer.make(pulled, np.ones(60, np.float32)))
            assert (await peer.until_told("wait")).after > 0

    run(main)


def test_full_spool_asks_for_patience(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, settings(limits=Limits(spool_bytes=100))) as house:
            peer = await house.join("a")
            await peer.answer()
            assert (await peer.until_told("wait")).after > 0

    run(main)


def test_staler_offer_than_the_bound_is_refused_unless_its_agent_is_slow(tmp_path: Path) -> None:
    async def main() -> None:
        chosen = settings(limits=Limits(staleness=2), aggregation={"k": 1})
        async with running(tmp_path, chosen) as house:
            fast, slow = await house.join("fast"), await house.join("slow")
            old = await slow.pull()
            for number in range(1, 4):
                await fast.answer()
                await fast.until_version(number)
            await slow.until_version(3)
            await slow.offer(*slow.make(old, np.ones(60, np.float32)))
            word = await slow.until_told("refused")
            assert (word.reason, len(house.named("version"))) == ("stale", 4)

    run(main)
