"""Slow lines, a hung trainer and the dead, while twenty fast agents make versions of a model of 20 MB."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar, TypeVarTuple

import numpy as np

from antiphon.agents.service import Agent
from antiphon.agents.settings import AgentIdentity, AgentSettings
from antiphon.agents.trainer import Array, TrainingContext, TrainingResult
from antiphon.broker_config.folders import RosterEntry
from antiphon.codecs.schema import infer
from antiphon.codecs.sealing import SecretKey
from antiphon.coordinator.settings import LedgerSettings
from antiphon.coordinator.slots import HOLD_MOST, PIN_IDLE
from antiphon.simulation.clock import run, virtual_environment
from antiphon.simulation.crypto import cheap_crypto
from antiphon.simulation.disk import MemoryDisk
from antiphon.simulation.pipe import Line
from tests.coordinator.house import settings
from tests.coordinator.peer import Peer, Pulled
from tests.coordinator.stage import FOLDER, Stage, staged

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")

VALUES = 5_000_000
MEGABIT = 125_000.0
"""Bytes a second of a slow line: a pull needs 160 s."""
K, FAST = 10, 20
ROUND = 80.0
"""Seconds in which each fast agent answers once: a version every 40 s, four while a slow one pulls."""
SCHEMA = infer({"w": np.zeros(VALUES, np.float32)})


@dataclass
class Pulls:
    """A trainer that remembers which versions it got, and when."""

    hangs: bool = False
    values: Array = field(default_factory=lambda: np.zeros(VALUES, np.float32))
    pulled: list[tuple[int, float]] = field(default_factory=list[tuple[int, float]])

    def get_model_params(self) -> Mapping[str, Array]:
        return {"w": self.values}

    def update_model_params(self, params: Mapping[str, Array]) -> None:
        self.values = params["w"].copy()

    def train_model(self, context: TrainingContext) -> TrainingResult:
        self.pulled.append((context.version, asyncio.get_running_loop().time()))
        self.values += np.float32(0.001)
        return TrainingResult(examples=1)


def employ(house: Stage, id: str, trainer: Pulls) -> None:
    """Let a real agent take part."""
    secret, own = SecretKey.generate(), house.identity
    house.roster[id] = RosterEntry(id, secret.public)
    known = AgentIdentity(id, own.federation, secret, own.secret.public, own.signing.public)
    environment = replace(virtual_environment(party=id), disk=MemoryDisk())

    async def work(function: Callable[[*Arguments], Result], /, *arguments: *Arguments) -> Result:
        result = await environment.run(function, *arguments)
        if trainer.hangs and trainer.pulled:
            await asyncio.Event().wait()
        return result

    world = replace(environment, run=work)
    agent = Agent(AgentSettings(), known, trainer, FOLDER / id, house.broker.connect, world)
    house.tasks.append(asyncio.create_task(agent.run(), name=id))


async def answer_for_ever(peer: Peer, first: float) -> None:
    """Send a constant Δ against the newest version every round, without pulling it."""
    delta = np.full(VALUES, 0.001, np.float32)
    await asyncio.sleep(first)
    while True:
        await peer.until(lambda: peer.raw and peer.announcement.number >= 0)
        offer, payloads = peer.make(Pulled(peer.announcement, SCHEMA, delta, b""), delta, inline=False)
        before = len(peer.receipts)
        sent = await peer.offer(offer, payloads)
        await peer.until_told("granted", after=before)
        for index in range(offer.chunks):
            await peer.chunk(sent, index)
        await asyncio.sleep(ROUND)


async def dies_with_a_pin(peer: Peer) -> None:
    """Say that it pulls the newest version, and never be heard of again."""
    said = await peer.until_version(0)
    await peer.note(type="pulling", transfer=said.transfer)
    await peer.connection.__aexit__(None, None, None)


def test_slow_lines_finish_their_pulls_and_the_hung_and_the_dead_delay_nobody() -> None:
    async def main() -> tuple[list[float], list[Pulls]]:
        noise = np.random.default_rng(0).normal(size=VALUES).astype(np.float32)
        chosen = settings(
            aggregation={"k": K, "deadline": {"least": 600.0}}, ledger=LedgerSettings(keep_versions=1)
        )
        house = Stage(chosen, initial={"w": noise})
        slow, hung = [Pulls(), Pulls()], Pulls(hangs=True)
        async with staged(house):
            await house.until(lambda: house.named("version"))
            employ(house, "hung", hung)
            for n, trainer in enumerate(slow):
                house.broker.lines[f"slow-{n}"] = Line(latency=0.05, bandwidth=MEGABIT)
                employ(house, f"slow-{n}", trainer)
            for n in range(FAST):
                peer = await house.join(f"fast-{n:02}")
                first = 5.0 + n * ROUND / FAST
                house.tasks.append(asyncio.create_task(answer_for_ever(peer, first), name=f"answers-{n}"))
            for number in range(3):
                await dies_with_a_pin(await house.join(f"dead-{number}"))
                await house.until(lambda number=number: len(house.named("version")) > number + 1)
            await house.until(lambda: min(len(trainer.pulled) for trainer in slow) > 1, 900.0)
            return [event["timestamp"] for event in house.named("version")], [*slow, hung]

    with cheap_crypto():
        times, (one, other, hung) = run(main)
    # 20 MB in 160 s, and what the line needs to begin: nobody had to start again.
    for trainer in (one, other):
        assert trainer.pulled[0][0] == 0
        assert trainer.pulled[0][1] < 1.1 * 8 * 4 * VALUES / 1e6
        assert trainer.pulled[1][1] - trainer.pulled[0][1] < 1.2 * 8 * 4 * VALUES / 1e6
    assert len(hung.pulled) == 1
    gaps = np.diff(times[1:])
    assert len(gaps) >= 6
    assert gaps.max() <= ROUND * K / FAST + PIN_IDLE + HOLD_MOST
    assert np.median(gaps) <= ROUND * K / FAST + HOLD_MOST
