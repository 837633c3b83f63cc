"""How fast a large federation is simulated: the real services, in virtual time, on one core.

    python benchmarks/simulation.py --agents 1000 --updates 100000 --k 100 --runs 2

Every agent trains a float32 model for a time of its own, ever again; the coordinator merges K updates into
each version. Broker and disks are in memory and crypto is the cheap kind of `antiphon.simulation.crypto`;
everything else is what runs in production: frames, receipts, SQLite, zstd. Agents and coordinator report to
monitors every 60 s instead of every second, as anybody would set it for so many. Trainings take whole tenths
of a second, so that some updates share a commit, as they do on a real disk, where one takes milliseconds and
in virtual time none; ``--grid 0`` gives every update an instant of its own. Prints seconds, the time that an
update took agent, broker and coordinator together, and the final model's digest, which every run must repeat;
ends with 1 if one does not.
"""

import argparse
import logging
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from antiphon.agents.settings import AgentSettings
from antiphon.agents.trainer import TrainingContext, TrainingResult
from antiphon.coordinator.service import Coordinator
from antiphon.coordinator.settings import CoordinatorSettings, Metrics
from antiphon.simulation.crypto import cheap_crypto
from antiphon.simulation.federation import Member, simulate

REPORT = 60.0
"""Seconds between two messages to monitors."""

LONGEST = 1e7
"""Virtual seconds after which a run that makes no versions ends all the same."""

Params = Mapping[str, npt.NDArray[np.float32]]


class Walker:
    """A trainer that takes a step of its own length, whatever it gets."""

    def __init__(self, size: int, step: float) -> None:
        self._weights = np.zeros(size, np.float32)
        self._step = np.float32(step)

    def get_model_params(self) -> Params:
        return {"weights": self._weights}

    def update_model_params(self, params: Params) -> None:
        self._weights = params["weights"].copy()

    def train_model(self, context: TrainingContext) -> TrainingResult:
        self._weights += self._step
        return TrainingResult(examples=10, steps=1)


@dataclass(frozen=True, slots=True)
class Run:
    """What one run took: seconds of the clock, of the CPU, and of virtual time."""

    wall: float
    cpu: float
    virtual: float
    updates: int
    versions: int
    digest: str


def members(agents: int, parameters: int, grid: float) -> list[Member]:
    """Agents whose trainings take from one second on, eleven in the mean, some a minute and more."""
    rng = np.random.default_rng(0)
    found: list[Member] = []
    for number, seconds in enumerate(1 + rng.exponential(10, agents)):
        step = 0.01 + number / agents / 100

        def trainer(step: float = step) -> Walker:
            return Walker(parameters, step)

        settings = AgentSettings(report=REPORT)
        lasts = round(seconds / grid) * grid if grid else float(seconds)
        found.append(Member(f"agent-{number:04d}", trainer, seconds=lasts, settings=settings))
    return found


def measure(agents: int, updates: int, k: int, parameters: int, grid: float) -> Run:
    """Run a federation until so many updates are merged."""
    settings = CoordinatorSettings(
        preset="fedbuff",
        aggregation={"trigger": {"kind": "updates", "k": k}},
        metrics=Metrics(interval=REPORT),
    )
    times: list[float] = []
    merged = 0

    def watch(coordinator: Coordinator, event: dict[str, Any]) -> None:
        nonlocal merged
        times.append(event["timestamp"])
        if event["event"] == "version":
            merged += len(event["agents"])
            if merged >= updates:
                coordinator.stop()

    with tempfile.TemporaryDirectory() as folder, cheap_crypto():
        wall, cpu = time.perf_counter(), time.process_time()
        outcome = simulate(
            members(agents, parameters, grid),
            LONGEST,
            Path(folder),
            initial={"weights": np.zeros(parameters, np.float32)},
            settings=settings,
            watch=watch,
        )
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    summary = outcome.summary
    return Run(wall, cpu, times[-1] - times[0], summary.applied, summary.version, summary.digest.hex())


def at_least_one(text: str) -> int:
    """Read a number of things."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is too few: say 1 or more")
    return number


def main() -> None:
    """Print a line for each run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--agents", type=at_least_one, default=1000)
    parser.add_argument("--updates", type=at_least_one, default=100_000)
    parser.add_argument("--k", type=at_least_one, default=100, help="updates of a version")
    parser.add_argument("--parameters", type=at_least_one, default=1000, help="of the float32 model")
    parser.add_argument(
        "--grid", type=float, default=0.1, help="seconds of which trainings take whole numbers"
    )
    parser.add_argument("--runs", type=at_least_one, default=2)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    print(f"{options.agents} agents, {options.parameters} parameters, K = {options.k}")
    print(
        f"{'updates':>9}{'versions':>10}{'wall s':>9}{'CPU s':>9}{'ms/update':>11}{'virtual s':>11}  digest"
    )
    runs: list[Run] = []
    for _ in range(options.runs):
        run = measure(options.agents, options.updates, options.k, options.parameters, options.grid)
        runs.append(run)
        each = run.wall / run.updates * 1e3
        print(
            f"{run.updates:>9}{run.versions:>10}{run.wall:>9.1f}{run.cpu:>9.1f}{each:>11.3f}"
            f"{run.virtual:>11.0f}  {run.digest[:16]}",
            flush=True,
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    median = statistics.median(run.wall for run in runs)
    print(f"median {median:.1f} s, {peak} MiB at the peak")
    if len({run.digest for run in runs}) > 1:
        sys.exit("two runs gave different models")


if __name__ == "__main__":
    main()
