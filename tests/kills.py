"""Federations of real processes that are killed again and again, and what must hold afterwards.

Killed and started again, the broker is empty. By hand:

    python tests/kills.py --victim coordinator --kills 200 --agents 8
"""

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from arena import BROKER, LATE, Arena, Plan, listening
from mosquitto import choose

from antiphon.broker_config.disk import RealDisk
from antiphon.broker_config.topics import COORDINATOR
from antiphon.codecs.errors import StateError
from antiphon.coordinator.ledger.replay import replay
from antiphon.simulation.evidence import LedgerView, read_ledger, read_outbox
from antiphon.simulation.tap import Tap

AGENT = "agent"
VICTIMS = (COORDINATOR, AGENT, BROKER)

AT_WORK = 0.7
"""Share of the kills at a point in the work: after so many words of the coordinator. The others come at any
time, most of them while somebody still starts."""


@dataclass(slots=True)
class Tally:
    """What a storm did.

    Attributes:
        kills: Of each kind of victim.
        versions: That there were at the end.
        received: Updates that the tap heard called received.
        outcomes: In the ledger, in words.
        quarrels: Processes that gave up, see `arena.QUARREL`.
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
