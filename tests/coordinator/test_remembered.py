"""What the coordinator remembers of agents, through a restart."""

import asyncio
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from antiphon.codecs.messages import NO_DIGEST
from antiphon.codecs.schema import infer
from antiphon.coordinator.aggregation.history import RuleState, init_step
from antiphon.coordinator.aggregation.presets import build_rule
from antiphon.coordinator.ledger.records import Received, Recovered, RecoveredVersion
from antiphon.coordinator.norms import EARLY
from antiphon.coordinator.remembered import Remembered
from antiphon.coordinator.settings import Limits
from antiphon.simulation.clock import EPOCH, run
from tests.coordinator.made import accepted, update, version

VECTOR = np.zeros(3, np.float32)
SCHEMA = infer({"w": VECTOR})


def received(folder: Path, admission: int, agent: str, length: float) -> Received:
    made = accepted(update(folder, SCHEMA, np.array([length, 0, 0], np.float32), agent=agent, examples=7))
    return Received(admission, made.update, made.checked, 0.0)


def committed(remembered: Remembered, admissions: int) -> RecoveredVersion:
    rule = build_rule("fedbuff", {})
    memory = remembered.plain(remembered.influence.after(["a"], [2], [0.5]))
    state = RuleState(admissions=admissions)
    return RecoveredVersion(
        version(SCHEMA, VECTOR), init_step(rule, 3, "float32"), rule, state, memory, 1, 0.0
    )


def test_version_brings_back_what_was_known_and_the_updates_after_it_are_told_again(tmp_path: Path) -> None:
    async def main() -> None:
        first = Remembered(Limits())
        waiting = tuple(received(tmp_path, n, f"a{n}", float(n)) for n in (1, 2, 3))
        for each in waiting[:2]:
            first.accepted(each.update.agent, each.update.offer, each.checked.sumsq)
        again = Remembered(Limits())
        reports = again.reports
        again.recover(
            Recovered(b"r" * 16, 0.0, version=committed(first, admissions=2), waiting=waiting), EPOCH
        )
        assert again.norms.plain() == [1.0, 2.0, 3.0]
        assert sorted(reports) == ["a1", "a2", "a3"]
        assert reports["a3"].examples == 7
        assert again.influence.shares() == {"a": 1.0}
        assert again.influence.median_staleness("a") == 2.0

    run(main)


def test_first_version_that_an_agent_brings_tells_no_scale(tmp_path: Path) -> None:
    async def main() -> None:
        remembered = Remembered(Limits())
        made = received(tmp_path, 1, "a", 1e6)
        offer = msgspec.structs.replace(made.update.offer, base=NO_DIGEST)
        for _ in range(EARLY):
            remembered.accepted("a", offer, made.checked.sumsq)
        assert remembered.norms.plain() == []

    run(main)


def test_time_counts_from_the_first_version_through_restarts_and_never_backwards() -> None:
    async def main() -> None:
        remembered = Remembered(Limits())
        assert remembered.since == 0.0
        remembered.begin()
        await asyncio.sleep(10.0)
        remembered.begin()
        assert remembered.since == 10.0
        found = Recovered(b"r" * 16, 0.0, first_at=EPOCH - 500.0)
        again = Remembered(Limits())
        again.recover(found, EPOCH)
        await asyncio.sleep(1.0)
        assert again.since == 501.0
        wrong = Remembered(Limits())
        wrong.recover(replace(found, first_at=EPOCH + 500.0), EPOCH)
        assert wrong.since == 0.0

    run(main)
