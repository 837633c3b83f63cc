"""Simulated runs: what is measured, what decides it, and what does not."""

import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from populations import blobs, small

from antiphon.simulation.delays import Law
from antiphon.simulation.learning import prepare
from antiphon.simulation.population import ModelSettings, Population, RunSettings, SpeedClass
from antiphon.simulation.results import Point, Result
from antiphon.simulation.study import Progress, study


def perform(
    folder: Path, population: Population, preset: str = "fedbuff", progress: Progress | None = None
) -> Result:
    folder.mkdir(exist_ok=True)
    return study(population, preset, prepare(population, blobs(), folder), folder, progress)


def test_agents_learn_and_everything_is_counted(tmp_path: Path) -> None:
    told: list[tuple[str, Point]] = []
    result = perform(tmp_path, small(), progress=lambda preset, point: told.append((preset, point)))
    assert [point for _, point in told] == list(result.points)
    assert (result.points[0].version, result.points[0].seconds, result.points[0].updates) == (0, 0.0, 0)
    assert result.points[-1].version == result.version > 15
    assert result.points[-1].score > 0.8 > result.points[0].score
    assert "time budget of 30 s" in result.reason
    assert 30.0 <= result.seconds < 33.0
    assert sum(each.updates for each in result.classes) == result.applied == len(result.staleness)
    assert result.points[-1].updates == result.applied
    assert sum(each.rows for each in result.classes) == 90
    assert sum(each.influence for each in result.classes) == pytest.approx(1.0)
    assert result.rejected == sum(result.refusals.values())


def test_slow_agents_answer_less_often_staler_and_weigh_less(tmp_path: Path) -> None:
    fast, slow = perform(tmp_path, small()).classes
    assert fast.updates / 3 > 2.5 * slow.updates / 2 > 0
    assert slow.staleness > 2 * fast.staleness
    assert slow.influence < 0.2
    assert min(fast.up, fast.down, slow.up, slow.down) > 1000
    assert fast.up > slow.up


def test_label_that_only_slow_agents_have_is_learnt_worse(tmp_path: Path) -> None:
    fast, slow = small().classes
    apart = small(
        classes=(fast, msgspec.structs.replace(slow, labels=("2",), delay=15.0)),
        run=RunSettings(seconds=20.0),
    )
    result = perform(tmp_path, apart)
    scores = {each.name: each.score for each in result.classes}
    assert scores["fast"] is not None
    assert scores["slow"] is not None
    assert scores["fast"] - scores["slow"] > 0.3


def test_same_seed_same_numbers_in_another_folder_and_another_seed_others(tmp_path: Path) -> None:
    one = perform(tmp_path / "one", small())
    assert perform(tmp_path / "the-other", small()) == one
    other = perform(tmp_path / "three", small(seed=4))
    assert other.digest != one.digest
    assert other.points != one.points


def test_real_disk_sees_nothing_of_the_services(tmp_path: Path) -> None:
    learning = prepare(small(), blobs(), tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    study(small(), "fedbuff", learning, tmp_path / "services")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_real_crypto_gives_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cheap = perform(tmp_path / "cheap", small())
    monkeypatch.setattr("antiphon.simulation.study.cheap_crypto", lambda _seed: nullcontext())  # pyright: ignore
    assert perform(tmp_path / "real", small()) == cheap


def test_two_algorithms_meet_the_same_agents(tmp_path: Path) -> None:
    """The first answers of all come at the same virtual moments, whoever merges them."""
    asynchronous = perform(tmp_path / "one", small(compare={"fedasync": {"alpha": 0.4}}), "fedasync")
    buffered = perform(tmp_path / "two", small(aggregation={"k": 1}))
    assert asynchronous.points[1].seconds == buffered.points[1].seconds
    assert asynchronous.digest != buffered.digest


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (RunSettings(seconds=1000.0, versions=5), "version 5 is the last of 5"),
        (RunSettings(seconds=1000.0, updates=9), r"(9|10) updates are merged, 9 were asked for"),
    ],
)
def test_run_ends_at_its_bound(tmp_path: Path, run: RunSettings, said: str) -> None:
    result = perform(tmp_path, small(run=run))
    assert re.fullmatch(said, result.reason)
    assert result.version <= 7
    assert result.seconds < 20.0


def test_score_now_and_then_is_the_first_the_last_and_few_between(tmp_path: Path) -> None:
    result = perform(tmp_path, small(run=RunSettings(seconds=30.0, every=10.0)))
    assert 3 <= len(result.points) <= 5
    assert result.points[-1].version == result.version
    gaps = np.diff([point.seconds for point in result.points[:-1]])
    assert (gaps >= 10.0).all()
    every = perform(tmp_path, small())
    assert every.digest == result.digest, "looking changes nothing"


def test_dropouts_are_gone_for_ever_or_come_back_with_a_stale_answer(tmp_path: Path) -> None:
    fast = small().classes[0]

    def run(**more: Any) -> Result:
        shaky = SpeedClass(name="shaky", agents=2, delay=2.0, **more)
        return perform(tmp_path, small(classes=(fast, shaky), run=RunSettings(seconds=60.0)))

    steady, gone, back = run(), run(dropout=0.5), run(dropout=0.5, away=Law(law="constant", scale=10.0))
    assert gone.classes[1].updates < 8 < back.classes[1].updates < steady.classes[1].updates
    assert gone.classes[0].updates > 60, "the others do not care"
    assert back.classes[1].staleness > 2 * steady.classes[1].staleness


def test_classes_join_late_leave_and_have_lines_and_encodings_of_their_own(tmp_path: Path) -> None:
    fast = small().classes[0]
    visitors = SpeedClass(
        name="visitor",
        agents=2,
        delay=1.0,
        factor=Law(law="uniform", low=1.0, high=1.5),
        joins=Law(law="uniform", low=5.0, high=8.0),
        leaves=15.0,
        latency=0.2,
        bandwidth=20_000.0,
        encoding="int8",
    )
    result = perform(tmp_path, small(classes=(fast, visitors)))
    assert 6 <= result.classes[1].updates <= 20
    stayed = msgspec.structs.replace(
        visitors, joins=0.0, leaves=None, factor=None, latency=0.0, bandwidth=0.0
    )
    longer = perform(tmp_path, small(classes=(fast, stayed)))
    assert longer.classes[1].updates > 1.5 * result.classes[1].updates


def test_trainer_of_ones_own_is_judged_by_its_own_evaluation(tmp_path: Path) -> None:
    model = ModelSettings(dataset="rows.npz", trainer="populations:Nearest")
    result = perform(tmp_path, small(model=model))
    assert result.points[-1].score > 0.8
    assert [each.score for each in result.classes] == [None, None]
