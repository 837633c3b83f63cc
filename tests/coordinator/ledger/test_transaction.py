"""One transaction's effects: what is written, what changes in memory, which files go."""

from antiphon.coordinator.ledger.index import Index
from antiphon.coordinator.ledger.records import Outcome, PutState, Settle
from antiphon.coordinator.ledger.transaction import Transaction
from tests.coordinator.ledger.stage import FOLDER, LARGE, Stage, update_id


def refused(sequence: int, agent: str = "a") -> Settle:
    return Settle(agent, update_id(sequence), Outcome("refused", b"", -1, "stale", ""))


def test_draft_changes_nothing_before_it_is_taken() -> None:
    stage = Stage(large=True, params=LARGE)
    stage.open()
    stage.begin()
    record = stage.checked(stage.offer("a"))
    stage.ledger.close()
    database, index = stage.disk.database(FOLDER / "ledger.db", sync=False), Index(2, 10)
    index.digests = bytearray(16)
    with database.transaction() as cursor:
        transaction = Transaction(cursor, index)
        rejected = Settle("a", record.update.id, Outcome("rejected", b"", -1, "norm", ""))
        transaction.write([record, rejected, rejected, *map(refused, (5, 3, 6)), PutState(over=True)])
    made = transaction.changes
    assert index.known(("a", record.update.id)) is None
    assert (made.received, made.rejected, made.applied) == (1, 4, 0)
    assert made.marks == {("a", b"i" * 16): 6}
    assert made.counts == {"a": 4}
    assert transaction.removed == [record.update.path.name]
    assert database.rows("SELECT sequence FROM outcomes ORDER BY n") == [(3,), (6,)]
    assert database.rows("SELECT mark FROM marks") == [(6,)]
    assert database.rows("SELECT over, received, rejected FROM run") == [(1, 1, 4)]
    index.take(made)
    assert index.below_mark(("a", update_id(4)))


def test_settled_long_ago_is_looked_up_and_stays_as_it_was() -> None:
    stage = Stage()
    stage.open()
    stage.begin()
    stage.ledger.commit([refused(4)])
    stage.ledger.close()
    stage.open()
    assert stage.ledger.outcome("a", update_id(4)) is not None
    stage.ledger.close()
    found = stage.new_ledger()
    found.open(*stage.arguments())
    again = Settle("a", update_id(4), Outcome("rejected", b"", -1, "norm", ""))
    found.commit([again, refused(2)])
    assert found.outcome("a", update_id(4)) == refused(4).outcome
    assert found.outcome("a", update_id(2)) == refused(2).outcome
    assert found.rejected == 2
