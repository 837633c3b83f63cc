"""Earlier versions for the anchor "current"."""

from pathlib import Path

import numpy as np

from antiphon.coordinator.bases import SMALL, Bases
from antiphon.coordinator.settings import Limits
from antiphon.simulation.clock import run
from tests.coordinator.house import running, settings
from tests.coordinator.test_broadcast import chunked_versions
from tests.coordinator.test_transfers import BIG


def test_nothing_is_kept_when_nothing_is_needed(tmp_path: Path) -> None:
    bases = Bases(tmp_path, 1 << 20, needed=False)
    bases.add(0, np.zeros(10, np.float32))
    assert bases.keeps(0)
    assert bases.get(0) is None


def test_small_versions_stay_in_memory(tmp_path: Path) -> None:
    bases = Bases(tmp_path / "bases", 1 << 20, needed=True)
    vector = np.ones(10, np.float32)
    bases.add(0, vector)
    assert bases.get(0) is vector
    assert not (tmp_path / "bases").exists()
    assert not bases.keeps(1)


def test_large_versions_are_files_within_the_budget_and_the_oldest_goes_first(tmp_path: Path) -> None:
    size = SMALL
    bases = Bases(tmp_path / "bases", 4 * size * 3, needed=True)
    for number in range(5):
        bases.add(number, np.full(size, number, np.float32))
    assert [bases.keeps(number) for number in range(5)] == [False, False, True, True, True]
    found = bases.get(3)
    assert found is not None
    assert found[0] == 3.0
    assert sorted(path.name for path in (tmp_path / "bases").iterdir()) == ["2.npy", "3.npy", "4.npy"]


def test_version_that_a_waiting_update_needs_is_not_dropped(tmp_path: Path) -> None:
    bases = Bases(tmp_path / "bases", 4 * SMALL * 2, needed=True)
    bases.add(0, np.zeros(SMALL, np.float32))
    bases.hold(0)
    bases.hold(0)
    for number in (1, 2, 3):
        bases.add(number, np.zeros(SMALL, np.float32))
    assert bases.keeps(0)
    bases.release(0)
    bases.add(4, np.zeros(SMALL, np.float32))
    assert bases.keeps(0)
    bases.release(0)
    bases.add(5, np.zeros(SMALL, np.float32))
    assert not bases.keeps(0)
    assert bases.keeps(5)


def test_fedasync_refuses_a_base_that_is_no_longer_kept(tmp_path: Path) -> None:
    async def main() -> None:
        chosen = settings(
            preset="fedasync",
            limits=Limits(frame=64 << 10, packet=64 << 10, base_bytes=2 << 20, intake_bytes=256 << 10),
        )
        async with running(tmp_path, chosen, initial=BIG) as house:
            fast, slow = await house.join("fast"), await house.join("slow")
            old = await slow.pull()
            await chunked_versions(fast, 3)
            offer, payloads = slow.make(old, np.zeros(old.schema.size, np.float32), inline=False)
            await slow.offer(offer, payloads)
            assert (await slow.until_told("refused")).reason == "base-gone"

    run(main)
