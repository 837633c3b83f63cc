"""Outboxes for tests, and what to put into them."""

from pathlib import Path
from typing import Any

from antiphon.agents.database import Mark
from antiphon.agents.entries import Entry, Head
from antiphon.agents.outbox import Outbox
from antiphon.broker_config.disk import Disk, RealDisk

SMALL = b"vector!!"
LARGE = b"V" * (64 << 10)
"""A vector that makes a file of its own."""


def head(sequence: int = 1, vector: bytes = SMALL, **more: Any) -> Head:
    plain: dict[str, Any] = {
        "run": b"r" * 16,
        "incarnation": b"i" * 16,
        "sequence": sequence,
        "base": b"b" * 32,
        "base_term": 1,
        "base_number": 4,
        "schema": b"schema",
        "digest": b"d" * 32,
        "encoding": "float32",
        "vector_bytes": len(vector),
        "exact_bytes": 2,
        "raw_bytes": len(vector),
        "examples": 10,
        "metrics": {"loss": 0.5},
    }
    return Head(**{**plain, **more})


def blank(encoding: str = "float32", **more: Any) -> Head:
    """A head as the backlog makes it: sizes and digest are filled in when it is stored."""
    return head(vector=b"", encoding=encoding, schema=b"", digest=bytes(32), exact_bytes=0, **more)


def mark(number: int = 4) -> Mark:
    return Mark(b"r" * 16, 1000.0, 1, number, b"b" * 32)


def closed(folder: Path, disk: Disk | None = None, limit: int = 1 << 20, spare: int = 0) -> Outbox:
    """An outbox that nobody has loaded yet."""
    return Outbox(folder, disk or RealDisk(), federation="banks", agent="a1", limit=limit, spare=spare)


def fresh(folder: Path, disk: Disk | None = None, limit: int = 1 << 20) -> Outbox:
    outbox = closed(folder, disk, limit)
    assert outbox.load() == []
    return outbox


def put(outbox: Outbox, sequence: int = 1, vector: bytes = SMALL, **more: Any) -> Entry:
    half, size = len(vector) // 2, len(vector) + 2
    parts = [(vector[:half], memoryview(b"")), (vector[half:], memoryview(b""))]
    found = mark(more.pop("mark")) if "mark" in more else None
    return outbox.add(parts, b"ex", lambda: head(sequence, vector, **more), size=size, mark=found)
