"""Updates into a version, however they were cut and encoded."""

import os
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antiphon.codecs.schema import infer
from antiphon.coordinator.aggregation.history import admitted, init_state, init_step
from antiphon.coordinator.aggregation.plan import Plan, plan
from antiphon.coordinator.aggregation.presets import build_rule
from antiphon.coordinator.buffer import Accepted
from antiphon.coordinator.merging import Merged, Spoiled, first_version, merge
from antiphon.coordinator.models import Model
from tests.coordinator.made import DISK, accepted, update, version

SCHEMA = infer({"w": np.zeros(7000, np.float32), "n": np.array(4), "bn.running_var": np.zeros(9, np.float32)})
RNG = np.random.default_rng(0)


def noise() -> np.ndarray[Any, Any]:
    return RNG.normal(size=SCHEMA.size).astype(np.float32)


def exact(value: int) -> bytes:
    return value.to_bytes(8, "little")


def planned(preset: str, batch: list[Accepted], number: int = 0) -> tuple[Any, Plan]:
    rule = build_rule(preset, {})
    state = init_state()
    for item in batch:
        state = admitted(rule, state, item.update.agent, 0.0)
    return rule, plan(rule, state, [item.arrival for item in batch], number, len(batch))


def base() -> Model:
    return version(SCHEMA, np.abs(noise()), exact(4))


@pytest.mark.parametrize("preset", ["fedbuff", "fedadam"])
def test_differently_cut_updates_give_the_same_bits(tmp_path: Path, preset: str) -> None:
    deltas, model = [noise() for _ in range(3)], base()
    found: list[bytes] = []
    for name, cuts in (("same", (9000, 9000, 9000)), ("mixed", (5000, 9000, 60_000))):
        (tmp_path / name).mkdir()
        batch = [
            accepted(update(tmp_path / name, SCHEMA, delta, exact(9), agent=f"a{n}", frame=cut))
            for n, (delta, cut) in enumerate(zip(deltas, cuts, strict=True))
        ]
        rule, scalars = planned(preset, batch)
        step = init_step(rule, SCHEMA.size, SCHEMA.dtype)
        merged = merge(rule, scalars, model, step, batch, None, DISK)
        assert isinstance(merged, Merged)
        assert merged.model.number == 1
        assert merged.model.exact == exact(4)
        assert (merged.model.vector[:9] >= 0).all()  # variances
        found.append(merged.model.digest)
    assert found[0] == found[1]


def test_mean_of_two_is_what_it_should_be(tmp_path: Path) -> None:
    one, two, model = noise(), noise(), base()
    batch = [
        accepted(update(tmp_path, SCHEMA, delta, exact(1), agent=agent, frame=6000))
        for agent, delta in (("a", one), ("b", two))
    ]
    rule, scalars = planned("fedbuff", batch)
    merged = merge(rule, scalars, model, init_step(rule, SCHEMA.size, "float32"), batch, None, DISK)
    assert isinstance(merged, Merged)
    assert merged.model.vector[9:] == pytest.approx((model.vector + (one + two) / 2)[9:], abs=1e-5)


def test_more_updates_than_a_process_may_have_files_open_are_merged(tmp_path: Path) -> None:
    one = accepted(update(tmp_path, SCHEMA, noise(), exact(1), frame=6000))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    batch, model = [replace(one, arrival=replace(one.arrival, agent=f"a{n}")) for n in range(200)], base()
    rule, scalars = planned("fedbuff", batch)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 50, hard))
    try:
        step = init_step(rule, SCHEMA.size, "float32")
        assert isinstance(merge(rule, scalars, model, step, batch, None, DISK), Merged)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_current_anchor_mixes_against_the_base(tmp_path: Path) -> None:
    delta, model, old = noise(), base(), np.zeros(SCHEMA.size, np.float32)
    batch = [accepted(update(tmp_path, SCHEMA, delta, exact(1)))]
    rule, scalars = planned("fedasync", batch)
    merged = merge(rule, scalars, model, init_step(rule, SCHEMA.size, "float32"), batch, [old], DISK)
    assert isinstance(merged, Merged)
    expected = 0.4 * model.vector + 0.6 * (old + delta)
    assert merged.model.vector[9:] == pytest.approx(expected[9:], abs=1e-5)


def test_update_that_would_overflow_the_model_is_named(tmp_path: Path) -> None:
    huge = np.full(SCHEMA.size, 3e38, np.float32)
    model = version(SCHEMA, huge.copy(), exact(4))
    batch = [
        accepted(update(tmp_path, SCHEMA, delta, exact(1), agent=agent))
        for agent, delta in (("a", noise()), ("b", huge))
    ]
    rule, scalars = planned("fedbuff", batch)
    spoiled = merge(rule, scalars, model, init_step(rule, SCHEMA.size, "float32"), batch, None, DISK)
    assert isinstance(spoiled, Spoiled)
    assert (spoiled.index, spoiled.reason) == (1, "norm")
    assert (model.vector == huge).all()


def test_spool_file_that_rots_between_check_and_merge_spoils_only_its_update(tmp_path: Path) -> None:
    batch = [accepted(update(tmp_path, SCHEMA, noise(), exact(1), agent=agent)) for agent in "ab"]
    data = bytearray(batch[1].update.path.read_bytes())
    data[5000] ^= 1
    batch[1].update.path.write_bytes(bytes(data))
    rule, scalars = planned("fedbuff", batch)
    spoiled = merge(rule, scalars, base(), init_step(rule, SCHEMA.size, "float32"), batch, None, DISK)
    assert isinstance(spoiled, Spoiled)
    assert (spoiled.index, spoiled.reason) == (1, "malformed")


def test_first_version_is_the_update_itself(tmp_path: Path) -> None:
    delta = noise()
    found = first_version(accepted(update(tmp_path, SCHEMA, delta, exact(5), frame=6000)), DISK)
    assert isinstance(found, Model)
    assert (found.vector == delta).all()
    assert (found.exact, found.number) == (exact(5), 0)
    rotten = accepted(update(tmp_path, SCHEMA, delta, exact(5), agent="b"))
    rotten.update.path.write_bytes(bytes(rotten.update.spooled))
    assert isinstance(first_version(rotten, DISK), Spoiled)
