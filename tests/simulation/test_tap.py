"""The witness at the broker: what it takes for a contradiction, and what not."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from antiphon.broker_config.connection import Message
from antiphon.codecs import announcements, frames, messages
from antiphon.codecs.frames import Kind
from antiphon.codecs.messages import WIRE, Announcement, Receipt
from antiphon.codecs.sealing import SecretKey, SigningKey
from antiphon.coordinator.keys import Identity, meet, to_agent
from antiphon.simulation.clock import run
from antiphon.simulation.tap import Tap

RUN = b"r" * 16


class Stage:
    """A tap, and a coordinator that says what it is told to say."""

    def __init__(self) -> None:
        self.identity = Identity("f", SecretKey.generate(), SigningKey.generate())
        self.peer = meet(self.identity, "a", SecretKey.generate().public, False)
        self.tap = Tap(self.identity, {"a": self.peer})
        self.counter = 0

    def announce(self, number: int, term: int = 1, **more: Any) -> None:
        plain: dict[str, Any] = {
            "wire": WIRE,
            "federation": "f",
            "run": RUN,
            "started": 1.0,
            "term": term,
            "number": number,
            "digest": bytes([number + 1]) * 32,
            "schema": bytes(32),
            "issued": 1.0,
            "state": "running",
        }
        raw = announcements.sign(Announcement(**(plain | more)), self.identity.signing)
        self.tap.hear("coordinator", Message("model/broadcast", raw, True))

    def tell(self, type: Any, sequence: int = 1, **more: Any) -> None:
        self.counter += 1
        plain: dict[str, Any] = {
            "term": 1,
            "counter": self.counter,
            "newest_term": 1,
            "newest_number": 3,
            "incarnation": b"i" * 16,
            "sequence": sequence,
        }
        word = Receipt(type=type, **(plain | more))
        header = to_agent(self.identity, RUN, "a", Kind.RECEIPT)
        frame = frames.seal_frame(header, self.peer.receipt, messages.encode(word))
        self.tap.hear("coordinator", Message("receipts/a", frame, False))


def heard(say: Callable[[Stage], None]) -> list[str]:
    """Contradictions in what was said."""
    stage = Stage()

    async def main() -> None:
        await asyncio.sleep(1)
        say(stage)

    run(main)
    return stage.tap.contradictions


def test_an_ordinary_life_has_no_contradiction() -> None:
    def life(stage: Stage) -> None:
        stage.announce(0)
        for word in ("granted", "progress", "received", "received"):
            stage.tell(word)
        stage.announce(1)
        stage.announce(1, term=2)
        stage.tell("applied", version=1)
        stage.tell("applied", version=1)
        stage.tell("settled")
        stage.tell("refused", sequence=2, reason="unknown-key")
        stage.tell("granted", sequence=2)
        stage.tell("rejected", sequence=2, reason="norm")
        stage.tell("hello", sequence=-1)
        stage.announce(2, term=2, state="over")
        stage.tap.hear("coordinator", Message("receipts/a", b"", True))
        stage.tap.hear("a", Message("model/broadcast", b"nonsense", False))

    assert heard(life) == []


@pytest.mark.parametrize("later", ["granted", "progress", "wait", "refused"])
def test_received_update_is_not_treated_as_news(later: str) -> None:
    def life(stage: Stage) -> None:
        stage.tell("received")
        stage.tell(later)

    (sentence,) = heard(life)
    assert "after it was received" in sentence or "was received, and then" in sentence


@pytest.mark.parametrize(
    "second",
    [{"type": "applied", "version": 2}, {"type": "rejected", "reason": "norm"}, {"type": "received"}],
)
def test_final_word_stays(second: dict[str, Any]) -> None:
    def life(stage: Stage) -> None:
        stage.tell("applied", version=1)
        stage.tell(**second)

    assert len(heard(life)) == 1


@pytest.mark.parametrize(("number", "term"), [(0, 1), (0, 2), (2, 1)])
def test_versions_only_grow(number: int, term: int) -> None:
    def life(stage: Stage) -> None:
        stage.announce(1, term=2)
        stage.announce(number, term)

    assert any("was announced after" in sentence for sentence in heard(life))


def test_version_with_two_digests_is_two_versions() -> None:
    def life(stage: Stage) -> None:
        stage.announce(1)
        stage.announce(1, term=2, digest=b"x" * 32)

    assert "two digests" in heard(life)[0]


def test_run_that_is_over_stays_over() -> None:
    def life(stage: Stage) -> None:
        stage.announce(1, state="over")
        stage.announce(2)

    assert "over" in heard(life)[0]


def test_another_run_must_have_started_later() -> None:
    def life(stage: Stage) -> None:
        stage.announce(1)
        stage.announce(0, run=b"s" * 16, started=0.5)

    assert "did not start later" in heard(life)[0]


def test_receipts_are_counted_and_name_no_older_version() -> None:
    def life(stage: Stage) -> None:
        stage.tell("granted")
        stage.tell("granted", counter=1)
        stage.tell("granted", counter=9, newest_number=2)

    assert len(heard(life)) == 2
