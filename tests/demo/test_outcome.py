"""The comparison at the end of a run."""

import json
from typing import cast

import pytest

from antiphon.demo.board import Board
from antiphon.demo.outcome import Outcome, conclude
from antiphon.demo.play import Play
from antiphon.demo.stage import Stage


def test_counts_come_from_the_event_log_and_scores_from_the_model(stage: Stage) -> None:
    ids = [bank.id for bank in stage.problem.banks]
    board = Board.of(stage.topics, ids)
    board.agents["repairs"].sent, board.agents["repairs"].sealed = 4, 4000
    event = {"event": "version", "version": 1, "agents": ["repairs"], "staleness": [3], "weights": [2.0]}
    stage.events.write_text(json.dumps(event) + "\n")
    outcome = conclude(Play(stage, None, None, board, ended=12.0))  # pyright: ignore[reportArgumentType]
    assert (board.agents["repairs"].applied, board.agents["repairs"].influence) == (1, 1.0)
    assert outcome.federated == 0.5  # version 0 knows nothing
    assert outcome.pooled > 0.75 > outcome.mean_alone > 0.55
    assert (outcome.traffic.numbers, outcome.traffic.raw, outcome.traffic.sealed) == (58, 232, 1000.0)
    assert (outcome.record.versions, outcome.seconds) == (1, 12.0)


def test_summary_holds_every_number_in_plain_types(outcome: Outcome) -> None:
    plain = json.loads(json.dumps(outcome.summary()))
    assert plain["federated"] == 0.801
    assert plain["updates"]["new-car"] == 3
    assert sum(plain["influence"].values()) == pytest.approx(1.0)
    assert cast("float", plain["alone_mean"]) == pytest.approx(outcome.mean_alone)
