"""When a run is over: pure functions of what happened.

Not done here: nobody is told (see `antiphon.coordinator.service`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from antiphon.coordinator.settings import End


class Report(msgspec.Struct, frozen=True, array_like=True):
    """What an agent said with its latest accepted update: number of examples, and its metrics.

    Stored as it is with every version, of every agent.
    """

    examples: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Course:
    """How far the run is.

    Attributes:
        number: The newest published version; -1 before the first.
        since: Seconds since the first version was committed, the time between two processes included.
        reports: The latest of each agent.
    """

    number: int
    since: float
    reports: Mapping[str, Report] = field(default_factory=dict[str, Report])


def mean_metric(name: str, reports: Mapping[str, Report]) -> tuple[float, int]:
    """Return the mean of one metric over agents, weighted by examples, and how many agents reported it.

    An agent without examples counts as one with a single example.
    """
    told = [(r.metrics[name], max(1, r.examples)) for _, r in sorted(reports.items()) if name in r.metrics]
    if not told:
        return 0.0, 0
    total = sum(weight for _, weight in told)
    mean = sum(value * weight for value, weight in told) / total
    if not math.isfinite(mean):  # the products of what agents say may overflow, their mean cannot
        mean = sum(value * (weight / total) for value, weight in told)
    return mean, len(told)


def why_over(end: End, course: Course) -> str:
    """Return why the run is over, in words, or an empty string."""
    if course.number < 0:
        return ""
    if end.max_versions and course.number >= end.max_versions:
        return f"version {course.number} is the last of {end.max_versions}"
    if end.time_budget and course.since >= end.time_budget:
        return f"the time budget of {end.time_budget:g} s is used up"
    if end.target_metric:
        mean, agents = mean_metric(end.target_metric, course.reports)
        rising = end.target_direction == "at-least"
        reached = mean >= end.target_value if rising else mean <= end.target_value
        if agents >= end.target_agents and reached:
            target = f"{end.target_direction} {end.target_value:g}"
            return f"{end.target_metric} is {mean:.6g}, the target was {target}"
    return ""
