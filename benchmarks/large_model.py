"""One agent, one large model, both ways: seconds and peak memory of the coordinator and of the agent.

    python benchmarks/large_model.py --parameters 75000000 --versions 2

Real processes over a real broker on this machine. Prints the peak resident memory of the coordinator as a
multiple of the model's size.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from antiphon.agents.trainer import TrainingContext, TrainingResult

ANTIPHON = [sys.executable, "-m", "antiphon"]
PARAMETERS = "ANTIPHON_BENCHMARK_PARAMETERS"


class Large:
    """A model of float32 noise whose training adds a little noise."""

    def __init__(self, parameters: int) -> None:
        rng = np.random.default_rng(0)
        self._params = {
            f"layer.{i:02d}": rng.standard_normal(parameters // 10, dtype=np.float32) for i in range(10)
        }

    def get_model_params(self) -> Mapping[str, np.ndarray]:
        return self._params

    def update_model_params(self, params: Mapping[str, np.ndarray]) -> None:
        self._params = dict(params)

    def train_model(self, context: TrainingContext) -> TrainingResult:
        for values in self._params.values():
            values += context.rng.standard_normal(values.shape, dtype=np.float32) * np.float32(0.01)
        return TrainingResult(examples=1, steps=1)


def large() -> Large:
    """Return the benchmark's trainer; the size comes from the environment."""
    return Large(int(os.environ[PARAMETERS]))


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parameters", type=int, default=75_000_000)
    parser.add_argument("--versions", type=int, default=2, help="versions to make after version 0")
    parser.add_argument("--preset", default="fedasync", help="fedasync keeps bases too, so it takes most")
    parser.add_argument("--encoding", default="float32")
    parser.add_argument("--port", type=int, default=18830)
    parser.add_argument("--minutes", type=float, default=10.0, help="give up after so long")
    options = parser.parse_args()
    os.environ[PARAMETERS] = str(options.parameters)
    with tempfile.TemporaryDirectory() as name:
        run(Path(name), options)


def run(folder: Path, options: argparse.Namespace) -> None:
    """Provision a federation in ``folder``, run it, print what it took."""
    federation, agent = folder / "federation", folder / "agent"
    trainer = ["--trainer", "large_model:large"]
    broker_url = f"mqtt://127.0.0.1:{options.port}"
    quiet(
        "init",
        str(federation),
        "--name",
        "large",
        "--broker",
        broker_url,
        "--preset",
        options.preset,
        *trainer,
    )
    quiet("agent", "init", "big", "--invitation", str(federation / "federation.toml"), "--folder", str(agent))
    quiet("admit", str(federation), str(agent / "big.request.toml"))
    (agent / "admission.toml").write_bytes((federation / "admissions" / "big.toml").read_bytes())
    prepend(federation / "coordinator.toml", "", f"\n[end]\nmax_versions = {options.versions}\n")
    prepend(agent / "agent.toml", f'encoding = "{options.encoding}"\n', "")
    started = time.monotonic()
    broker = start("broker", str(federation), "--port", str(options.port))
    coordinator = start("coordinator", str(federation))
    worker = start("agent", str(agent), *trainer)
    peaks = {"coordinator": 0, "agent": 0}
    watching = threading.Event()
    watcher = threading.Thread(
        target=watch, args=({"coordinator": coordinator, "agent": worker}, peaks, watching), daemon=True
    )
    watcher.start()
    try:
        coordinator.wait(timeout=60 * options.minutes)
        seconds = time.monotonic() - started
        worker.wait(timeout=60)
    finally:
        watching.set()
        for process in (worker, coordinator, broker):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(timeout=30)
    report(options, seconds, peaks, coordinator.returncode)


def report(options: argparse.Namespace, seconds: float, peaks: dict[str, int], code: int) -> None:
    """Print the figures."""
    model = options.parameters * 4
    print(
        json.dumps(
            {
                "model_megabytes": model / 1e6,
                "versions": options.versions,
                "seconds_a_round_trip": round(seconds / options.versions, 1),
                "coordinator_peak_megabytes": round(peaks["coordinator"] / 1e6),
                "coordinator_peak_models": round(peaks["coordinator"] / model, 2),
                "agent_peak_models": round(peaks["agent"] / model, 2),
                "coordinator_exit_code": code,
            },
            indent=2,
        )
    )


def watch(
    processes: dict[str, subprocess.Popen[bytes]], peaks: dict[str, int], stop: threading.Event
) -> None:
    """Keep the highest resident memory (bytes) of each process, as the kernel counts it."""
    while not stop.wait(0.2):
        for name, process in processes.items():
            try:
                text = Path(f"/proc/{process.pid}/status").read_text()
            except OSError:
                continue
            for line in text.splitlines():
                if line.startswith("VmHWM:"):
                    peaks[name] = max(peaks[name], int(line.split()[1]) * 1024)


def prepend(path: Path, first: str, last: str) -> None:
    """Put settings before and after what a file holds, replacing keys of the same name."""
    keys = {line.split("=")[0].strip() for line in (first + last).splitlines() if "=" in line}
    sections = {line for line in last.splitlines() if line.startswith("[")}
    kept = [
        line
        for line in path.read_text().splitlines()
        if line.split("=")[0].strip() not in keys and line.strip() not in sections
    ]
    path.write_text(first + "\n".join(kept) + last)


def quiet(*arguments: str) -> None:
    """Run one command to its end; show its words only when it fails."""
    done = subprocess.run([*ANTIPHON, *arguments], capture_output=True, text=True, cwd=Path(__file__).parent)
    if done.returncode:
        sys.exit(f"antiphon {' '.join(arguments)}: {done.stdout}{done.stderr}")


def start(*arguments: str) -> subprocess.Popen[bytes]:
    """Start a service that can import this file."""
    return subprocess.Popen([*ANTIPHON, *arguments], cwd=Path(__file__).parent)


if __name__ == "__main__":
    main()
