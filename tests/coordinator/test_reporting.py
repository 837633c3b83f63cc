"""What people see."""

import asyncio
import json
from pathlib import Path

from antiphon.broker_config.topics import Topics
from antiphon.coordinator.reporting import QUEUE, Events
from antiphon.coordinator.settings import Limits
from antiphon.simulation.clock import run, virtual_environment
from antiphon.simulation.memory_broker import MemoryBroker


def events(folder: Path, **limits: int) -> Events:
    connection = MemoryBroker().connect("coordinator", None)
    return Events(folder, Topics(), connection, virtual_environment(), Limits(**limits))


def test_events_are_written_without_a_line_and_empty_fields_left_out(tmp_path: Path) -> None:
    async def main() -> None:
        book = events(tmp_path)
        book.add("joined", agent="a", detail="", version=0)
        await book.flush()
        await book.flush()

    run(main)
    [line] = (tmp_path / "events.jsonl").read_text().splitlines()
    assert json.loads(line) == {"event": "joined", "timestamp": 1_700_000_000.0, "agent": "a", "version": 0}


def test_text_that_is_no_utf_8_and_odd_line_ends_are_one_line_of_ascii(tmp_path: Path) -> None:
    odd = "caf\udce9 \u2028 \x85 ünï"  # a file's name in Latin-1, and what some take for the end of a line

    async def main() -> None:
        book = events(tmp_path)
        book.add("roster", detail=odd)
        await book.flush()

    run(main)
    data = (tmp_path / "events.jsonl").read_bytes()
    assert data.isascii()
    [line] = data.decode().splitlines()
    assert json.loads(line)["detail"] == odd


def test_log_that_grew_too_large_starts_anew(tmp_path: Path) -> None:
    async def main() -> None:
        book = events(tmp_path, events_bytes=200)
        for n in range(10):
            book.add("joined", agent=f"agent-{n}")
            await book.flush()

    run(main)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 600
    assert (tmp_path / "events.1.jsonl").exists()


def test_flood_keeps_the_newest_and_counts_the_rest(tmp_path: Path) -> None:
    async def main() -> None:
        book = events(tmp_path)
        for n in range(QUEUE + 5):
            book.add("joined", agent=f"a{n}")
        assert book.dropped == 5
        await book.flush()

    run(main)
    assert len((tmp_path / "events.jsonl").read_text().splitlines()) == QUEUE


def test_what_peers_can_cause_at_will_is_told_once_in_a_while(tmp_path: Path) -> None:
    heard: list[str] = []

    async def main() -> None:
        book = events(tmp_path)
        book.listen(lambda record: heard.append(record["agent"]))
        for _ in range(3):
            for agent in ("a", "b"):
                book.add_rarely("dropped", agent, "malformed", "x" * 10_000)
            await asyncio.sleep(6)

    run(main)
    assert heard == ["a", "b", "a", "b"]


def test_folder_that_is_gone_loses_events_and_nothing_else(tmp_path: Path) -> None:
    async def main() -> None:
        book = events(tmp_path / "gone")
        book.add("joined", agent="a")
        await book.flush()
        assert book.dropped == 1

    run(main)
