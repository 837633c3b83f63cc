"""What agents are told of updates that are not under way."""

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pytest

from antiphon.codecs.errors import Rejected
from antiphon.codecs.messages import Offer, Receipt, UpdateId
from antiphon.codecs.schema import infer
from antiphon.codecs.sealing import SecretKey, SigningKey
from antiphon.coordinator.answers import ALL_SENT, Answers, outcome_receipt
from antiphon.coordinator.keys import Identity, Peer, meet
from antiphon.coordinator.ledger.records import Outcome, Settle
from antiphon.coordinator.spool import Update
from antiphon.coordinator.uploads import begin
from tests.coordinator.made import KEY, LIMIT

SCHEMA = infer({"w": np.zeros(60, np.float32)})
IDENTITY = Identity("f", SecretKey.generate(), SigningKey.generate())
PEER = meet(IDENTITY, "a", SecretKey.generate().public, False)
ID = UpdateId(b"i" * 16, 3)


@dataclass
class Desk:
    """Stands where ledger, commits, receipts and events stand."""

    outcomes: dict[UpdateId, Outcome] = field(default_factory=dict[UpdateId, Outcome])
    put_off: list[tuple[Settle, Callable[[], None], Callable[[OSError], None]]] = field(
        default_factory=list[tuple[Settle, Callable[[], None], Callable[[OSError], None]]]
    )
    said: list[Receipt] = field(default_factory=list[Receipt])
    events: list[tuple[str, ...]] = field(default_factory=list[tuple[str, ...]])

    def outcome(self, agent: str, update: UpdateId) -> Outcome | None:
        return self.outcomes.get(update)

    def put(self, *what: Any) -> None:
        if isinstance(what[0], Peer):
            self.said.append(what[1])
        else:
            self.put_off.append(cast("Any", what))

    def add_rarely(self, *what: str) -> None:
        self.events.append(what)

    def answers(self) -> Answers:
        all = cast("Any", self)
        return Answers(all, all, all, all)


def offer(sequence: int = 3) -> Offer:
    return Offer(
        incarnation=b"i" * 16,
        sequence=sequence,
        base=b"b" * 32,
        base_number=0,
        schema=SCHEMA.digest,
        digest=b"d" * 32,
        encoding="float32",
        chunks=7,
        size=7000,
        examples=1,
    )


def update(sequence: int = 3) -> Update:
    upload = begin("a", b"t" * 16, offer(sequence), SCHEMA, LIMITLESS, KEY, LIMIT, 0.0)
    return upload.inline(b"frame", [b"payload"])


LIMITLESS = cast("Any", None)
"""No path is looked at."""


def test_unknown_update_gets_no_answer() -> None:
    desk = Desk()
    assert not desk.answers().known(PEER, ID, b"d" * 32)
    assert not desk.answers().transfer(PEER, b"t" * 16)
    assert desk.said == []


def test_update_that_is_checked_is_said_to_be_here_whole() -> None:
    desk = Desk(outcomes={ID: Outcome("received", b"d" * 32)})
    answers = desk.answers()
    answers.checking(update())
    assert answers.known(PEER, ID, b"d" * 32, b"t" * 16)
    (word,) = desk.said
    # Even if the ledger's memory is a moment ahead: received is said when its commit is done.
    assert (word.type, word.upto, word.missing, word.send) == ("progress", 7, [], ALL_SENT)
    answers.checked("a", ID)
    assert answers.known(PEER, ID, b"d" * 32)
    assert desk.said[-1].type == "received"


def test_last_complete_transfer_is_answered_by_its_id() -> None:
    desk = Desk(outcomes={ID: Outcome("applied", b"d" * 32, 5)})
    answers = desk.answers()
    answers.checking(update())
    answers.checked("a", ID)
    assert answers.transfer(PEER, b"t" * 16)
    assert (desk.said[-1].type, desk.said[-1].version) == ("applied", 5)
    assert not answers.transfer(PEER, b"u" * 16)


def test_updates_of_each_agent_are_counted() -> None:
    answers = Desk().answers()
    answers.checking(update(1))
    answers.checking(update(2))
    assert (answers.count("a"), answers.count("b")) == (2, 0)
    answers.checked("a", UpdateId(b"i" * 16, 1))
    answers.checked("a", UpdateId(b"i" * 16, 9))
    assert answers.count("a") == 1


@pytest.mark.parametrize("type", ["refused", "rejected"])
def test_refusal_is_said_when_it_is_durable(type: Any) -> None:
    desk = Desk()
    answers = desk.answers()
    answers.settle(PEER, offer(), Rejected("stale", "too old"), type, b"t" * 16)
    assert desk.said == []
    assert answers.known(PEER, ID, b"d" * 32)
    assert desk.said.pop().type == "progress"
    ((operation, done, _),) = desk.put_off
    desk.outcomes[ID] = operation.outcome
    done()
    (word,) = desk.said
    assert (word.type, word.reason, word.transfer, word.digest) == (type, "stale", b"t" * 16, b"d" * 32)
    assert desk.events == [("rejected", "a", "stale", "too old")]
    assert answers.count("a") == 0


def test_refusal_of_what_was_settled_before_says_the_first_outcome() -> None:
    desk = Desk()
    answers = desk.answers()
    answers.settle(PEER, offer(), Rejected("stale", ""), "refused")
    desk.outcomes[ID] = Outcome("applied", b"e" * 32, 4)
    desk.put_off[0][1]()
    assert [(word.type, word.version, word.digest) for word in desk.said] == [("applied", 4, b"e" * 32)]


def test_refusal_that_the_disk_does_not_take_gives_the_update_back() -> None:
    desk = Desk()
    answers = desk.answers()
    answers.settle(PEER, offer(), Rejected("stale", ""), "refused", b"t" * 16)
    desk.put_off[0][2](OSError(errno.ENOSPC, "full"))
    (word,) = desk.said
    assert (word.type, word.transfer) == ("wait", b"t" * 16)
    assert word.after > 0
    assert not answers.known(PEER, ID, b"d" * 32)
    assert desk.events == []


def test_forgotten_digest_is_taken_to_be_the_one_asked_about() -> None:
    assert outcome_receipt(ID, Outcome("settled"), b"d" * 32).digest == b"d" * 32
    assert outcome_receipt(ID, Outcome("applied", b"e" * 32, 1), b"d" * 32).digest == b"e" * 32
    assert len(outcome_receipt(ID, Outcome("rejected", reason="norm", detail="x" * 999), b"").detail) == 300
