"""What a monitor makes of the messages it gets, well formed or not."""

import json

import pytest

from antiphon.broker_config.topics import Topics
from antiphon.demo.board import Board

TOPICS = Topics()


@pytest.fixture
def board() -> Board:
    return Board.of(TOPICS, ["a", "b"])


def send(board: Board, topic: str, **values: object) -> None:
    board.take(topic, json.dumps(values).encode())


def test_status_and_metrics_of_an_agent(board: Board) -> None:
    send(board, TOPICS.status("a"), state="online", activity="training", timestamp=1.0)
    send(
        board,
        TOPICS.metrics("a"),
        version_trained=7,
        updates_sent=4,
        updates_rejected=1,
        bytes_sent=4000,
        bytes_raw=928,
    )
    line = board.agents["a"]
    assert (line.state, line.activity, line.version) == ("online", "training", 7)
    assert (line.sent, line.rejected, line.sealed, line.raw) == (4, 1, 4000, 928)


def test_numbers_of_the_coordinator(board: Board) -> None:
    send(board, TOPICS.status("coordinator"), state="online", version=5)
    send(
        board,
        TOPICS.metrics("coordinator"),
        version=6,
        updates_applied=24,
        staleness_mean=1.5,
        influence_a=0.75,
        influence_b=0.25,
    )
    assert (board.state, board.version, board.merged, board.staleness) == ("online", 6, 24, 1.5)
    assert (board.agents["a"].influence, board.agents["b"].influence) == (0.75, 0.25)


def test_updates_are_counted_as_versions_are_made_of_them(board: Board) -> None:
    """An agent that comes back counts from 0 again; what it has given before stays given."""
    send(board, TOPICS.events, event="version", version=1, agents=["a", "b"])
    send(board, TOPICS.metrics("a"), updates_applied=0)
    send(board, TOPICS.events, event="version", version=2, agents=["a", "stranger", 3])
    send(board, TOPICS.events, event="version", version=3, agents="a")
    assert (board.agents["a"].applied, board.agents["b"].applied) == (2, 1)


def test_version_never_goes_back_when_an_older_message_comes_late(board: Board) -> None:
    send(board, TOPICS.events, event="version", version=9)
    send(board, TOPICS.metrics("coordinator"), version=8)
    assert board.version == 9


def test_events_worth_a_line_are_kept_until_taken(board: Board) -> None:
    send(board, TOPICS.events, event="joined", agent="a")
    send(board, TOPICS.events, event="accepted", agent="a")
    send(board, TOPICS.events, event="rejected", agent="b", reason="norm")
    send(board, TOPICS.events, event="joined", agent="stranger")
    send(board, TOPICS.events, event="rejected", agent="b", reason="run-over")
    assert board.take_notes() == ["a is here", "an update of b is rejected: norm"]
    assert board.take_notes() == []


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("status/a", b""),
        ("status/a", b"\xff\x00"),
        ("status/a", b"[1, 2]"),
        ("status/a", b'{"state": 3, "activity": null}'),
        ("metrics/a", b'{"version_trained": "7", "updates_sent": true, "bytes_sent": NaN}'),
        ("metrics/stranger", b'{"version_trained": 7}'),
        ("status/stranger", b'{"state": "online"}'),
        ("updates/a", b'{"state": "online"}'),
        ("elsewhere", b'{"state": "online"}'),
    ],
)
def test_what_is_not_as_expected_changes_nothing(board: Board, topic: str, payload: bytes) -> None:
    board.take(topic, payload)
    assert board == Board.of(TOPICS, ["a", "b"])
