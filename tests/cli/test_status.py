"""``antiphon status``: what was seen, as a table or JSON."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from antiphon.broker_config.connection import Message
from antiphon.broker_config.provisioning import init_federation
from antiphon.broker_config.topics import Topics
from antiphon.cli import main
from antiphon.cli.status import Seen, look, show
from antiphon.codecs.errors import NotConnected
from antiphon.simulation.clock import run
from antiphon.simulation.memory_broker import MemoryBroker

TOPICS = Topics("lab/")
STATUS: dict[str, Any] = {"state": "online", "version": 3, "run": "ab" * 16}
METRICS: dict[str, Any] = {"agents_live": 1, "buffer": 0, "k": 1, "influence_a": 0.25}


def test_look_collects_what_lies_there_and_leaves_junk_out() -> None:
    async def main_() -> Seen:
        broker = MemoryBroker()
        for topic, payload in (
            (TOPICS.status("coordinator"), json.dumps(STATUS).encode()),
            (TOPICS.metrics("coordinator"), json.dumps(METRICS).encode()),
            (TOPICS.status("a"), b'{"state": "online", "activity": "training"}'),
            (TOPICS.status("b"), b"not json"),
            (TOPICS.status("c"), b"[1]"),
            (TOPICS.status("d"), b"[" * 100_000),
            (TOPICS.metrics("d"), b'{"version": NaN}'),
        ):
            broker.retained[topic] = payload
        return await look(broker.connect("admin", None), TOPICS, 1.0)

    seen = run(main_)
    assert seen.status == {"coordinator": STATUS, "a": {"state": "online", "activity": "training"}}
    assert seen.metrics == {"coordinator": METRICS}


def test_broker_that_does_not_answer_is_told_in_ten_seconds() -> None:
    async def main_() -> float:
        broker = MemoryBroker()
        broker.stop()
        with pytest.raises(NotConnected, match="running"):
            await look(broker.connect("admin", None), TOPICS, 1.0)
        return asyncio.get_running_loop().time()

    assert run(main_) < 15


def test_message_that_is_too_large_or_of_nobody_is_left_out() -> None:
    seen = Seen()
    seen.take(TOPICS, Message("elsewhere/x", b"{}", True))
    seen.take(TOPICS, Message(TOPICS.status("a"), b'{"x": "' + b"y" * (2 << 20) + b'"}', True))
    seen.take(TOPICS, Message(TOPICS.status("a"), b"", True))
    assert seen.status == {}


def test_table_names_coordinator_agents_and_influence(capsys: pytest.CaptureFixture[str]) -> None:
    seen = Seen()
    seen.status = {"coordinator": STATUS, "a": {"state": "online", "activity": "[b]x"}}
    seen.metrics = {"coordinator": {**METRICS, "mean_loss": 0.12345}, "a": {"updates_sent": 4}}
    show("credit", seen)
    said = capsys.readouterr().out
    assert "version 3" in said
    assert "mean loss 0.123" in said
    assert "25.0 %" in said
    assert "[b]x" in said  # peers cannot format our screen


def test_coordinator_without_a_first_version_has_no_number(capsys: pytest.CaptureFixture[str]) -> None:
    seen = Seen()
    seen.status = {"coordinator": {**STATUS, "version": -1}}
    show("credit", seen)
    assert "online, no version, run" in capsys.readouterr().out


def test_long_ids_leave_every_column_whole_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    seen = Seen()
    agent = "a" * 40
    seen.status = {"coordinator": STATUS, agent: {"state": "offline", "activity": "training"}}
    seen.metrics = {
        "coordinator": {"staleness_mean": "1", f"influence_{agent}": 0.5},
        agent: {"updates_sent": 10**7, "version_trained": -1},
    }
    show("credit", seen)
    said = capsys.readouterr().out
    assert f"{agent} offline 10000000 50.0 %" in " ".join(said.split())  # what it last did is over
    assert "…" not in said


def test_peer_that_sends_escape_codes_moves_nobodys_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    seen = Seen()
    seen.status = {"coordinator": STATUS, "a": {"state": "\x1b[2Jgone", "activity": "half \ud800"}}
    show("credit", seen)
    said = capsys.readouterr().out
    assert "?[2Jgone" in said
    assert "half ?" in said


def test_federation_where_nobody_has_been_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    show("credit", Seen())
    assert "no coordinator" in capsys.readouterr().out


def test_status_prints_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    init_federation(tmp_path, "credit", "mqtt://127.0.0.1:1")

    async def seen(*_: object) -> Seen:
        return Seen({"coordinator": STATUS}, {})

    monkeypatch.setattr("antiphon.cli.status.look", seen)
    assert main(["status", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"]["coordinator"]["version"] == 3
    assert main(["status", str(tmp_path)]) == 0
    assert "version 3" in capsys.readouterr().out
