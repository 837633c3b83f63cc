"""The coordinator as its agents see it, in virtual time."""

from pathlib import Path

import numpy as np
import pytest

from antiphon.simulation.clock import run
from tests.coordinator.house import running


def test_one_agent_alone_gets_new_versions(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as house:
            agent = await house.join("a")
            for number in range(3):
                await agent.until_version(number)
                await agent.answer(0.5)
            await agent.until_version(3)
            pulled = await agent.pull()
            assert pulled.vector == pytest.approx(np.full(60, 1.5))

    run(main)
