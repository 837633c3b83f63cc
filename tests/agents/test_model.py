"""Putting a model together from chunks that may be anything."""

from typing import Any

import msgspec
import numpy as np
import pytest
from trainers import model

from antiphon.agents.model import Building
from antiphon.codecs import chunks, encodings, schema
from antiphon.codecs.errors import ConfigError, MalformedError
from antiphon.codecs.messages import NO_DIGEST, Announcement

PARAMS = model(size=3000)
OWN = schema.infer(PARAMS)
VECTOR, EXACT = OWN.pack(PARAMS)
ENCODED = encodings.encode(VECTOR, "float32", np.random.default_rng(0))
CUTS = chunks.plan(OWN, "float32", 6000)
PAYLOADS = [chunks.cut(OWN, "float32", ENCODED, EXACT, cut) for cut in CUTS]
VERSION = Announcement(
    wire=1,
    federation="banks",
    run=b"r" * 16,
    started=0.0,
    term=1,
    number=3,
    digest=schema.model_digest(OWN, VECTOR, EXACT),
    schema=OWN.digest,
    issued=0.0,
    state="running",
)


def building(count: int = len(PAYLOADS), limit: int = 1 << 20, **changes: Any) -> Building:
    version = msgspec.structs.replace(VERSION, **changes)
    return Building(version, OWN.encode(), count, 1 << 16, limit)


def test_chunks_in_any_order_give_the_model() -> None:
    made = building()
    for index in reversed(range(len(PAYLOADS))):
        made.add(index, PAYLOADS[index])
    found = made.finish()
    np.testing.assert_array_equal(found.vector, VECTOR)
    assert found.exact == EXACT


def test_missing_chunks_are_noticed() -> None:
    made = building()
    made.add(0, PAYLOADS[0])
    with pytest.raises(MalformedError, match="missing"):
        made.finish()


def test_chunks_in_the_wrong_places_are_noticed() -> None:
    made = building()
    for index, payload in enumerate([PAYLOADS[1], PAYLOADS[0], *PAYLOADS[2:]]):
        made.add(index, payload)
    with pytest.raises(MalformedError, match="gap or overlap"):
        made.finish()


def test_another_model_than_announced_is_refused() -> None:
    made = building(digest=NO_DIGEST)
    for index, payload in enumerate(PAYLOADS):
        made.add(index, payload)
    with pytest.raises(MalformedError, match="not the announced one"):
        made.finish()


def test_another_schema_than_announced_is_refused() -> None:
    with pytest.raises(MalformedError, match="schema"):
        building(schema=NO_DIGEST)


def test_more_chunks_than_blocks_are_refused() -> None:
    with pytest.raises(MalformedError, match="more chunks"):
        building(count=10**6)


def test_a_model_above_the_limit_is_a_matter_for_a_person() -> None:
    with pytest.raises(ConfigError, match=r"limits\.model"):
        building(limit=11_999)
