"""What waits to be merged, and who weighed how much."""

from pathlib import Path

from antiphon.codecs.messages import Offer, UpdateId
from antiphon.codecs.schema import infer
from antiphon.codecs.sealing import SymmetricKey
from antiphon.coordinator.aggregation.history import Arrival
from antiphon.coordinator.buffer import Accepted, Buffer, Influence
from antiphon.coordinator.checking import Checked
from antiphon.coordinator.ledger.records import Memory
from antiphon.coordinator.ledger.versions import decode, encode
from antiphon.coordinator.spool import Update


def accepted(agent: str, sequence: int) -> Accepted:
    offer = Offer(
        incarnation=b"i" * 16,
        sequence=sequence,
        base=b"b" * 32,
        base_number=0,
        schema=b"s" * 32,
        digest=b"d" * 32,
        encoding="float32",
        chunks=1,
        size=1,
        examples=1,
    )
    id = UpdateId(offer.incarnation, sequence)
    key, schema = SymmetricKey(bytes(32)), infer({})
    update = Update(agent, id, b"t" * 16, offer, schema, Path("x"), (), False, 1000, key)
    import numpy as np

    return Accepted(update, Checked((), np.zeros(0), 0.0), Arrival(agent, 0, 1, float(sequence)))


def test_second_update_of_an_agent_waits_for_the_next_buffer() -> None:
    buffer = Buffer()
    one, two, three = accepted("a", 1), accepted("a", 2), accepted("b", 1)
    for item in (one, two, three):
        buffer.add(item)
    assert buffer.batch() == [one, three]
    assert buffer.count("a") == 2
    buffer.remove([one, three])
    assert buffer.batch() == [two]
    assert buffer.of("a") == buffer.all() == [two]
    assert len(buffer) == 1


def test_influence_is_each_agents_share_of_all_weights() -> None:
    influence = Influence()
    assert influence.shares() == {}
    assert influence.median_staleness("a") is None
    influence.merged("a", 0, 1.0)
    influence.merged("a", 4, 0.5)
    influence.merged("b", 2, 0.5)
    assert influence.shares() == {"a": 0.75, "b": 0.25}
    assert influence.median_staleness("a") == 2.0
    assert influence.recent_staleness() == [0, 4, 2]


def test_weightless_updates_give_nobody_a_share() -> None:
    influence = Influence()
    influence.merged("a", 0, 0.0)
    assert influence.shares() == {"a": 0.0}


def test_influence_after_a_version_is_another_value_that_is_stored_and_read_back() -> None:
    before = Influence()
    before.merged("a", 1, 0.1)
    after = before.after(["b", "a"], [3, 0], [0.2, 0.7])
    assert before.shares() == {"a": 1.0}
    again = Influence.of(decode(encode(Memory(after.plain())), Memory).influence)
    assert again.plain() == after.plain() == {"a": (0.1 + 0.7, (1, 0)), "b": (0.2, (3,))}
    assert again.shares() == after.shares()
    for _ in range(40):
        again.merged("a", 5, 0.0)
    assert again.median_staleness("a") == 5.0
    assert len(again.recent_staleness()) == 33


def test_only_the_very_update_is_had() -> None:
    buffer, one = Buffer(), accepted("a", 1)
    buffer.add(one)
    assert buffer.has(one)
    assert not buffer.has(accepted("a", 1))
