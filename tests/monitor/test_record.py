"""The event log of a run, counted."""

import json
from pathlib import Path

from antiphon.monitor.record import BINS, histogram, read_record


def test_updates_staleness_and_weights_by_agent(tmp_path: Path) -> None:
    events = [
        {"event": "started"},
        {"event": "version", "version": 1, "agents": ["a", "b"], "staleness": [0, 0], "weights": [1.0, 1.0]},
        {"event": "rejected", "agent": "a", "reason": "norm"},
        {"event": "version", "version": 2, "agents": ["a", "x"], "staleness": [1, 0], "weights": [2.0, 9.0]},
    ]
    path = tmp_path / "events.jsonl"
    path.write_text("\n".join(json.dumps(event) for event in events) + '\n{"event": "vers')
    record = read_record(path, ["a", "b"])
    assert (record.versions, record.rejected) == (2, {"norm": 1})
    assert record.shares["a"].updates == 2
    assert sorted(record.staleness) == [0, 0, 1]
    assert (record.influence("a"), record.influence("b")) == (0.75, 0.25)


def test_no_log_means_nothing_happened(tmp_path: Path) -> None:
    record = read_record(tmp_path / "events.jsonl", ["a"])
    assert (record.versions, record.influence("a"), record.staleness) == (0, 0.0, [])


def test_every_staleness_falls_into_exactly_one_bar() -> None:
    bars = histogram(range(200))
    assert sum(count for _, count in bars) == 200
    assert [label for label, _ in bars] == ["0", "1", "2", "3", "4-5", "6-9", "10-19", "20-49", "50+"]
    assert len(bars) == len(BINS)
