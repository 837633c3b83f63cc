"""Federations in bad weather: ``python -m antiphon.simulation.torture --seeds 0-299 --jobs 2``.

One seed is one federation with its storm (`antiphon.simulation.ordeal`), judged by
`antiphon.simulation.invariants`; whatever does not hold is said with the one command that repeats it.
Seeds are played in batches, each in a process of its own that ends with ``os._exit``: what belonged to a
crashed party is never finalised, so it can never do anything.
"""

import argparse
import hashlib
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

from antiphon.simulation import clock
from antiphon.simulation.crypto import cheap_crypto
from antiphon.simulation.invariants import judge
from antiphon.simulation.ordeal import Ordeal
from antiphon.simulation.scenario import draw

BATCH = 25
"""Seeds a process: its memory grows, as nothing of a crashed party is ever released."""

PATIENCE = 60.0
"""Real seconds for a seed: a hundred times what it needs."""

SHOWN = 5
"""Violations of a seed that a run over many seeds tells."""

COMMAND = "python -m antiphon.simulation.torture"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a seed.

    Attributes:
        seed: It.
        scenario: It, in a line.
        violations: Sentences; none: everything held.
        digest: Of the last model, hex.
        trace: Digest of everything that happened, hex.
        versions, updates, crashes, messages: How much there was of each.
        storm, end: Virtual seconds at which the storm and the run were over.
        cpu: Real seconds of the CPU.
    """

    seed: int
    scenario: str
    violations: tuple[str, ...]
    digest: str = ""
    trace: str = ""
    versions: int = 0
    updates: int = 0
    crashes: int = 0
    messages: int = 0
    storm: float = 0.0
    end: float = 0.0
    cpu: float = 0.0


def play(seed: int) -> Verdict:
    """Play a seed and judge it."""
    began, scenario = time.process_time(), draw(seed)

    async def main() -> Verdict:
        ordeal = Ordeal(scenario)
        await ordeal.run()
        return _verdict(ordeal)

    try:
        with cheap_crypto(seed):
            verdict = clock.run(main, seed)
    except (clock.Deadlock, clock.Livelock) as error:
        verdict = Verdict(seed, str(scenario), (f"{type(error).__name__}: {error}",))
    return replace(verdict, cpu=round(time.process_time() - began, 3))


def _verdict(ordeal: Ordeal) -> Verdict:
    parties, tap, scenario = ordeal.parties, ordeal.tap, ordeal.scenario
    newest = tap.newest
    trace = hashlib.blake2b(json.dumps(parties.events).encode(), digest_size=8).hexdigest()
    return Verdict(
        scenario.seed,
        str(scenario),
        tuple(judge(ordeal)),
        digest=newest.digest.hex() if newest is not None else "",
        trace=trace,
        versions=newest.number if newest is not None else -1,
        updates=len(tap.updates),
        crashes=sum(host.crashes for host in parties.hosts.values()),
        messages=tap.messages,
        storm=round(ordeal.calm_at, 3),
        end=round(ordeal.over_at, 3),
    )


def batches(seeds: Sequence[int], jobs: int) -> Iterator[list[Verdict]]:
    """Play seeds in so many processes at a time."""
    parts = [seeds[at : at + BATCH] for at in range(0, len(seeds), BATCH)]
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(_in_process, parts)


def _in_process(seeds: Sequence[int]) -> list[Verdict]:
    command = [sys.executable, "-m", "antiphon.simulation.torture", "--child", ",".join(map(str, seeds))]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False, timeout=PATIENCE * len(seeds))
        said, why = done.stdout, f"its process ended with code {done.returncode}"
    except subprocess.TimeoutExpired as error:
        said, why = error.stdout or b"", f"it was not over after {PATIENCE:g} s a seed"
    found = [Verdict(**read(line)) for line in said.splitlines(keepends=True) if line.endswith(b"\n")]
    if missing := seeds[len(found) :]:
        found.append(Verdict(missing[0], "", (why,)))
    return found


def read(text: str | bytes) -> dict[str, Any]:
    """Return a verdict's fields from what a process printed."""
    plain: dict[str, Any] = json.loads(text)
    return {**plain, "violations": tuple(plain["violations"])}


def _child(seeds: list[int]) -> None:
    logging.disable(logging.CRITICAL)  # thousands of warnings that the weather explains
    for seed in seeds:
        print(json.dumps(asdict(play(seed))), flush=True)
    os._exit(0)


def seeds_of(text: str) -> list[int]:
    """Read ``0-299`` or ``1,5,7``.

    Raises:
        ArgumentTypeError: It is neither, or names no seed.
    """
    found: list[int] = []
    try:
        for part in text.split(","):
            first, dash, last = part.partition("-")
            found.extend(range(int(first), int(last if dash else first) + 1))
    except ValueError:
        found = []
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} names no seeds: say some such as 0-299 or 1,5,7")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Play what the command line says; returns 0 if everything held."""
    parser = argparse.ArgumentParser(prog=COMMAND, description="Federations in bad weather.")
    parser.add_argument("--seed", type=int, help="play one seed, in this process, and tell all about it")
    parser.add_argument("--seeds", type=seeds_of, default=seeds_of("0-299"), help="such as 0-299 or 1,5,7")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at a time")
    parser.add_argument("--child", type=seeds_of, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.child is not None:
        _child(chosen.child)
    if chosen.seed is not None:
        verdict = play(chosen.seed)
        print(json.dumps(asdict(verdict), indent=2), flush=True)
        os._exit(1 if verdict.violations else 0)
    return _all(chosen.seeds, chosen.jobs)


def _all(seeds: Sequence[int], jobs: int) -> int:
    began, found = time.monotonic(), list[Verdict]()
    for verdicts in batches(seeds, jobs):
        for verdict in verdicts:
            found.append(verdict)
            for violation in verdict.violations[:SHOWN]:
                print(f"seed {verdict.seed}: {violation}", flush=True)
            if verdict.violations:
                print(f"  repeat it: {COMMAND} --seed {verdict.seed}\n  {verdict.scenario}", flush=True)
        if sys.stderr.isatty():
            print(f"{len(found)} of {len(seeds)} federations", end="\r", file=sys.stderr, flush=True)
    broken = [verdict.seed for verdict in found if verdict.violations]
    print(
        f"{len(found)} federations, {sum(v.crashes for v in found)} crashes, "
        f"{sum(v.messages for v in found)} messages, {sum(v.updates for v in found)} updates, "
        f"{sum(v.versions for v in found)} versions in {time.monotonic() - began:.0f} s "
        f"({sum(v.cpu for v in found) / max(1, len(found)):.2f} s of CPU each): "
        + (f"{len(broken)} broken: {','.join(map(str, broken))}" if broken else "every invariant held")
    )
    return 1 if broken or len(found) < len(seeds) else 0


if __name__ == "__main__":
    sys.exit(main())
