"""The coordinator as its agents see it, in virtual time: versions, ends, stops, refusals, revocations."""

import asyncio
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antiphon.broker_config.settings import parse
from antiphon.codecs.errors import ConfigError, StateError
from antiphon.codecs.schema import infer
from antiphon.coordinator.models import load, metadata_of
from antiphon.coordinator.settings import CoordinatorSettings, End, Metrics
from antiphon.simulation.clock import run
from tests.coordinator.house import SMALL, House, running, settings
from tests.coordinator.peer import Peer, Pulled


async def versions(peer: Peer, count: int, delta: float = 0.5) -> None:
    """Answer every version until there are ``count`` more."""
    await peer.until(lambda: peer.raw and peer.announcement.number >= 0)
    first = peer.announcement.number
    for number in range(first, first + count):
        await peer.until_version(number)
        await peer.answer(delta)
    await peer.until_version(first + count)


def test_one_agent_alone_gets_new_versions(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as house:
            agent = await house.join("a")
            await versions(agent, 3)
            assert (await agent.pull()).vector == pytest.approx(np.full(60, 1.5))
        about = metadata_of(tmp_path / "state" / "model.safetensors")
        assert about["version"] == "3"
        assert load(tmp_path / "state" / "model.safetensors")["w"] == pytest.approx(np.full(60, 1.5))

    run(main)


def test_two_agents_and_one_dies_the_other_still_gets_versions(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, settings(aggregation={"k": 2})) as house:
            one, two = await house.join("one"), await house.join("two")
            for number in range(3):
                for peer in (one, two):
                    await peer.until_version(number)
                    await peer.answer()
            await one.until_version(3)
            house.broker.kill("two")
            await versions(one, 3)
            assert [len(event["agents"]) for event in house.named("version")] == [0, 2, 2, 2, 1, 1, 1]

    run(main)


@pytest.mark.parametrize("preset", ["fedasync", "fedbuff", "fedavg", "fedadam", "fedyogi", "fedadagrad"])
def test_every_preset_makes_versions(tmp_path: Path, preset: str) -> None:
    async def main() -> None:
        async with running(tmp_path, settings(preset=preset)) as house:
            agent = await house.join("a")
            await versions(agent, 3)
            vector = (await agent.pull()).vector
            assert np.isfinite(vector).all()
            assert (vector > 0).all()

    run(main)


def test_first_version_comes_from_the_agent_that_may_bring_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, initial=None) as house:
            other, may = await house.join("other"), await house.join("may", may_initialise=True)
            for peer in (other, may):
                await peer.until(lambda peer=peer: peer.raw and peer.announcement.wanted == "initial")
                await peer.until(lambda peer=peer: peer.keys)
            schema = infer({"w": np.zeros(5, np.float64), "n": np.array(4)})
            vector, exact = schema.pack({"w": np.arange(5.0), "n": np.array(4)})
            for peer in (other, may):
                pulled = Pulled(peer.announcement, schema, vector, exact)
                await peer.offer(*peer.make(pulled, vector, initial=True))
            assert (await other.until_told("refused")).reason == "unknown-base"
            assert (await may.until_told("applied")).version == 0
            found = await may.pull()
            assert found.vector.tolist() == [0, 1, 2, 3, 4]
            assert found.vector.dtype == np.float64
            await versions(may, 1)

    run(main)


def test_second_first_version_is_rejected(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path, initial=None) as house:
            peers = [await house.join(name, may_initialise=True) for name in ("a", "b")]
            schema = infer(SMALL)
            for peer in peers:
                await peer.until(lambda peer=peer: peer.raw and peer.keys)
            for peer in peers:
                pulled = Pulled(peer.announcement, schema, np.ones(60, np.float32), b"")
                await peer.offer(*peer.make(pulled, np.ones(60, np.float32), initial=True))
            words = [await peer.until_told("applied", "rejected", "refused") for peer in peers]
            assert sorted(word.type for word in words)[0] == "applied"
            assert {word.reason for word in words} == {"", "unknown-base"}

    run(main)


def test_last_version_ends_the_run_and_nobody_is_left_without_a_word(tmp_path: Path) -> None:
    async def main() -> None:
        house = House(tmp_path)
        chosen = settings(end=End(max_versions=2, linger=5.0), aggregation={"k": 1})
        coordinator = house.coordinator(chosen)
        task = asyncio.create_task(coordinator.run())
        one, two = await house.join("one"), await house.join("two")
        await versions(one, 1)
        pulled = await two.pull()
        await one.answer()
        await one.until(lambda: one.announcement.state == "over")
        late = len(two.receipts)
        await two.offer(*two.make(pulled, np.ones(60, np.float32)))
        assert (await two.until_told("refused", after=late)).reason == "run-over"
        summary = await task
        assert (summary.version, summary.applied) == (2, 2)
        assert "last" in summary.reason
        assert house.status()["state"] == "over"
        for peer in house.tasks:
            peer.cancel()

    run(main)


def test_leftovers_are_merged_when_the_time_is_up(tmp_path: Path) -> None:
    async def main() -> None:
        house = House(tmp_path)
        chosen = settings(
            end=End(time_budget=20.0, linger=0.1),
            aggregation={"k": 5, "deadline": {"gaps": 10, "least": 300, "most": 600}},
        )
        task = asyncio.create_task(house.coordinator(chosen).run())
        one = await house.join("one")
        await one.answer()
        await one.until_told("received")
        assert (await one.until_told("applied", seconds=60)).version == 1
        summary = await task
        assert (summary.version, summary.applied, summary.rejected) == (1, 1, 0)
        for peer in house.tasks:
            peer.cancel()

    run(main)


def test_target_metric_of_two_agents_ends_the_run(tmp_path: Path) -> None:
    async def main() -> None:
        house = House(tmp_path)
        end = End(target_metric="auc", target_value=0.8, linger=0.1)
        chosen = settings(end=end, metrics=Metrics(public=("auc",)))
        coordinator = house.coordinator(chosen)
        assert coordinator.said_by(["one"]) == {}
        task = asyncio.create_task(coordinator.run())
        one, two = await house.join("one"), await house.join("two")
        await one.answer(metrics={"auc": 0.9})
        await asyncio.sleep(3)
        assert not task.done()
        await two.answer(metrics={"auc": 0.8})
        summary = await task
        assert "auc" in summary.reason
        metrics = json.loads(house.broker.retained[house.topics.metrics("coordinator")])
        assert metrics["mean_auc"] == pytest.approx(0.85)
        assert coordinator.said_by(["one", "two", "nobody"]) == {"auc": pytest.approx(0.85)}
        assert coordinator.said_by(["two"]) == {"auc": 0.8}
        for peer in house.tasks:
            peer.cancel()

    run(main)


def test_stop_says_goodbye_announces_nothing_and_what_waits_goes_on_waiting(tmp_path: Path) -> None:
    async def main() -> None:
        house = House(tmp_path)
        coordinator = house.coordinator(settings(aggregation={"k": 5}))
        task = asyncio.create_task(coordinator.run())
        one = await house.join("one")
        await one.answer()
        await one.until_told("received")
        raw = one.raw
        begin = asyncio.get_running_loop().time()
        coordinator.stop()
        summary = await task
        assert asyncio.get_running_loop().time() - begin < 3
        assert [word.type for word in one.receipts if word.type in ("applied", "rejected")] == []
        assert (house.status()["state"], one.raw == raw) == ("offline", True)
        assert (summary.applied, summary.rejected, summary.version) == (0, 0, 0)
        metrics = json.loads(house.broker.retained[house.topics.metrics("coordinator")])
        assert (metrics["updates_rejected"], metrics["buffer"]) == (0, 1)
        assert summary.reason == "it was stopped"
        for peer in house.tasks:
            peer.cancel()

    run(main)


def test_stop_before_the_broker_was_ever_reached_ends_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        house = House(tmp_path)
        house.broker.stop()
        coordinator = house.coordinator()
        task = asyncio.create_task(coordinator.run())
        await asyncio.sleep(5)
        coordinator.stop()
        assert (await task).version == -1

    run(main)


def test_folder_in_use_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as house:
            peer = await house.join("a")
            await peer.pull()
            with pytest.raises(StateError, match="in use"):
                await house.coordinator().run()

    run(main)


def test_wrong_preset_is_refused_before_anything_is_opened(tmp_path: Path) -> None:
    house = House(tmp_path)

    async def main() -> None:
        with pytest.raises(ConfigError, match="fedbuff"):
            house.coordinator(settings(preset="fedbuf"))

    run(main)
    assert not (tmp_path / "state").exists()


def test_revoked_agent_loses_what_is_not_applied_and_its_keys(tmp_path: Path) -> None:
    async def main() -> None:
        patient = settings(aggregation={"k": 3, "deadline": {"least": 100.0}})
        async with running(tmp_path, patient) as house:
            one, two = await house.join("one"), await house.join("two")
            await two.pull()
            await one.answer()
            await one.until_told("received")
            del house.roster["one"]
            assert (await one.until_told("rejected")).reason == "revoked"
            await asyncio.sleep(3)
            assert house.topics.keys("one") not in house.broker.retained
            told = len(one.receipts)
            await one.note(type="hello")
            await two.answer()
            await two.until_told("applied", seconds=200)
            assert len(one.receipts) == told
            assert [event["agents"] for event in house.named("version")] == [[], ["two"]]
            assert [event["agent"] for event in house.named("revoked")] == ["one"]

    run(main)


def test_roster_that_cannot_be_read_leaves_everything_as_it_was(tmp_path: Path) -> None:
    async def main() -> None:
        house = House(tmp_path)
        broken = False

        def roster() -> dict[str, Any]:
            if broken:
                raise ConfigError("roster/a.toml is not valid TOML")
            return dict(house.roster)

        coordinator = house.coordinator()
        coordinator._roster = roster  # pyright: ignore[reportPrivateUsage]
        task = asyncio.create_task(coordinator.run())
        peer = await house.join("a")
        await versions(peer, 1)
        broken = True
        await asyncio.sleep(5)
        await versions(peer, 1)
        assert len(house.named("roster")) == 1
        coordinator.stop()
        await task
        for task in house.tasks:
            task.cancel()

    run(main)


def test_silent_agent_has_left_after_a_while_and_joins_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as house:
            peer = await house.join("a")
            await peer.pull()
            await peer.note(type="hello")
            await asyncio.sleep(1000)
            assert [event["agent"] for event in house.named("left")] == ["a"]
            await peer.note(type="hello")
            await asyncio.sleep(1)
            assert len(house.named("joined")) == 2

    run(main)


def test_status_metrics_and_events_are_json_and_tell_the_story(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as house:
            peer = await house.join("a")
            await versions(peer, 2)
            await asyncio.sleep(3)
            status = house.status()
            assert (status["role"], status["federation"], status["version"]) == ("coordinator", "house", 2)
            assert len(status["digest"]) == 16
            metrics = json.loads(house.broker.retained[house.topics.metrics("coordinator")])
            assert metrics["updates_applied"] == metrics["updates_received"] == 2
            assert metrics["influence_a"] == 1.0
            assert all(isinstance(value, (int, float)) for value in metrics.values())
        lines = (tmp_path / "state" / "events.jsonl").read_text().splitlines()
        names = [json.loads(line)["event"] for line in lines]
        assert names[0] in ("started", "joined", "version")
        assert names.count("version") == 3
        assert names[-1] == "stopped"
        assert house.status()["state"] == "offline"

    run(main)


def test_settings_of_the_template_are_the_defaults() -> None:
    text = (Path(__file__).parents[2] / "broker_config" / "coordinator.toml.template").read_text()
    keys = re.compile(r"#([a-z_]+ = )")
    wanted = "\n".join(keys.sub(r"\1", line) for line in text.splitlines())
    wanted = wanted.replace("$preset", '"fedbuff"').replace("$url", '"mqtt://h"').replace("$roles", "")
    values = tomllib.loads(wanted)
    del values["broker"], values["hints"]
    assert parse(values, CoordinatorSettings, "template") == CoordinatorSettings()


def test_agent_revoked_while_its_update_is_checked_gets_its_reason(tmp_path: Path) -> None:
    async def main() -> None:
        house = House(tmp_path)
        async with running(tmp_path, settings(aggregation={"k": 1}), house):
            peer = await house.join("a")
            pulled = await peer.pull()
            await asyncio.sleep(0.5)
            del house.roster["a"]
            for n in range(300):
                told = [word.reason for word in peer.receipts if word.type == "rejected"]
                if told:
                    break
                await peer.offer(*peer.make(pulled, np.full(60, n, np.float32)))
                await asyncio.sleep(0.005)
            await asyncio.sleep(10)
            assert all(word.reason in ("", "revoked") for word in peer.receipts)
            assert len(list((tmp_path / "state" / "spool").iterdir())) == 0

    run(main)


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_first_version_that_holds_no_number_is_refused_before_anything_is_opened(
    tmp_path: Path, value: float
) -> None:
    async def main() -> None:
        broken = {"fine": np.zeros(3, np.float32), "layer-bias": np.array([0.0, value], np.float16)}
        with pytest.raises(ConfigError, match="layer-bias"):
            await House(tmp_path).coordinator(initial=broken).run()
        assert not (tmp_path / "state").exists()

    run(main)
