"""An agent against a scripted coordinator, in virtual time."""

import asyncio
import json
from pathlib import Path

import numpy as np
from peer import Adder, Peer, Running, model

from antiphon.simulation import clock
from antiphon.simulation.memory_broker import MemoryBroker


def test_small_model_is_pulled_trained_and_answered(tmp_path: Path) -> None:
    async def story() -> None:
        broker = MemoryBroker()
        async with Peer(broker) as peer:
            await peer.publish(model(), 0)
            trainer = Adder(model())
            agent = peer.make_agent(trainer, tmp_path)
            async with Running(agent):
                await peer.until(lambda: agent.counters.applied == 1)
                offer, params = peer.updates[0]
                assert (offer.base_number, offer.examples, offer.sequence) == (0, 10, 1)
                assert offer.metrics == {"loss": 0.5}
                np.testing.assert_array_equal(params["w"], np.ones(3, np.float32))
                assert params["steps"] == 8
                assert params["steps"].dtype == np.int64
                await asyncio.sleep(30)
                assert trainer.trained == [0]
                assert list((tmp_path / "outbox").iterdir()) == []
                await peer.publish(model(value=1.0), 1)
                await peer.until(lambda: agent.counters.applied == 2)
            assert trainer.trained == [0, 1]
            said = json.loads(broker.retained["status/a1"])
            assert (said["state"], said["role"], said["version"]) == ("offline", "agent", 1)

    clock.run(story)
