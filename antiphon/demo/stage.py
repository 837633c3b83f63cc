"""Sets the stage: a federation's folder, and one folder for each bank with its own rows and nothing else.

Everything is made by the code behind ``antiphon init``, ``agent init`` and ``admit``; what a person would
send by mail (invitation, request, admission) is copied from folder to folder.
"""

import json
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from safetensors.numpy import save_file  # pyright: ignore[reportUnknownVariableType]

from antiphon.broker_config.connection import BrokerAddress
from antiphon.broker_config.files import quote
from antiphon.broker_config.folders import load_passwords
from antiphon.broker_config.provisioning import admit, init_agent, init_federation
from antiphon.broker_config.topics import ADMIN, MONITOR, Topics
from antiphon.codecs.errors import ConfigError
from antiphon.demo.defaults import SECONDS
from antiphon.demo.problem import KILLED, LATE, SLOW, Problem

MARK = ".antiphon-demo"
"""A file in folders that the demo may replace, because it made them."""

K = 4
"""Updates in a version."""

SLOWNESS = 20.0

LINGER = 2.0
"""Seconds for which the coordinator answers after the last version."""

_BUSY = 6.5
"""Banks at work on average, besides the slow one: one is late, one is away for a while."""

_SHARE = 0.9
"""Share of a bank's cycle that is training; the rest is Python, sealing and the broker."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long a run is.

    Attributes:
        seconds: How long the run should take on a machine that is not busy.
        versions: Number of the last version.
    """

    seconds: float = SECONDS
    versions: int = 160

    def __post_init__(self) -> None:
        """Refuse what leaves no time for the story.

        Raises:
            ConfigError: Names the bound.
        """
        if not 5 <= self.seconds <= 600:
            raise ConfigError(f"--seconds {self.seconds:g}: use 5 to 600")
        if self.versions < 20:
            raise ConfigError(f"{self.versions} versions: use at least 20")

    @property
    def training(self) -> float:
        """Seconds that one training of an ordinary bank takes."""
        return _SHARE * self.seconds * _BUSY / (self.versions * K)

    @property
    def budget(self) -> float:
        """Seconds after which the run ends with however many versions there are."""
        return max(1.75 * self.seconds, self.seconds + 15)


@dataclass(frozen=True, slots=True)
class Stage:
    """Where everything is.

    Attributes:
        problem: What it is about.
        plan: How long it is.
        folder: Of the whole demo.
        port: Of the broker, on the loopback.
        address: The broker, as the demo's own table sees it.
        monitor: Password of the broker user ``monitor``, for whoever wants to look.
        topics: The federation's.
        embedded: Use the broker that pip installs, even where mosquitto is.
    """

    problem: Problem
    plan: Plan
    folder: Path
    port: int
    address: BrokerAddress
    monitor: str = field(repr=False)
    topics: Topics
    embedded: bool = False

    @property
    def federation(self) -> Path:
        """The coordinator's folder, with the broker's in it."""
        return self.folder / "federation"

    @property
    def state(self) -> Path:
        """The coordinator's state folder, with its ledger."""
        return self.federation / "state"

    @property
    def model(self) -> Path:
        """The newest version, once the coordinator has ended."""
        return self.state / "model.safetensors"

    @property
    def events(self) -> Path:
        """The coordinator's event log."""
        return self.state / "events.jsonl"

    def bank(self, id: str) -> Path:
        """The folder of one bank."""
        return self.folder / "banks" / id

    @property
    def look(self) -> str:
        """The command with which anybody on this machine can look at every topic."""
        return (
            f"mosquitto_sub -h 127.0.0.1 -p {self.port} -u {MONITOR} -P {shlex.quote(self.monitor)} -v -t '#'"
        )

    @property
    def parts(self) -> Mapping[str, str]:
        """A word on the banks that play a part, by id."""
        banks = self.problem.banks
        slow = f"{SLOWNESS:.0f} x slower"
        return {banks[SLOW].id: slow, banks[KILLED].id: "killed", banks[LATE].id: "joins late"}


def clear(folder: Path) -> Path:
    """Return ``folder``, empty and marked as the demo's.

    Raises:
        ConfigError: It holds something that no demo made.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file: use --output with another name")
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / MARK).exists():
            raise ConfigError(f"{folder} holds files that no demo made: use --output with another folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    (folder / MARK).write_text("made by `antiphon demo`, which may replace this folder\n")
    return folder


def prepare(problem: Problem, plan: Plan, folder: Path, port: int, *, embedded: bool = False) -> Stage:
    """Make the federation, its banks and their files in ``folder``, which is `clear`ed first.

    Raises:
        ConfigError: ``folder`` holds something else.
    """
    clear(folder)
    federation = folder / "federation"
    url = f"mqtt://127.0.0.1:{port}"
    invitation = init_federation(federation, problem.name, url)
    (federation / "coordinator.toml").write_text(coordinator_toml(problem, plan, url), encoding="utf-8")
    save_file(dict(problem.initial()), federation / "initial.safetensors")
    passwords = load_passwords(federation)
    stage = Stage(
        problem=problem,
        plan=plan,
        folder=folder,
        port=port,
        address=BrokerAddress(url, ADMIN, passwords.monitors[ADMIN]),
        monitor=passwords.monitors[MONITOR],
        topics=Topics(),
        embedded=embedded,
    )
    for place, bank in enumerate(problem.banks):
        own = stage.bank(bank.id)
        request = init_agent(own, bank.id, invitation, trainer=problem.trainer)
        shutil.copyfile(admit(federation, request), own / "admission.toml")
        problem.write(place, own)
    return stage


def coordinator_toml(problem: Problem, plan: Plan, url: str) -> str:
    """Return the coordinator's settings; ``docs/demo.md`` says why these."""
    return f"""\
# Written by `antiphon demo`.
preset = "fedbuff"
spread = 0.1

[broker]
url = {quote(url)}

[aggregation]
k = {K}
{problem.weighting}
examples = {{ kind = "bounded", reference = {problem.reference:.1f}, bound = 10.0 }}

[end]
max_versions = {plan.versions}
time_budget = {plan.budget:.1f}
linger = {LINGER}
"""


def agent_command(stage: Stage, place: int) -> list[str]:
    """Return the words after ``antiphon`` that start a bank's agent, relative to its folder."""
    problem = stage.problem
    seconds = stage.plan.training * (SLOWNESS if place == SLOW else 1.0)
    settings = {**problem.arguments, "seconds": f"{seconds:.4f}"}
    words = ["agent", ".", "--trainer", problem.trainer, "--data", problem.data]
    for name, value in settings.items():
        words += ["--set", f"{name}={value}"]
    return words


def save_summary(stage: Stage, summary: Mapping[str, object]) -> Path:
    """Write the run's numbers as ``summary.json``."""
    path = stage.folder / "summary.json"
    path.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return path
