"""What the judges read of the services' databases, without the code that wrote them."""

import asyncio
from pathlib import Path

import msgspec
from child import in_child

from antiphon.agents import database as outbox
from antiphon.agents.entries import Head
from antiphon.agents.settings import AgentSettings
from antiphon.broker_config.topics import COORDINATOR
from antiphon.codecs import messages
from antiphon.codecs.messages import UpdateId
from antiphon.coordinator.ledger import tables
from antiphon.coordinator.settings import CoordinatorSettings
from antiphon.simulation.clock import run
from antiphon.simulation.disk import MemoryDisk
from antiphon.simulation.evidence import LEDGER, LedgerView, Settled, read_ledger, read_outbox
from antiphon.simulation.memory_broker import MemoryBroker
from antiphon.simulation.parties import AGENT, FEDERATION, Parties, Role
from antiphon.simulation.walker import Walker, first_params

FOLDER = Path("/f")
ELEMENTS = 40


def write(
    disk: MemoryDisk, path: Path, layout: tuple[str, ...], *rows: tuple[str, tuple[object, ...]]
) -> None:
    disk.make(path.parent)
    database = disk.database(path, sync=False)
    with database.transaction() as cursor:
        for statement in layout:
            cursor.execute(statement)
        for statement, values in rows:
            cursor.execute(statement, values)
    database.close()


def head(sequence: int) -> Head:
    return Head(
        run=bytes(16),
        incarnation=b"i" * 16,
        sequence=sequence,
        base=bytes(16),
        base_term=1,
        base_number=0,
        schema=b"the schema",
        digest=bytes(32),
        encoding="lossless",
        vector_bytes=4,
        exact_bytes=0,
        raw_bytes=4,
        examples=1,
    )


def test_folder_without_databases_holds_nothing() -> None:
    disk = MemoryDisk()
    assert read_ledger(disk, FOLDER) == LedgerView(b"", {}, (), {}, {})
    assert read_outbox(disk, FOLDER) == {}


def test_databases_in_which_nothing_was_committed_hold_nothing() -> None:
    disk = MemoryDisk()
    write(disk, FOLDER / LEDGER, tables.SCHEMA)
    write(disk, FOLDER / "state.db", ())
    assert read_ledger(disk, FOLDER) == LedgerView(b"", {}, (), {}, {})
    assert read_outbox(disk, FOLDER) == {}


def test_applied_waiting_and_rejected_updates_are_told_apart() -> None:
    disk, process = MemoryDisk(), b"i" * 16
    update = "INSERT INTO updates VALUES (?, 'a', ?, ?, 0.0, ?, ?)"
    outcome = "INSERT INTO outcomes VALUES ('a', ?, ?, ?, ?, ?, ?, ?, '')"
    write(
        disk,
        FOLDER / LEDGER,
        tables.SCHEMA,
        ("INSERT INTO bases VALUES (?, ?)", (0, b"0" * 16)),
        ("INSERT INTO bases VALUES (?, ?)", (1, b"1" * 16)),
        (update, (1, process, 1, 1, 0)),
        (update, (2, process, 2, None, None)),
        (outcome, (1, process, 1, "applied", b"", 1, "")),
        (outcome, (2, process, 3, "rejected", b"", None, "norm")),
    )
    ledger = read_ledger(disk, FOLDER)
    first, second, third = (("a", UpdateId(process, n)) for n in (1, 2, 3))
    assert ledger.versions == {0: b"0" * 16, 1: b"1" * 16}
    assert ledger.waiting == (second,)
    assert ledger.places == {first: (1,)}
    assert ledger.outcomes == {first: Settled("applied", 1, ""), third: Settled("rejected", -1, "norm")}


def test_outbox_says_how_far_each_update_is_and_leaves_the_schema_out() -> None:
    disk = MemoryDisk()
    insert = "INSERT INTO updates VALUES (?, ?, ?, '', NULL)"
    rows = [(n, state, messages.encode(head(n))) for n, state in ((1, "received"), (2, "pending"))]
    write(disk, FOLDER / "state.db", outbox.TABLES, *((insert, row) for row in rows))
    bare = [msgspec.structs.replace(head(n), schema=b"") for n in (1, 2)]
    assert read_outbox(disk, FOLDER) == {
        UpdateId(b"i" * 16, 1): ("received", bare[0]),
        UpdateId(b"i" * 16, 2): ("pending", bare[1]),
    }


def test_killed_coordinators_ledger_agrees_with_itself_and_its_agent_goes_on() -> None:
    def work() -> str:
        async def main() -> str:
            role = Role("a0", lambda: Walker(0, ELEMENTS), 5.0, AgentSettings())
            chosen = CoordinatorSettings(aggregation={"k": 1}, roles={"n": "max"})
            parties = Parties([role], chosen, first_params(ELEMENTS), MemoryBroker(), 1)
            for name in parties.hosts:
                parties.start(name)
            await asyncio.sleep(60)
            parties.crash(COORDINATOR)
            await asyncio.sleep(20)
            ledger = read_ledger(parties.coordinator.disk, FEDERATION)
            assert len(ledger.run) == 16
            assert list(ledger.versions) == list(range(len(ledger.versions)))
            applied = {name for name, outcome in ledger.outcomes.items() if outcome.type == "applied"}
            assert applied == set(ledger.places)
            assert not applied & set(ledger.waiting)
            assert len(applied) >= 5
            waiting = read_outbox(parties.agents[0].disk, AGENT)
            assert waiting
            assert not {("a0", id) for id, (state, _) in waiting.items() if state == "pending"} & applied
            return "agrees"

        return run(main)

    assert in_child(work) == "agrees"
