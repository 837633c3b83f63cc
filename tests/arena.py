"""A federation of real processes: the commands that people type, over a real mosquitto without persistence.

They are started, killed and tended here, and what they say is heard; what must hold is in `kills`.
"""

import asyncio
import shutil
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from mosquitto import Mosquitto
from safetensors.numpy import save_file  # pyright: ignore[reportUnknownVariableType]

from antiphon.broker_config.connection import BrokerAddress, Connected, Limits, Message
from antiphon.broker_config.folders import load_passwords, load_roster, open_federation
from antiphon.broker_config.mosquitto import local_configuration
from antiphon.broker_config.paho_connection import PahoConnection
from antiphon.broker_config.provisioning import admit, init_agent, init_federation
from antiphon.broker_config.topics import ADMIN, COORDINATOR, Topics
from antiphon.codecs.errors import ConfigError, TransportError
from antiphon.coordinator.keys import Identity, meet
from antiphon.coordinator.settings import CoordinatorSettings
from antiphon.demo.processes import ChildFailed, Children
from antiphon.simulation.tap import Tap

BROKER = "broker"

PATIENCE = 120.0
"""Seconds within which what must happen has to, on a machine that does ten other things."""

QUARREL = "another client took over the broker session"
"""What a client ends with whose line broke five times in a row soon after it connected: a broker that dies
every two seconds looks like that. Service managers start it again."""

LATE = "late"
"""The agent that is admitted, and starts after the last kill."""

TRAINER = """
import time
import numpy as np
from antiphon import TrainingResult

class Walk:
    def __init__(self, size, seconds=0.0, seed=0):
        self.vector, self.seconds = np.zeros(int(size), np.float32), float(seconds)
        self.rng = np.random.default_rng(int(seed))

    def get_model_params(self):
        return {"vector": self.vector}

    def update_model_params(self, params):
        self.vector = params["vector"]

    def train_model(self, context):
        time.sleep(self.seconds)
        step = self.rng.standard_normal(len(self.vector), dtype=np.float32)
        self.vector = self.vector + 0.01 * (1 - self.vector) + 0.001 * step
        return TrainingResult(examples=1, metrics={"distance": float(np.abs(1 - self.vector).mean())})
"""
"""What agents train: a walk to a vector of ones, of any size, that does not compress."""

SETTINGS = """\
preset = "fedbuff"
spread = 0.2
[broker]
url = "{url}"
[aggregation]
k = 2
[limits]
frame = 16384
packet = 16384
outcomes = 1000000
[ledger]
keep_versions = 1000000
[end]
max_versions = {versions}
linger = 3.0
"""
"""Small frames, so that small models travel in chunks too; and nothing is forgotten before it is judged."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a federation is made of.

    Attributes:
        agents: How many, besides the late one.
        size: Parameters of the model, 4 bytes each.
        seconds: That a training takes.
        interval: Seconds between the beginnings of an agent's trainings.
        settings: ``coordinator.toml``, with places for ``url`` and ``versions``.
    """

    agents: int = 3
    size: int = 20_000
    seconds: float = 0.0
    interval: float = 0.2
    settings: str = SETTINGS


class Arena:
    """A federation's folders, its broker and its processes; they end with the block."""

    def __init__(self, folder: Path, kind: type[Mosquitto], plan: Plan) -> None:
        """Make the folders; nothing runs."""
        self.folder, self.plan = folder, plan
        self.federation = folder / "federation"
        self.agents = [f"bank-{n}" for n in range(plan.agents)]
        self.broker = kind(folder / "mosquitto")
        invitation = init_federation(self.federation, "credit", self.broker.url)
        self.set_end(0)
        save_file({"vector": np.zeros(plan.size, np.float32)}, self.federation / "initial.safetensors")
        for id in (*self.agents, LATE):
            self._make_agent(id, invitation)
        self._configure_broker()
        self.children = Children(folder / "logs")
        self.tap = self._make_tap()
        self.quarrels = 0

    def __enter__(self) -> Self:
        """Start the broker."""
        self.children.__enter__()
        self.broker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything."""
        self.children.__exit__(kind, error, trace)
        self.broker.close()

    @property
    def newest(self) -> int:
        """Number of the newest version that was announced; -1 for none."""
        return self.tap.newest.number if self.tap.newest is not None else -1

    def set_end(self, versions: int) -> None:
        """Write ``coordinator.toml``, with the number of the last version; 0 for no end."""
        text = self.plan.settings.format(url=self.broker.url, versions=versions)
        (self.federation / "coordinator.toml").write_text(text, encoding="utf-8")

    def start(self, name: str) -> None:
        """Start a party that is not the broker."""
        if name == COORDINATOR:
            self.children.start(name, "coordinator", ".", folder=self.federation)
        else:
            given = ("--set", f"size={self.plan.size}", "--set", f"seconds={self.plan.seconds}")
            words = ("agent", ".", "--trainer", "walk:Walk", *given)
            self.children.start(name, *words, folder=self.folder / name)

    async def kill(self, name: str, away: float) -> None:
        """Kill a party with ``kill -9``, and start it again after so many seconds."""
        if name == BROKER:
            self.broker.kill()
            await asyncio.sleep(away)
            await asyncio.to_thread(self.broker.start)
        else:
            self.children.kill(name)
            await asyncio.sleep(away)
            self.start(name)

    def tend(self, may_end: Iterable[str] = ()) -> None:
        """Do what a service manager does: start again who gave up because the broker was killed too often.

        Raises:
            ChildFailed: Somebody ended for another reason.
        """
        while True:
            try:
                self.children.check(may_end)
                return
            except ChildFailed as error:
                if QUARREL not in str(error):
                    raise
                self.quarrels += 1
                self.start(error.name)

    async def until(
        self,
        condition: Callable[[], bool],
        what: str,
        seconds: float = PATIENCE,
        may_end: Iterable[str] = (),
    ) -> None:
        """Wait, in the time of real processes, and `tend` them.

        Raises:
            ChildFailed: Somebody ended who should not have.
            AssertionError: It took too long.
        """
        end = time.monotonic() + seconds
        while not condition():
            self.tend(may_end)
            assert time.monotonic() < end, f"{what} did not happen within {seconds:.0f} s"
            await asyncio.sleep(0.02)

    def _make_agent(self, id: str, invitation: Path) -> None:
        own = self.folder / id
        request = init_agent(own, id, invitation)
        shutil.copyfile(admit(self.federation, request), own / "admission.toml")
        settings = own / "agent.toml"
        text = settings.read_text(encoding="utf-8")
        settings.write_text(f"interval = {self.plan.interval}\n{text}", encoding="utf-8")
        (own / "walk.py").write_text(TRAINER, encoding="utf-8")

    def _configure_broker(self) -> None:
        ours, theirs = self.federation / "broker", self.broker.folder
        text = (ours / "mosquitto.conf").read_text(encoding="utf-8")
        text = local_configuration(text, self.broker.inner_ports[0], "0.0.0.0", True)
        (theirs / "mosquitto.conf").write_text(text, encoding="utf-8")
        for name in ("passwd", "acl"):
            (theirs / name).write_bytes((ours / name).read_bytes())

    def _make_tap(self) -> Tap:
        place, _ = open_federation(self.federation, CoordinatorSettings)
        identity = Identity(place.name, place.key, place.signing, place.prefix)
        roster = load_roster(self.federation)
        return Tap(identity, {id: meet(identity, id, entry.public, False) for id, entry in roster.items()})


@asynccontextmanager
async def listening(arena: Arena, updates: Callable[[Message], None] | None = None) -> AsyncGenerator[None]:
    """Let the arena's tap hear announcements and receipts, as far as the broker lives.

    Args:
        arena: The federation.
        updates: Called with each message of an agent.
    """
    topics = Topics()
    filters = [topics.broadcast, topics.all_receipts] + ([topics.all_updates] if updates else [])

    def hear(message: Message) -> None:
        if updates is not None and message.topic.startswith(topics.updates("")):
            updates(message)
        else:
            arena.tap.hear(COORDINATOR, message)  # nobody else may write there

    task = asyncio.create_task(_listen(arena, filters, hear), name="listen")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _listen(arena: Arena, filters: Sequence[str], hear: Callable[[Message], None]) -> None:
    password = load_passwords(arena.federation).monitors[ADMIN]
    address = BrokerAddress(arena.broker.url, ADMIN, password)
    limits = Limits(first_delay=0.05, longest_delay=0.2)
    while True:
        with suppress(ConfigError):  # the broker dies so often that this looks like a quarrel over the name
            async with PahoConnection(address, ADMIN, None, limits=limits) as connection:
                async for event in connection.events():
                    if isinstance(event, Connected):
                        with suppress(TransportError):
                            await connection.subscribe(*filters)
                    elif isinstance(event, Message):
                        hear(event)
