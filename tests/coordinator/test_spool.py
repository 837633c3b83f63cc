"""A disk that does not take what agents send."""

from pathlib import Path

import numpy as np
import pytest

from antiphon.coordinator import spool
from antiphon.simulation.clock import run
from tests.coordinator.house import running, settings
from tests.coordinator.test_transfers import BIG, big, offered


def test_full_disk_asks_agents_for_patience_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = spool.append

    def full(path: Path, at: int, data: bytes) -> spool.Place:
        raise OSError(28, "No space left on device")

    async def main() -> None:
        async with running(tmp_path, settings(aggregation={"k": 1})) as house:
            peer = await house.join("a")
            pulled = await peer.pull()
            offer = peer.make(pulled, np.ones(60, np.float32))
            monkeypatch.setattr(spool, "append", full)
            await peer.offer(*offer)
            assert (await peer.until_told("wait")).after > 0
            assert house.named("disk")[0]["agent"] == "a"
            monkeypatch.setattr(spool, "append", right)
            await peer.offer(*offer)
            assert (await peer.until_told("applied")).version == 1

    run(main)


def test_full_disk_in_the_middle_of_an_upload_asks_for_patience(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = spool.append

    async def main() -> None:
        async with running(tmp_path, big(), initial=BIG) as house:
            peer = await house.join("a")
            _, sent = await offered(peer)
            await peer.until_told("granted")
            await peer.chunk(sent, 0)

            def full(path: Path, at: int, data: bytes) -> spool.Place:
                raise OSError(28, "No space left on device")

            monkeypatch.setattr(spool, "append", full)
            await peer.chunk(sent, 1)
            assert (await peer.until_told("wait")).transfer == sent.transfer
            monkeypatch.setattr(spool, "append", right)
            told = len(peer.receipts)
            await peer.say(sent.frame)
            word = await peer.until_told("granted", after=told)
            assert word.missing == [[0, sent.offer.chunks]]

    run(main)
