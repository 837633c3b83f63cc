"""Nothing that was trained is lost or counted twice, number by number: error feedback included.

For each agent, at any moment: the sum of Δ over every update that it ever stored is what the coordinator was
given, plus what lies in the outbox, plus the residual. Δ is known (`antiphon.simulation.walker`), the rest is
read off the disks. Only agents all of whose updates are applied or under way are compared: of one that was
rejected nobody remembers from which version it came.
"""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from antiphon.agents.entries import HEAD_LIMIT, Head
from antiphon.codecs import chunks, encodings, frames, messages, schema
from antiphon.codecs.messages import Offer, UpdateId
from antiphon.codecs.schema import Schema
from antiphon.codecs.sealing import SymmetricKey
from antiphon.coordinator.spool import LENGTH, read_chunk_frame
from antiphon.simulation.disk import MemoryDisk
from antiphon.simulation.evidence import LEDGER, read_ledger
from antiphon.simulation.walker import walk

Vector = NDArray[Any]
Sums = dict[str, dict[UpdateId, tuple[int, Vector]]]
"""By agent and update: the number of the base, and what was sent of the weights."""

LIMIT = 1 << 24
"""Bytes of anything that is read here."""

ROUNDING = 2e-5
"""Of a sum of some sixty float32 numbers below 1; one quantum of int8 is four times that."""

READ = (
    "SELECT u.agent, u.incarnation, u.sequence, c.file, c.schema, c.offer, c.key, c.frame "
    "FROM updates AS u JOIN contents AS c USING (admission) ORDER BY admission"
)


def balance(number: int, agent: str, disk: MemoryDisk, folder: Path, given: Sums, elements: int) -> str:
    """Compare one agent's books; returns what does not add up, or nothing.

    Args:
        number: The agent's, see `walk`.
        agent: Its id.
        disk: Its disk.
        folder: Its folder there.
        given: See `sums`.
        elements: Of the weight tensor.
    """
    known = dict(given.get(agent, {}))
    for head, content in _outbox(disk, folder):
        id = UpdateId(head.incarnation, head.sequence)
        if id in known:
            continue
        if not content:
            return ""  # it was received, and rejected: its agent does not know that yet
        values = encodings.decode(content[: head.vector_bytes], head.encoding, elements, "float32")
        known[id] = (head.base_number, values.astype(np.float64))
    trained, there = np.zeros(elements), _residual(disk, folder, elements)
    for base, sent in known.values():
        trained += walk(number, base, elements) if base >= 0 else 0.0  # the first version is zeros
        there += sent
    if (worst := float(np.max(np.abs(trained - there), initial=0.0))) > ROUNDING:
        return f"{agent} trained {len(known)} updates, and {worst:.3g} of them is not where it should be"
    return ""


def sums(disk: MemoryDisk, folder: Path, elements: int) -> Sums:
    """Read what agents have given to the coordinator in ``folder``, as far as it is kept."""
    ledger = read_ledger(disk, folder)
    if not ledger.run:
        return {}
    database = disk.database(folder / LEDGER, sync=False)
    rows, bodies = database.rows(READ), dict(database.rows("SELECT digest, body FROM schemas"))
    database.close()
    found: Sums = {}
    for agent, incarnation, sequence, file, digest, offer, key, frame in rows:
        tensors, said = schema.decode(bodies[digest], LIMIT), msgspec.msgpack.decode(offer, type=Offer)
        payloads = _payloads(disk, folder / "state" / "spool" / file if file else None, frame, key)
        sent = _weights(payloads, tensors, elements)
        found.setdefault(agent, {})[UpdateId(incarnation, sequence)] = (said.base_number, sent)
    return found


def comparable(disk: MemoryDisk, folder: Path, given: Sums) -> list[str]:
    """Return the agents none of whose updates was rejected or is kept no longer."""
    ledger = read_ledger(disk, folder)
    broken = {
        agent
        for (agent, id), outcome in ledger.outcomes.items()
        if outcome.type != "applied" or id not in given.get(agent, {})
    }
    return [agent for agent in sorted(given) if agent not in broken]


def _payloads(disk: MemoryDisk, file: Path | None, frame: bytes | None, key: bytes) -> list[bytes]:
    opening = SymmetricKey(key)
    if file is None:
        plain = frames.open_frame(frames.read(frame or b"", LIMIT), opening)
        return messages.decode(plain, Offer, LIMIT).inline
    content, at, found = disk.read(file), 0, dict[int, bytes]()
    while at < len(content):
        size = int.from_bytes(content[at : at + LENGTH], "big")
        sealed = frames.read(content[at + LENGTH : at + LENGTH + size], LIMIT)
        found[sealed.header.index] = read_chunk_frame(sealed, opening)[1]
        at += LENGTH + size
    return [found[index] for index in sorted(found)]


def _weights(payloads: list[bytes], tensors: Schema, elements: int) -> Vector:
    vector = np.zeros(elements, np.float64)
    for payload in payloads:
        chunk = chunks.parse(payload, LIMIT)
        if chunk.section == chunks.VECTOR:
            start, values = chunk.first * schema.BLOCK, chunks.values(chunk, tensors)
            vector[start : start + len(values)] = values
    return vector


def _outbox(disk: MemoryDisk, folder: Path) -> list[tuple[Head, bytes]]:
    """Return the updates that an agent keeps, and what of their content is there."""
    found: list[tuple[Head, bytes]] = []
    for body, file, content in _rows(disk, folder, "SELECT head, file, content FROM updates"):
        whole = disk.read(folder / "outbox" / file) if file else content or b""
        found.append((messages.decode(body, Head, HEAD_LIMIT), whole))
    return found


def _residual(disk: MemoryDisk, folder: Path, elements: int) -> Vector:
    for file, content in _rows(disk, folder, "SELECT file, content FROM residual"):
        whole = disk.read(folder / "outbox" / file) if file else content
        return np.frombuffer(whole, "<f4").astype(np.float64)
    return np.zeros(elements)


def _rows(disk: MemoryDisk, folder: Path, sql: str) -> list[tuple[Any, ...]]:
    database = disk.database(folder / "state.db", sync=False)
    rows = database.rows(sql)
    database.close()
    return rows
