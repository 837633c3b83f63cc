"""The scales for what was trained, against the books of a federation at work."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
from child import in_child

from antiphon.agents.settings import AgentSettings
from antiphon.broker_config.topics import COORDINATOR
from antiphon.coordinator.settings import CoordinatorSettings, Limits
from antiphon.simulation.clock import run
from antiphon.simulation.conservation import balance, comparable, sums
from antiphon.simulation.disk import MemoryDisk
from antiphon.simulation.evidence import read_outbox
from antiphon.simulation.memory_broker import MemoryBroker
from antiphon.simulation.parties import AGENT, FEDERATION, Parties, Role
from antiphon.simulation.walker import Walker, first_params

ELEMENTS = 3000


def weigh(look: Callable[[Parties], str]) -> str:
    """What a look at two agents says in the middle of their work; one of them sends int8."""

    def work() -> str:
        async def main() -> str:
            encodings = ("int8", "lossless")
            roles = [
                Role(f"a{n}", lambda n=n: Walker(n, ELEMENTS), 5.0, AgentSettings(encoding=encodings[n]))
                for n in range(2)
            ]
            chosen = CoordinatorSettings(
                aggregation={"k": 2}, roles={"n": "max"}, limits=Limits(offer=1024, frame=16 << 10)
            )
            parties = Parties(roles, chosen, first_params(ELEMENTS), MemoryBroker(), 1)
            for name in parties.hosts:
                parties.start(name)
            await asyncio.sleep(60)
            parties.crash(COORDINATOR)
            await asyncio.sleep(20)
            return look(parties)

        return run(main)

    return in_child(work)


def both(parties: Parties) -> str:
    disk = parties.coordinator.disk
    given = sums(disk, FEDERATION, ELEMENTS)
    assert comparable(disk, FEDERATION, given) == ["a0", "a1"]
    words = [
        balance(number, host.name, host.disk, AGENT, given, ELEMENTS)
        for number, host in enumerate(parties.agents)
    ]
    return " / ".join(word for word in words if word) or "balanced"


def change(parties: Parties, sql: str, *values: object) -> None:
    database = parties.agents[0].disk.database(AGENT / "state.db", sync=False)
    with database.transaction() as cursor:
        cursor.execute(sql, values)


def test_books_of_a_federation_at_work_balance() -> None:
    def look(parties: Parties) -> str:
        assert read_outbox(parties.agents[0].disk, AGENT)
        return both(parties)

    assert weigh(look) == "balanced"


def test_residual_that_is_a_little_wrong_shows() -> None:
    def look(parties: Parties) -> str:
        wrong = np.full(ELEMENTS, 1e-4, "<f4")
        change(parties, "UPDATE residual SET content = ?", wrong.tobytes())
        return both(parties)

    assert "is not where it should be" in weigh(look)


def test_update_that_is_missing_shows() -> None:
    def look(parties: Parties) -> str:
        change(parties, "DELETE FROM updates")
        return both(parties)

    found = weigh(look)
    assert "a0 trained" in found
    assert "a1" not in found


def test_update_whose_rejection_is_under_way_is_left_out() -> None:
    def look(parties: Parties) -> str:
        change(parties, "UPDATE updates SET content = NULL, file = ''")
        return both(parties)

    assert weigh(look) == "balanced"


def test_disk_without_books_weighs_nothing() -> None:
    assert sums(MemoryDisk(), Path("/f"), 1) == {}
