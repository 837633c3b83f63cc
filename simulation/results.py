"""What came of a simulated run: plain values, and the same as a JSON document (``docs/simulate.md``).

Everything here is decided by the population and its seed: no wall time, no paths.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any

from antiphon.monitor.record import histogram
from antiphon.simulation.population import Population, Score

FORMAT = 1
"""Of the JSON document; grows when a key changes its meaning or goes away."""


@dataclass(frozen=True, slots=True)
class Point:
    """One score on the way: so many virtual seconds after the first version, and so many merged updates."""

    seconds: float
    version: int
    updates: int
    score: float


@dataclass(frozen=True, slots=True)
class ClassResult:
    """What became of the agents of one speed class.

    Attributes:
        name: Its name.
        agents: How many they are.
        rows: Rows that they have together.
        trained, updates: Updates that they sent, and those of them that were merged.
        staleness: Mean of the merged ones, versions; 0 without any.
        influence: Their share of all weights, 0 to 1.
        score: Of the last version on their own rows; None if the trainer cannot tell.
        up, down: Bytes of the messages that they published, and that came to them.
    """

    name: str
    agents: int
    rows: int
    trained: int
    updates: int
    staleness: float
    influence: float
    score: float | None
    up: int
    down: int


@dataclass(frozen=True, slots=True)
class Result:
    """One algorithm's run.

    Attributes:
        preset: Its name.
        seed: Of the run.
        reason: Why it ended, in words.
        digest: Of the last version, 32 bytes.
        version: Its number.
        applied, rejected: Updates settled so.
        seconds: Virtual seconds from the first version to the last.
        points: Scores in order; the first is version 0's, the last is the last version's.
        staleness: Of every merged update, versions.
        refusals: Rejected updates by reason.
        classes: In the population's order.
    """

    preset: str
    seed: int
    reason: str
    digest: bytes
    version: int
    applied: int
    rejected: int
    seconds: float
    points: Sequence[Point]
    staleness: Sequence[int]
    refusals: Mapping[str, int]
    classes: Sequence[ClassResult]


def reaches(score: Score, value: float, target: float) -> bool:
    """Whether a score is at its target: a loss has to fall to it, everything else to rise."""
    return value <= target if score == "log_loss" else value >= target


def time_to(result: Result, score: Score, target: float) -> Point | None:
    """Return the first point at which the target was reached, None if it never was."""
    return next((point for point in result.points if reaches(score, point.score, target)), None)


def document(population: Population, name: str, held_out: int, results: Sequence[Result]) -> dict[str, Any]:
    """Return everything that is worth keeping of some runs of one population, ready for JSON.

    Args:
        population: That ran.
        name: Of the population, for people.
        held_out: Rows on which versions were scored.
        results: One for each preset.
    """
    return {
        "format": FORMAT,
        "population": name,
        "seed": population.seed,
        "agents": len(population.ids),
        "dataset": population.model.dataset,
        "held_out": held_out,
        "score": population.run.score,
        "runs": [_run(population, result) for result in results],
    }


def _run(population: Population, result: Result) -> dict[str, Any]:
    score = population.run.score
    return {
        "preset": result.preset,
        "digest": result.digest.hex(),
        "reason": result.reason,
        "seconds": result.seconds,
        "version": result.version,
        "applied": result.applied,
        "rejected": result.rejected,
        "refusals": dict(result.refusals),
        "final": result.points[-1].score if result.points else None,
        "targets": [_target(result, score, target) for target in population.run.targets],
        "points": {
            key: [getattr(point, key) for point in result.points]
            for key in ("seconds", "version", "updates", "score")
        },
        "staleness": {
            "mean": fmean(result.staleness) if result.staleness else None,
            "median": median(result.staleness) if result.staleness else None,
            "most": max(result.staleness, default=None),
            "histogram": dict(histogram(result.staleness)),
        },
        "classes": [asdict(each) for each in result.classes],
    }


def _target(result: Result, score: Score, target: float) -> dict[str, Any]:
    found = time_to(result, score, target)
    if found is None:
        return {"target": target, "seconds": None, "version": None, "updates": None}
    return {"target": target, "seconds": found.seconds, "version": found.version, "updates": found.updates}
