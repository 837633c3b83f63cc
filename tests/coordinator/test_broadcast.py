"""What the coordinator says to everybody, and its line: slots, empty brokers, others on its topics."""

import asyncio
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from antiphon.codecs import announcements, frames
from antiphon.codecs.errors import ConfigError, StateError
from antiphon.codecs.messages import NO_DIGEST, Announcement
from antiphon.codecs.sealing import SigningKey
from antiphon.coordinator.settings import Limits
from antiphon.simulation.clock import EPOCH, run
from antiphon.simulation.faults import NONE, Faults
from antiphon.simulation.memory_broker import MemoryBroker
from tests.coordinator.house import SMALL, House, running, settings
from tests.coordinator.peer import Peer
from tests.coordinator.test_service import versions
from tests.coordinator.test_transfers import BIG, big, offered


def test_broker_that_restarts_empty_gets_everything_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, settings(aggregation={"k": 1})) as house:
            one = await house.join("one")
            await versions(one, 2)
            house.broker.stop()
            await asyncio.sleep(10)
            house.broker.start()
            await asyncio.sleep(40)
            late = await house.join("late")
            assert (await late.pull()).announcement.number == 2
            assert house.status()["state"] == "online"
            await versions(late, 1)

    run(main)


def test_slots_come_back_after_an_empty_restart_too(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, big(), initial=BIG) as house:
            one = await house.join("one")
            before = await one.pull()
            house.broker.stop()
            await asyncio.sleep(1)
            house.broker.start()
            await asyncio.sleep(40)
            late = await house.join("late")
            after = await late.pull()
            assert after.announcement.transfer == before.announcement.transfer

    run(main)


def test_announcement_that_somebody_replaces_or_deletes_comes_back(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as house:
            one = await house.join("one")
            await one.pull()
            right = one.raw
            vandal = house.broker.connect("vandal", None)
            async with vandal:
                async for _ in vandal.events():
                    break
                forged = announcements.sign(one.announcement, SigningKey.generate())
                for payload in (b"", b"junk", forged):
                    await vandal.publish(house.topics.broadcast, payload, retain=True)
                    await asyncio.sleep(3)
                    assert house.broker.retained[house.topics.broadcast] == right
                await vandal.publish(house.topics.status("coordinator"), b"{}", retain=True)
                await asyncio.sleep(3)
                assert house.status()["state"] == "online"

    run(main)


def test_second_coordinator_with_a_later_term_stops_the_first(tmp_path: Path) -> None:
    async def main() -> None:
        house = House(tmp_path / "one")
        house.broker.protocol = 4  # a 3.1.1 broker: being displaced looks like any lost line
        first = asyncio.create_task(house.coordinator().run())
        peer = await house.join("a")
        await peer.pull()
        said = peer.announcement
        later = announcements.sign(msgspec.structs.replace(said, term=said.term + 5), house.identity.signing)
        await peer.connection.publish(house.topics.broadcast, later, retain=True)
        with pytest.raises(StateError, match="took over"):
            await first
        assert house.status()["state"] == "offline"
        for task in house.tasks:
            task.cancel()

    run(main)


@pytest.mark.parametrize(("age", "refused"), [(10.0, True), (2000.0, False)])
def test_later_term_announced_a_moment_ago_refuses_a_start(tmp_path: Path, age: float, refused: bool) -> None:
    async def main() -> None:
        house = House(tmp_path)
        house.broker.retained[house.topics.broadcast] = _announced(house, age)
        coordinator = house.coordinator()
        if refused:
            with pytest.raises(StateError, match="--take-over"):
                await coordinator.run()
            coordinator = house.coordinator(take_over=True)
        task = asyncio.create_task(coordinator.run())
        peer = await house.join("a")
        await peer.until_version(0)
        assert peer.announcement.term > EPOCH + 100
        coordinator.stop()
        await task
        for task in house.tasks:
            task.cancel()

    run(main)


def _announced(house: House, age: float) -> bytes:
    announcement = Announcement(
        wire=1,
        federation="house",
        run=b"r" * 16,
        started=EPOCH,
        term=int(EPOCH) + 1000,
        number=7,
        digest=NO_DIGEST,
        schema=NO_DIGEST,
        issued=EPOCH - age,
        state="running",
    )
    return announcements.sign(announcement, house.identity.signing)


def test_announcement_is_signed_again_after_ten_minutes(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as house:
            peer = await house.join("a")
            await peer.pull()
            first = peer.announcement
            await asyncio.sleep(650)
            assert peer.announcement.issued >= first.issued + 600
            assert peer.announcement.digest == first.digest

    run(main)


def test_lost_line_publishes_the_will_and_the_next_session_puts_it_right(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as house:
            peer = await house.join("a")
            await peer.pull()
            house.broker.kill("coordinator")
            assert house.status()["state"] == "lost"
            await asyncio.sleep(40)
            assert house.status()["state"] == "online"
            await versions(peer, 1)

    run(main)


def test_outcome_that_the_broker_did_not_take_is_told_at_the_next_session(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as house:
            peer = await house.join("a")
            await peer.pull()
            await peer.answer()
            await peer.until_told("received")
            house.broker.kill("coordinator")
            assert (await peer.until_told("applied", seconds=120)).version == 1

    run(main)


def test_pull_of_a_slot_survives_newer_versions_while_it_is_pinned(tmp_path: Path) -> None:
    async def main() -> None:
        small = settings(
            limits=Limits(frame=64 << 10, packet=64 << 10, slot_bytes=1 << 20), aggregation={"k": 1}
        )
        async with running(tmp_path, small, initial=BIG) as house:
            slow, fast = await house.join("slow"), await house.join("fast")
            await slow.until_version(0)
            said = slow.announcement
            await slow.note(type="pulling", transfer=said.transfer)
            await chunked_versions(fast, 6)
            topic = house.topics.chunk(said.slot, 0)
            assert frames.read(house.broker.retained[topic], 1 << 20).header.transfer == said.transfer

    run(main)


async def chunked_versions(peer: Peer, count: int) -> None:
    for _ in range(count):
        told = len(peer.receipts)
        _, sent = await offered(peer)
        await peer.until_told("granted", after=told)
        for index in range(sent.offer.chunks):
            await peer.chunk(sent, index)
        word = await peer.until_told("applied", after=told, seconds=120)
        await peer.until_version(word.version)


def test_absent_chunk_is_sent_again_once_in_ten_seconds(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, big(), initial=BIG) as house:
            peer = await house.join("a")
            await peer.pull()
            said = peer.announcement
            lost = [house.topics.chunk(said.slot, 3), house.topics.page(said.slot, 0), house.topics.broadcast]
            kept = {topic: house.broker.retained.pop(topic) for topic in lost}
            await peer.note(type="absent", transfer=said.transfer, chunks=[3, 10**6], pages=[0])
            await peer.note(type="absent")
            await asyncio.sleep(1)
            assert {topic: house.broker.retained.get(topic) for topic in lost} == kept
            del house.broker.retained[lost[0]]
            await peer.note(type="absent", transfer=said.transfer, chunks=[3])
            await peer.note(type="absent", transfer=b"x" * 16, chunks=[3])
            await asyncio.sleep(1)
            assert lost[0] not in house.broker.retained
            await asyncio.sleep(10)
            await peer.note(type="absent", transfer=said.transfer, chunks=[3])
            await asyncio.sleep(1)
            assert lost[0] in house.broker.retained

    run(main)


def test_need_key_frozen_and_pin_notes_are_answered_or_harmless(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, big(), initial=BIG) as house:
            peer = await house.join("a")
            await peer.pull()
            peer.keys.clear()
            await peer.note(type="need-key")
            await peer.until(lambda: peer.keys)
            await peer.note(type="frozen", term=1, number=0)
            await peer.note(type="pin", transfer=b"x" * 16)
            await peer.note(type="hello")
            await peer.until_told("hello")
            assert house.named("frozen")[0]["agent"] == "a"
            counter = peer.counter
            peer.counter = 0
            told = len(peer.receipts)
            await peer.note(type="hello")  # older than the newest: ignored
            peer.counter = counter
            await asyncio.sleep(1)
            assert len(peer.receipts) == told

    run(main)


def test_smaller_model_of_the_next_run_leaves_no_chunks_behind(tmp_path: Path) -> None:
    async def main() -> None:
        house = House(tmp_path)
        for initial, chosen in ((BIG, big()), (SMALL, settings())):
            party = f"coordinator {len(house.tasks)}"  # otherwise both would draw the same run
            async with running(tmp_path, chosen, house, initial=initial, party=party, new_run=True):
                peer = await house.join(f"a-{len(initial)}")
                await asyncio.sleep(20)
                await peer.pull()
        left = [topic for topic in house.broker.retained if topic.startswith("model/broadcast/")]
        assert left == []

    run(main)


def test_broker_that_refuses_the_announcement_stops_with_one_sentence(tmp_path: Path) -> None:
    async def main() -> None:
        house = House(tmp_path)
        house.broker = MemoryBroker(may_publish=lambda client, topic: "broadcast" not in topic)
        with pytest.raises(ConfigError, match="rules"):
            await house.coordinator().run()
        house = House(tmp_path / "big")
        house.broker = MemoryBroker(may_publish=lambda client, topic: "broadcast" not in topic)
        with pytest.raises(ConfigError, match="rules"):
            await house.coordinator(big(), initial=BIG).run()

    run(main)


def test_broker_over_its_quota_is_waited_for(tmp_path: Path) -> None:
    async def main() -> None:
        for name, chosen, initial in (("small", settings(), SMALL), ("big", big(), BIG)):
            house = House(tmp_path / name)
            house.broker.faults = Faults(refuse=1.0)
            async with running(tmp_path, chosen, house, initial=initial):
                await asyncio.sleep(30)
                assert 2 <= len(house.named("refused")) <= 4
                house.broker.faults = NONE
                peer = await house.join("a")
                assert (await peer.pull()).announcement.number == 0

    run(main)


def test_broker_that_takes_small_packets_gets_small_frames(tmp_path: Path) -> None:
    async def main() -> None:
        house = House(tmp_path)
        house.broker = MemoryBroker(maximum_packet=20_000)
        chosen = settings(limits=Limits(), aggregation={"k": 1})
        async with running(tmp_path, chosen, house, initial=BIG):
            peer = await house.join("a")
            pulled = await peer.pull()
            assert pulled.announcement.slot >= 0
            assert pulled.announcement.frame < 20_000
            assert max(len(data) for data in house.broker.retained.values()) < 20_000
            await chunked_versions(peer, 1)

    run(main)


def test_broker_that_loses_the_chunks_just_before_the_announcement_gets_them_again(tmp_path: Path) -> None:
    async def main() -> None:
        house = House(tmp_path)
        announced = 0

        def restart() -> None:
            house.broker.stop()
            house.broker.start()

        def crash_once(client: str, topic: str) -> bool:
            nonlocal announced
            announced += topic == house.topics.broadcast
            if announced == 1 and topic == house.topics.broadcast:
                asyncio.get_running_loop().call_soon(restart)
            return True

        house.broker = MemoryBroker(may_publish=crash_once)
        async with running(tmp_path, big(), house, initial=BIG):
            await asyncio.sleep(10)
            assert announced > 1
            one = await house.join("one")
            async with asyncio.timeout(5):
                await one.pull()

    run(main)


def test_wall_clock_that_is_set_back_lets_no_announcement_look_older_than_the_last(tmp_path: Path) -> None:
    async def main() -> None:
        house = House(tmp_path)
        coordinator = house.coordinator(settings(aggregation={"k": 1}))
        right = coordinator._environment  # pyright: ignore[reportPrivateUsage]
        back = 0.0
        later = replace(right, now=lambda: right.now() - back)
        coordinator._environment = later  # pyright: ignore[reportPrivateUsage]
        task = asyncio.create_task(coordinator.run())
        peer = await house.join("a")
        first = await peer.until_version(0)
        back = 86_400.0
        await versions(peer, 1)
        assert peer.announcement.issued >= first.issued
        coordinator.stop()
        await task
        for other in house.tasks:
            other.cancel()

    run(main)
