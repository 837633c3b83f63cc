"""Federations of real processes that are killed again and again, and what must hold afterwards.

Coordinator and agents are the commands that people type, the broker is a real mosquitto without persistence:
killed and started again, it is empty. By hand:

    python tests/kills.py --victim coordinator --kills 200 --agents 8
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from mosquitto import Mosquitto, choose
from safetensors.numpy import save_file  # pyright: ignore[reportUnknownVariableType]

from antiphon.broker_config.connection import BrokerAddress, Connected, Limits, Message
from antiphon.broker_config.disk import RealDisk
from antiphon.broker_config.folders import load_passwords, load_roster, open_federation
from antiphon.broker_config.mosquitto import local_configuration
from antiphon.broker_config.paho_connection import PahoConnection
from antiphon.broker_config.provisioning import admit, init_agent, init_federation
from antiphon.broker_config.topics import ADMIN, COORDINATOR, Topics
from antiphon.codecs.errors import ConfigError, StateError, TransportError
from antiphon.coordinator.keys import Identity, meet
from antiphon.coordinator.ledger.replay import replay
from antiphon.coordinator.settings import CoordinatorSettings
from antiphon.demo.processes import ChildFailed, Children
from antiphon.simulation.books import LedgerView, read_ledger, read_outbox
from antiphon.simulation.tap import Tap

BROKER, AGENT = "broker", "agent"
VICTIMS = (COORDINATOR, AGENT, BROKER)

PATIENCE = 120.0
"""Seconds within which what must happen has to, on a machine that does ten other things."""

QUARREL = "another client took over the broker session"
"""What a client ends with whose line broke five times in a row soon after it connected: a broker that dies
every two seconds looks like that. Service managers start it again."""

AT_WORK = 0.7
"""Share of the kills at a point in the work: after so many words of the coordinator. The others come at any
time, most of them while somebody still starts."""

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


@dataclass(slots=True)
class Tally:
    """What a storm did.

    Attributes:
        kills: Of each kind of victim.
        versions: That there were at the end.
        received: Updates that the tap heard called received.
        outcomes: In the ledger, in words.
        quarrels: Processes that gave up, see `QUARREL`.
        broken: What must hold and does not.
    """

    kills: Counter[str] = field(default_factory=Counter[str])
    versions: int = 0
    received: int = 0
    outcomes: Counter[str] = field(default_factory=Counter[str])
    quarrels: int = 0
    broken: list[str] = field(default_factory=list[str])

    def __str__(self) -> str:
        """For people."""
        return (
            f"killed {dict(self.kills)}; {self.versions} versions; {self.received} updates heard received; "
            f"in the ledger {dict(self.outcomes)}; {self.quarrels} ends for a quarrel that was none"
        )


async def storm(arena: Arena, victims: Sequence[str], rng: np.random.Generator, tally: Tally) -> None:
    """Start everybody, and kill one after the other at random points; before each sixth wait for a version.

    Args:
        arena: The federation, of which nothing but the broker runs.
        victims: Of `VICTIMS`, in order.
        rng: Decides when, and which agent.
        tally: Counts the kills.
    """
    for name in (COORDINATOR, *arena.agents):
        arena.start(name)
    await arena.until(lambda: arena.newest >= 1, "the first version")
    for n, victim in enumerate(victims):
        if n % 6 == 5:
            newest = arena.newest
            await arena.until(lambda newest=newest: arena.newest > newest, f"a version after {newest}")
        if rng.random() < AT_WORK:
            words = arena.tap.messages + int(rng.integers(1, 40))
            await arena.until(lambda words=words: arena.tap.messages >= words, "work")
        else:
            await asyncio.sleep(rng.uniform(0.0, 1.2))
        arena.tend()
        name = arena.agents[rng.integers(len(arena.agents))] if victim == AGENT else victim
        await arena.kill(name, rng.uniform(0.0, 0.3))
        tally.kills[victim] += 1


async def calm(arena: Arena) -> None:
    """Let an agent join that was never there, everybody find back, and the run come to its end.

    Raises:
        AssertionError: One of these took too long.
    """
    arena.start(LATE)
    everybody, before = (*arena.agents, LATE), set(arena.tap.updates)

    def back() -> bool:
        final = {name.agent for name, story in arena.tap.updates.items() if story.final} & set(everybody)
        fresh = {name.agent for name in arena.tap.updates if name not in before}
        return len(final) == len(everybody) and fresh >= set(everybody)

    await arena.until(back, "an update of everybody, also of the agent that came late")
    await end(arena, everybody)


async def end(arena: Arena, agents: Sequence[str], versions: int = 5) -> None:
    """Kill the coordinator once more, and let the run end after a few versions: everybody must leave."""
    arena.set_end(arena.newest + versions)
    await arena.kill(COORDINATOR, 0.0)
    everybody = (COORDINATOR, *agents)
    await arena.until(
        lambda: not any(map(arena.children.runs, everybody)), "the end of the run", may_end=everybody
    )
    arena.children.check(may_end=everybody)


def judge(arena: Arena, tally: Tally) -> None:
    """Look at what is on the disks, and at what was said."""
    ledger = read_ledger(RealDisk(), arena.federation)
    tally.versions, tally.quarrels = len(ledger.versions), arena.quarrels
    tally.received = sum(story.received is not None for story in arena.tap.updates.values())
    kinds = (" ".join(filter(None, (each.type, each.reason))) for each in ledger.outcomes.values())
    tally.outcomes.update(kinds)
    tally.broken += arena.tap.contradictions
    tally.broken += _promises(arena.tap, ledger)
    tally.broken += _versions(arena, ledger)
    for id in (LATE, *arena.agents):
        if kept := read_outbox(RealDisk(), arena.folder / id):
            states = {each.sequence: state for each, (state, _) in kept.items()}
            tally.broken.append(f"{id} still has updates: {states}")


def _promises(tap: Tap, ledger: LedgerView) -> list[str]:
    """Received means applied or rejected, once; and what was said is what is written."""
    broken = [f"{agent} {id}: received, and waits for ever" for agent, id in ledger.waiting]
    for name, story in tap.updates.items():
        kept, said = ledger.outcomes.get((name.agent, name.id)), story.final
        if story.received is not None and (kept is None or kept.type not in ("applied", "rejected")):
            broken.append(f"{name} was received, the ledger says {kept}")
        if said is not None and said.type != "settled":
            words = (said.type, said.version, said.reason)
            if kept is None or words != (kept.type, kept.version, kept.reason):
                broken.append(f"{name} was {words}, the ledger says {kept}")
    for (agent, id), versions in ledger.places.items():
        kept = ledger.outcomes.get((agent, id))
        if len(versions) != 1 or kept is None or (kept.type, kept.version) != ("applied", versions[0]):
            broken.append(f"{agent} {id} is in versions {versions}, its outcome is {kept}")
    return broken


def _versions(arena: Arena, ledger: LedgerView) -> list[str]:
    """One run, no number left out, the announced digests, and the model that a replay gives."""
    newest = arena.tap.newest
    if newest is None:
        return ["nothing was announced"]
    broken: list[str] = []
    if sorted(ledger.versions) != list(range(newest.number + 1)):
        broken.append(f"version {newest.number} was announced, the ledger has {sorted(ledger.versions)}")
    for (run, number), digest in arena.tap.versions.items():
        if run != ledger.run or ledger.versions.get(number) != digest[:16]:
            broken.append(f"version {number} was announced with a digest that is not the ledger's")
    try:
        again = replay(arena.federation / "state", RealDisk())
    except StateError as error:
        return [*broken, f"the ledger cannot be replayed: {error}"]
    if (again.first, again.last, again.digest) != (0, newest.number, newest.digest):
        broken.append(f"replay went from {again.first} to {again.last}, or gave another model")
    return broken


async def run(arena: Arena, victims: Sequence[str], seed: int) -> Tally:
    """Storm, calm, judgement."""
    tally = Tally()
    async with listening(arena):
        await storm(arena, victims, np.random.default_rng(seed), tally)
        await calm(arena)
    judge(arena, tally)
    return tally


def choose_victims(kills: Mapping[str, int], seed: int) -> list[str]:
    """Return so many of each, in an order of chance."""
    names = [victim for victim, count in kills.items() for _ in range(count)]
    return [names[n] for n in np.random.default_rng([seed, 1]).permutation(len(names))]


def main() -> None:
    """Run one storm as the command line says."""
    parser = argparse.ArgumentParser(description="Kill parties of a real federation, again and again.")
    parser.add_argument("--victim", choices=[*VICTIMS, "all"], default="all")
    parser.add_argument("--kills", type=int, default=20, help="of each kind of victim")
    parser.add_argument("--agents", type=int, default=3)
    parser.add_argument("--size", type=int, default=Plan().size, help="of the model, in parameters")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a new folder for everything, kept afterwards")
    wanted = parser.parse_args()
    victims = VICTIMS if wanted.victim == "all" else (wanted.victim,)
    plan = replace(Plan(), agents=wanted.agents, size=wanted.size)
    with tempfile.TemporaryDirectory() as temporary:
        folder = wanted.keep or Path(temporary) / "arena"
        folder.mkdir()
        with Arena(folder, choose(), plan) as arena:
            order = choose_victims({victim: wanted.kills for victim in victims}, wanted.seed)
            tally = asyncio.run(run(arena, order, wanted.seed))
    print(tally, *tally.broken, sep="\n")
    sys.exit(bool(tally.broken))


if __name__ == "__main__":
    main()
