"""Who takes part in a simulated federation, with what data, how fast, for how long: a TOML file as one value.

Reading is strict: an unknown key, a wrong type or numbers that contradict each other are a ConfigError that
names the file and the key. ``docs/simulate.md`` explains every key; nothing here runs anything.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from antiphon.agents.settings import AgentSettings, Encoding
from antiphon.broker_config.settings import load
from antiphon.broker_config.topics import check_id
from antiphon.codecs.errors import ConfigError
from antiphon.coordinator.aggregation.presets import PRESETS, build_rule
from antiphon.coordinator.settings import CoordinatorSettings, End, Limits
from antiphon.simulation.delays import Law, law_of
from antiphon.simulation.partition import Kind

Count = Annotated[int, msgspec.Meta(ge=0)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(ge=0.0)]
Above = Annotated[float, msgspec.Meta(gt=0.0)]
Score = Literal["accuracy", "auc", "log_loss"]

MOST_AGENTS = 10_000
"""More would need more memory than a machine for simulations usually has: some 0.25 MB an agent."""


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is learnt: ``[model]``.

    Attributes:
        dataset: "credit", "digits", or the path of an .npz file, seen from the population's file.
        trainer: "logistic", "mlp", or ``module:factory`` as `antiphon agent` takes it.
        arguments: What the trainer's factory gets besides ``data``.
    """

    dataset: str = "credit"
    trainer: str = "logistic"
    arguments: dict[str, Any] = {}

    @property
    def factory(self) -> str:
        """The trainer's reference in full."""
        return self.trainer if ":" in self.trainer else f"antiphon.agents.trainers:{self.trainer}"


class DataSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who has which rows: ``[data]``.

    Attributes:
        partition: See `antiphon.simulation.partition.deal`.
        alpha: Of the Dirichlet partition.
        labels: Labels of an agent in the partition by label.
        least: Rows that every agent has at least.
        held_out: Share of the rows that nobody has, on which every version is scored.
    """

    partition: Kind = "iid"
    alpha: Above = 0.5
    labels: Positive = 2
    least: Positive = 1
    held_out: Annotated[float, msgspec.Meta(gt=0.0, lt=1.0)] = 0.25


class RunSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long, and what is measured: ``[run]``. Whatever comes first ends the run.

    Attributes:
        seconds: Virtual seconds since the first version.
        versions: Number of the last version; 0: no such end.
        updates: Merged updates; the version that reaches them is the last; 0: no such end.
        every: Virtual seconds between two scores, at least; 0: every version is scored.
        score: What is measured on the held-out rows.
        targets: Scores, the time to each of which is told.
    """

    seconds: Above = 3600.0
    versions: Count = 0
    updates: Count = 0
    every: Seconds = 0.0
    score: Score = "accuracy"
    targets: tuple[float, ...] = ()


class SpeedClass(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Agents that are alike: one ``[[class]]``. Wherever a law may stand, a number means a constant.

    Attributes:
        name: Their ids are ``name-1``, ``name-2``, ...
        agents: How many.
        delay: Seconds that a training takes, drawn for each training.
        factor: What each agent's delays are multiplied with, drawn once an agent; None: 1.
        dropout: Chance, at the end of each training, that the agent is gone before it can answer.
        away: Seconds after which it is back, with its answer; None: it never comes back.
        joins: Seconds after the coordinator when it starts, drawn once an agent.
        leaves: Seconds after the coordinator when it ends for good; None: it stays.
        latency: Seconds a hop of its line, broker to agent or agent to broker.
        bandwidth: Bytes a second of its line in each direction; 0: no limit.
        encoding: How its updates travel.
        labels: Names of the labels whose rows belong to this class alone; none: it shares what no class has.
    """

    name: str
    agents: Positive
    delay: float | Law = 1.0
    factor: Law | None = None
    dropout: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.0
    away: float | Law | None = None
    joins: float | Law = 0.0
    leaves: Seconds | None = None
    latency: Seconds = 0.001
    bandwidth: Seconds = 0.0
    encoding: Encoding = AgentSettings().encoding
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what could not run.

        Raises:
            ConfigError: Names the class and the key.
        """
        for id in (self.ids[0], self.ids[-1]):
            check_id(id)
        for key in ("delay", "away", "joins"):
            value = getattr(self, key)
            if isinstance(value, float | int) and not 0 <= value < float("inf"):
                raise ConfigError(f"class {self.name!r}: {key} is {value}: use seconds, 0 or more, or a law")
        if self.away is not None and not self.dropout:
            raise ConfigError(f"class {self.name!r}: away without a dropout above 0 would never be used")

    @property
    def ids(self) -> tuple[str, ...]:
        """The agents' ids, in order."""
        return tuple(f"{self.name}-{number}" for number in range(1, self.agents + 1))

    @property
    def pace(self) -> Law:
        """The delay as a law."""
        return law_of(self.delay)


class Population(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A simulated federation.

    Attributes:
        seed: Decides every draw.
        preset: The algorithm that runs unless others are named.
        aggregation: What differs from it, as in ``coordinator.toml``.
        compare: Settings of other algorithms by name, for when they are named: as ``aggregation``, and the
            ``preset`` that they differ from, which is the name itself unless it is said.
        limits: The coordinator's, as in ``coordinator.toml``.
        end: Likewise, but for the bounds that are in `RunSettings`.
        hints: Likewise.
        model: See `ModelSettings`.
        data: See `DataSettings`.
        run: See `RunSettings`.
        classes: See `SpeedClass`; ``[[class]]`` in the file.
    """

    classes: tuple[SpeedClass, ...] = msgspec.field(name="class")
    seed: Count = 0
    preset: str = "fedbuff"
    aggregation: dict[str, Any] = {}
    compare: dict[str, dict[str, Any]] = {}
    limits: Limits = Limits()
    end: End = End()
    hints: dict[str, float] = {}
    model: ModelSettings = ModelSettings()
    data: DataSettings = DataSettings()
    run: RunSettings = RunSettings()

    def __post_init__(self) -> None:
        """Refuse what no single key is to blame for.

        Raises:
            ConfigError: Names the keys.
        """
        names = [each.name for each in self.classes]
        if not 1 <= sum(each.agents for each in self.classes) <= MOST_AGENTS:
            raise ConfigError(f"{len(self.ids)} agents: 1 to {MOST_AGENTS} can be simulated")
        for number, name in enumerate(names):
            if name in names[:number]:
                raise ConfigError(f"two classes are called {name!r}: rename one")
        for key, instead in (("max_versions", "run.versions"), ("time_budget", "run.seconds")):
            if getattr(self.end, key):
                raise ConfigError(f"end.{key}: in a population this bound is called {instead}")
        if self.preset in self.compare:
            raise ConfigError(f"compare.{self.preset} is the preset itself: set [aggregation]")
        for preset in (self.preset, *self.compare):
            self.settings(preset)

    @property
    def ids(self) -> tuple[str, ...]:
        """All agents' ids, in order."""
        return tuple(id for each in self.classes for id in each.ids)

    def settings(self, preset: str) -> CoordinatorSettings:
        """Return the coordinator's settings for an algorithm: the population's own, or one to compare.

        Raises:
            ConfigError: No such preset, or settings that do not go with it.
        """
        overrides = dict(self.aggregation if preset == self.preset else self.compare.get(preset, {}))
        base = overrides.pop("preset", preset)
        end = msgspec.structs.replace(self.end, max_versions=self.run.versions, time_budget=self.run.seconds)
        settings = CoordinatorSettings(
            preset=base, aggregation=overrides, limits=self.limits, end=end, hints=self.hints
        )
        settings.check()
        build_rule(base, overrides)
        return settings

    def check(self, presets: tuple[str, ...]) -> None:
        """Refuse names of algorithms that are none, and one that is named twice.

        Raises:
            ConfigError: Names it and the nearest known.
        """
        known = [*PRESETS, *(name for name in self.compare if name not in PRESETS)]
        for number, preset in enumerate(presets):
            if preset not in known:
                near = get_close_matches(preset, known, 1, 0.0)[0]
                raise ConfigError(f"--preset {preset}: there is none; the nearest known is {near!r}")
            if preset in presets[:number]:
                raise ConfigError(f"--preset {preset} is named twice")
            self.settings(preset)


def shipped() -> Mapping[str, str]:
    """Return the populations that come with Antiphon: the first line of each by its name."""
    found: dict[str, str] = {}
    for file in sorted(files("antiphon.simulation").joinpath("populations").iterdir(), key=lambda f: f.name):
        if file.name.endswith(".toml"):
            first = file.read_text(encoding="utf-8").partition("\n")[0]
            found[file.name.removesuffix(".toml")] = first.lstrip("# ")
    return found


def open_population(name: str) -> tuple[Population, Path]:
    """Read a population that comes with Antiphon, or a file.

    Args:
        name: Of a shipped one, or a path that ends in ``.toml``.

    Returns:
        The population, and the folder from which its paths are seen.

    Raises:
        StateError: There is no such file.
        ConfigError: No such name, or a file that is none.
    """
    if name.endswith(".toml"):
        return load(Path(name), Population), Path(name).parent
    known = shipped()
    if name not in known:
        near = get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}."
        raise ConfigError(f"no population {name!r} comes with Antiphon; {hint} A file's name ends in .toml")
    with as_file(files("antiphon.simulation").joinpath("populations", f"{name}.toml")) as path:
        return load(path, Population), Path()
