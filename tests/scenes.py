"""Scenes between a scripted coordinator and one agent, and what is played in them; in virtual time."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from peer import Peer, Running
from trainers import Adder, Params, Scrambler

from antiphon.agents.entries import Entry
from antiphon.agents.service import Agent
from antiphon.simulation import clock
from antiphon.simulation.memory_broker import MemoryBroker

Scene = Callable[[Peer, Agent, Adder], Awaitable[None]]


def play(
    scene: Scene, folder: Path, params: Params, *, slot: int = -1, packet: int = 1 << 22, **settings: Any
) -> None:
    """Run a scene: a peer that has published version 0, and an agent that runs."""

    async def story() -> None:
        broker = MemoryBroker(maximum_packet=packet)
        async with Peer(broker, frame=16 << 10) as peer:
            await peer.publish(params, 0, slot=slot)
            trainer = Scrambler(dict(params)) if len(params["w"]) > 100 else Adder(dict(params))
            agent = peer.make_agent(trainer, folder, **settings)
            async with Running(agent):
                await scene(peer, agent, trainer)

    clock.run(story)


def said(peer: Peer) -> dict[str, Any]:
    """What lies on the agent's status topic."""
    return json.loads(peer.broker.retained["status/a1"])


def left(agent: Agent) -> tuple[Entry, ...]:
    """What lies in the agent's outbox."""
    return agent._outbox.entries  # pyright: ignore[reportPrivateUsage]
