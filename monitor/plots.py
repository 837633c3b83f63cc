"""Pictures of a run as PNG files. Needs matplotlib, the ``plots`` extra, which is imported when one is drawn.

No window is opened and no global state of matplotlib is touched: every picture is a figure of its own.
"""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from antiphon.codecs.errors import ConfigError

BLUE, ORANGE, GREY = "#2b6cb0", "#dd6b20", "#718096"
SERIES = (BLUE, ORANGE, "#2f855a", "#b83280", "#6b46c1", "#975a16")
"""Colours of runs that are compared; more runs begin again with the first."""
LEVELS = ("#2f855a", "#b83280", GREY)


def available() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def plot_score(
    path: Path,
    points: Sequence[tuple[float, int, float]],
    levels: Mapping[str, float],
    score: str,
    marks: Mapping[str, float] | None = None,
) -> None:
    """Draw the score of the federation's model over time, with its version numbers on a second axis.

    Args:
        path: The PNG file.
        points: (seconds, version, score), in order.
        levels: Horizontal lines to compare with, by name.
        score: The score's name.
        marks: Things that happened, and when (seconds).

    Raises:
        ConfigError: matplotlib is not installed.
    """
    figure, axes = _figure(8.0, 4.5)
    seconds = [point[0] for point in points]
    axes.plot(seconds, [point[2] for point in points], color=BLUE, linewidth=2, label="federation")
    for (name, value), colour in zip(levels.items(), LEVELS, strict=False):
        axes.axhline(value, color=colour, linestyle="--", linewidth=1.2, label=f"{name} ({value:.3f})")
    for name, when in (marks or {}).items():
        axes.axvline(when, color=GREY, linewidth=0.8, linestyle=":")
        axes.annotate(
            name,
            (when, 0.3),
            xycoords=("data", "axes fraction"),
            rotation=90,
            fontsize=8,
            color=GREY,
            ha="right",
            va="bottom",
        )
    axes.set_xlabel("seconds")
    axes.set_ylabel(f"{score} on held-out rows")
    axes.legend(loc="lower right", framealpha=0.9, fontsize=9)
    _version_axis(axes, points)
    _save(figure, path)


def plot_staleness(path: Path, bars: Sequence[tuple[str, int]], mean: float) -> None:
    """Draw how stale the merged updates were.

    Args:
        path: The PNG file.
        bars: (label in versions, number of updates).
        mean: Their mean staleness, versions.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    figure, axes = _figure(8.0, 4.0)
    drawn = axes.bar([label for label, _ in bars], [count for _, count in bars], color=BLUE)
    axes.bar_label(drawn, fontsize=8, color=GREY)
    axes.set_xlabel("staleness: versions published between an update's base and its merging")
    axes.set_ylabel("updates")
    axes.set_title(f"mean {mean:.1f} versions", fontsize=10, color=GREY)
    _save(figure, path)


def plot_influence(path: Path, rows: Sequence[tuple[str, float, float, float]]) -> None:
    """Draw each agent's share of rows, of merged updates and of influence side by side.

    Args:
        path: The PNG file.
        rows: (agent, share of rows, share of updates, share of weights), each 0 to 1.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    figure, axes = _figure(8.0, 4.5)
    width = 0.27
    series = (("its share of all rows", GREY), ("of the updates merged", ORANGE), ("of the influence", BLUE))
    for place, (name, colour) in enumerate(series):
        at = [number + (place - 1) * width for number in range(len(rows))]
        axes.bar(at, [100 * row[place + 1] for row in rows], width, color=colour, label=name)
    axes.set_xticks(range(len(rows)), [row[0] for row in rows], rotation=20, ha="right")
    axes.set_ylabel("percent")
    axes.legend(fontsize=9)
    _save(figure, path)


def plot_comparison(
    path: Path,
    curves: Mapping[str, Sequence[tuple[float, float]]],
    staleness: Mapping[str, Sequence[tuple[str, int]]],
    influence: Mapping[str, Mapping[str, float]],
    rows: Mapping[str, float],
    levels: Sequence[float],
    score: str,
) -> None:
    """Draw runs beside each other: their scores over time, how stale their updates were, whose they are.

    Args:
        path: The PNG file.
        curves: (seconds, score) in order, by the run's name.
        staleness: (label in versions, number of updates) by the run's name; the same labels for all.
        influence: By the run's name, each group's share, 0 to 1; the same groups for all.
        rows: Each group's share of all rows, 0 to 1.
        levels: Horizontal lines to compare with.
        score: The score's name.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    figure = _blank(9.0, 7.5)
    parts = figure.subplot_mosaic([["upper", "upper"], ["left", "right"]])
    upper, left, right = (_tidy(parts[name]) for name in ("upper", "left", "right"))
    colours = [SERIES[number % len(SERIES)] for number in range(len(curves))]
    for name, colour in zip(curves, colours, strict=True):
        seconds, values = [point[0] for point in curves[name]], [point[1] for point in curves[name]]
        upper.plot(seconds, values, color=colour, linewidth=1.8, label=name)
    for level in levels:
        upper.axhline(level, color=GREY, linestyle="--", linewidth=0.8)
    upper.set_xlabel("virtual seconds since the first version")
    upper.set_ylabel(f"{score} on held-out rows")
    upper.legend(fontsize=9)
    shares = {
        name: [(label, 100 * count / max(1, sum(n for _, n in bars))) for label, count in bars]
        for name, bars in staleness.items()
    }
    _bars_beside_each_other(left, list(shares.values()), colours)
    left.set_xlabel("staleness, versions")
    left.set_ylabel("percent of its updates")
    groups = [rows, *influence.values()]
    percents = [[(group, 100 * share) for group, share in each.items()] for each in groups]
    _bars_beside_each_other(right, percents, [GREY, *colours])
    right.set_ylabel("percent of the influence (grey: of the rows)")
    _save(figure, path)


def _bars_beside_each_other(
    axes: Any, series: Sequence[Sequence[tuple[str, float]]], colours: Sequence[str]
) -> None:
    width = 0.8 / max(1, len(series))
    for place, (colour, bars) in enumerate(zip(colours, series, strict=True)):
        at = [number + (place - (len(series) - 1) / 2) * width for number in range(len(bars))]
        axes.bar(at, [height for _, height in bars], width, color=colour)
    labels = [label for label, _ in next(iter(series), ())]
    axes.set_xticks(range(len(labels)), labels, fontsize=8)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    figure = _blank(width, height)
    return figure, _tidy(figure.add_subplot())


def _blank(width: float, height: float) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigError("plots need matplotlib: pip install 'antiphon[plots]'") from None
    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def _tidy(axes: Any) -> Any:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    return axes


def _version_axis(axes: Any, points: Sequence[tuple[float, int, float]]) -> None:
    """Name the version that was newest at about eight moments, above the picture."""
    upper = axes.secondary_xaxis("top")
    some = points[:: max(1, len(points) // 8)]
    upper.set_xticks([point[0] for point in some], [str(point[1]) for point in some], fontsize=8, color=GREY)
    upper.set_xlabel("version", fontsize=8, color=GREY)


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, format="png")
