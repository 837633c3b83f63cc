"""Each promise, broken on paper: what the judge says, and that it says nothing without a reason."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from antiphon.broker_config.topics import COORDINATOR
from antiphon.codecs.errors import StateError
from antiphon.codecs.messages import Receipt, UpdateId
from antiphon.simulation import invariants
from antiphon.simulation.evidence import LedgerView, Settled
from antiphon.simulation.invariants import DISK, RETAINED
from antiphon.simulation.tap import Name, Story

RUN, ID = b"r" * 16, UpdateId(b"i" * 16, 1)
NAME, KEY = Name(RUN, "a", ID), ("a", ID)
ZERO, ONE = b"0" * 32, b"1" * 32
LEDGER = LedgerView(
    run=RUN,
    versions={0: ZERO[:16], 1: ONE[:16]},
    waiting=(),
    places={KEY: (1,)},
    outcomes={KEY: Settled("applied", 1, "")},
)


def word(type: Any, version: int = -1, reason: str = "") -> Receipt:
    return Receipt(
        type=type, term=1, counter=1, newest_term=1, newest_number=1, version=version, reason=reason
    )


def ordeal(story: Story, **more: Any) -> Any:
    """What a witness of one update saw."""
    newest = SimpleNamespace(number=1, digest=ONE)
    versions = {(RUN, 0): ZERO, (RUN, 1): ONE}
    tap = SimpleNamespace(updates={NAME: story}, versions=versions, newest=newest)
    return SimpleNamespace(tap=SimpleNamespace(**(vars(tap) | more)))


SETTLED = Story(received=1.0, final=word("applied", 1))


def test_what_holds_is_not_complained_about() -> None:
    assert invariants.kept_words(ordeal(SETTLED), LEDGER) == []
    assert invariants.kept_words(ordeal(Story(received=1.0)), LEDGER) == []
    assert invariants.kept_words(ordeal(Story(final=word("settled"))), replace(LEDGER, outcomes={})) == []
    assert invariants.applied_once(LEDGER) == []
    assert invariants.same_versions(ordeal(SETTLED), LEDGER) == []


@pytest.mark.parametrize(
    ("story", "ledger", "sentence"),
    [
        (SETTLED, replace(LEDGER, outcomes={}), "is not in the ledger"),
        (SETTLED, replace(LEDGER, outcomes={}, waiting=(KEY,)), "still waits"),
        (Story(final=word("rejected", reason="norm")), replace(LEDGER, outcomes={}), "was rejected, which"),
        (Story(final=word("applied", 0)), LEDGER, "in the ledger it is"),
        (Story(final=word("rejected", reason="norm")), LEDGER, "in the ledger it is"),
    ],
)
def test_word_that_the_ledger_does_not_keep(story: Story, ledger: LedgerView, sentence: str) -> None:
    (found,) = invariants.kept_words(ordeal(story), ledger)
    assert sentence in found
    assert invariants.kept_words(ordeal(story), replace(ledger, run=b"another run")) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"places": {KEY: (0, 1)}},
        {"places": {KEY: (0,)}},
        {"outcomes": {}},
        {"outcomes": {KEY: Settled("rejected", -1, "norm")}},
    ],
)
def test_update_that_is_applied_twice_or_elsewhere(wrong: dict[str, Any]) -> None:
    assert len(invariants.applied_once(replace(LEDGER, **wrong))) == 1


def test_versions_that_the_ledger_does_not_have() -> None:
    other = {(RUN, 0): ZERO, (RUN, 1): ZERO}
    assert "another digest" in invariants.same_versions(ordeal(SETTLED, versions=other), LEDGER)[0]
    more = replace(LEDGER, versions={**LEDGER.versions, 2: ZERO[:16]})
    assert "never announced" in invariants.same_versions(ordeal(SETTLED), more)[0]
    assert "never announced" in invariants.same_versions(ordeal(SETTLED, newest=None), LEDGER)[0]
    two = {(RUN, 0): ZERO, (b"s" * 16, 1): ONE}
    assert "2 runs" in invariants.same_versions(ordeal(SETTLED, versions=two), LEDGER)[0]


def test_replay_that_fails_or_ends_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = ordeal(SETTLED)
    evidence.parties = SimpleNamespace(coordinator=SimpleNamespace(disk=None))

    def replay(folder: Any, disk: Any) -> Any:
        del folder, disk
        if outcome is None:
            raise StateError("version 1 differs")
        return SimpleNamespace(last=outcome[0], digest=outcome[1])

    monkeypatch.setattr(invariants, "replay", replay)
    outcome: tuple[int, bytes] | None = (1, ONE)
    assert invariants.replayed(evidence) == []
    outcome = (1, ZERO)
    assert "replay ends at version 1" in invariants.replayed(evidence)[0]
    outcome = None
    assert "cannot be replayed: version 1 differs" in invariants.replayed(evidence)[0]


def test_disks_and_brokers_that_grow() -> None:
    def found(disk: int, agent: int, retained: int) -> list[str]:
        peaks = SimpleNamespace(disk={COORDINATOR: disk, "a": agent}, retained=retained)
        evidence: Any = SimpleNamespace(peaks=peaks)
        return invariants.bounded(evidence)

    assert found(DISK["coordinator"], DISK["agent"], RETAINED) == []
    assert len(found(DISK["coordinator"] + 1, DISK["agent"] + 1, RETAINED + 1)) == 3


def test_same_error_again_and_again_is_told_once() -> None:
    hosts = {"a": SimpleNamespace(errors=["a ended", "a ended"]), "b": SimpleNamespace(errors=[])}
    evidence: Any = SimpleNamespace(parties=SimpleNamespace(hosts=hosts))
    assert invariants.ended_by_errors(evidence) == ["a ended"]
