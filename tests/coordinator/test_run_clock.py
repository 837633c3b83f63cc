"""The run's own clock."""

import asyncio

import numpy as np

from antiphon.codecs.schema import infer
from antiphon.coordinator.aggregation.history import RuleState, init_step
from antiphon.coordinator.aggregation.presets import build_rule
from antiphon.coordinator.ledger.records import Admission, Memory, Recovered, RecoveredVersion
from antiphon.coordinator.run_clock import RunClock, latest
from antiphon.simulation.clock import EPOCH, run
from tests.coordinator.made import version


def test_clock_follows_the_loop_whatever_happens_to_the_wall_clock() -> None:
    async def main() -> None:
        wall = EPOCH
        clock = RunClock(lambda: wall)
        assert clock() == EPOCH
        await asyncio.sleep(5.0)
        wall -= 1e6
        assert clock() == EPOCH + 5.0

    run(main)


def test_clock_goes_on_from_the_last_moment_that_the_run_remembers() -> None:
    async def main() -> None:
        assert RunClock(lambda: EPOCH, EPOCH + 100.0)() == EPOCH + 100.0
        assert RunClock(lambda: EPOCH, EPOCH - 100.0)() == EPOCH

    run(main)


def test_last_moment_is_that_of_an_admission_or_of_a_version() -> None:
    assert latest(Recovered(b"r" * 16, 0.0)) == float("-inf")
    rule, vector = build_rule("fedbuff", {}), np.zeros(3, np.float32)
    model = version(infer({"w": vector}), vector)
    state = RuleState(admitted_at=7.0, flushed_at=9.0)
    made = RecoveredVersion(model, init_step(rule, 3, "float32"), rule, state, Memory(), 1, 99.0)
    assert latest(Recovered(b"r" * 16, 0.0, version=made)) == 9.0
    found = Recovered(b"r" * 16, 0.0, version=made, admissions=(Admission("a", 12.0), Admission("b", 11.0)))
    assert latest(found) == 12.0
