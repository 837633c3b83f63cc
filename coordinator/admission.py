"""May this offer count? Pure checks with a reason each, before a byte of content flows.

What needs the content itself is judged by `antiphon.coordinator.checking` when it is complete.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from antiphon.codecs import encodings, schema
from antiphon.codecs.errors import MalformedError, PeerError, Rejected
from antiphon.codecs.messages import NO_DIGEST, Offer
from antiphon.codecs.schema import Schema
from antiphon.coordinator.settings import Limits

STALENESS_MEDIANS = 10
"""The bound on staleness is never below so many times the agent's own median: slow is not stale."""

SMALLEST_PAYLOAD = 16
"""Bytes that the payload of any chunk has at least."""

SMALLEST_CHUNK = 8192
"""Bytes of exact data that any chunk but the last can hold, even in the smallest frame."""

CHUNK_OVERHEAD = 512
"""Bytes that a chunk may have besides its data: msgpack and zstd."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What an offer is judged against.

    Attributes:
        schema: The model's; None before the first version.
        number: The newest version; -1 before the first.
        over: Whether the run is over.
        is_base: Whether (number, digest) was published in this run.
        keeps_base: Whether that version's values are still here if merging needs them.
        median_staleness: Of an agent, in versions; None before it is known.
    """

    schema: Schema | None
    number: int
    over: bool
    is_base: Callable[[int, bytes], bool]
    keeps_base: Callable[[int], bool]
    median_staleness: Callable[[str], float | None]


def admit(offer: Offer, agent: str, may_initialise: bool, situation: Situation, limits: Limits) -> Schema:
    """Return the schema that the update must have, or refuse it.

    Args:
        offer: As it came, opened.
        agent: Who offers.
        may_initialise: Whether its parameters may become version 0.
        situation: What the run looks like now.
        limits: The configured bounds.

    Raises:
        Rejected: With one of `antiphon.codecs.messages.REASONS`.
    """
    if situation.over:
        raise Rejected("run-over", "the run has ended")
    _check_form(offer)
    if offer.base == NO_DIGEST:
        expected = _first_schema(offer, may_initialise, situation, limits)
    else:
        expected = _check_base(offer, agent, situation, limits)
    if offer.encoding not in encodings.ENCODINGS:
        raise Rejected("malformed", f"there is no encoding {offer.encoding!r}")
    if offer.size > (most := largest_update(expected, limits)):
        raise Rejected("too-large", f"the update has {offer.size} bytes, the limit is {most}")
    if offer.chunks > (most := most_chunks(expected)):
        raise Rejected("too-large", f"the update has {offer.chunks} chunks, the limit is {most}")
    if offer.chunks * SMALLEST_PAYLOAD > offer.size:
        raise Rejected("malformed", f"no {offer.size} bytes can be {offer.chunks} chunks")
    return expected


def largest_update(expected: Schema, limits: Limits) -> int:
    """Bytes of an update's chunk payloads: the configured bound, or what its widest encoding can need."""
    if limits.update_bytes:
        return limits.update_bytes
    plain = _plain(expected, "float64")
    return plain + plain // 64 + CHUNK_OVERHEAD * most_chunks(expected)


def most_chunks(expected: Schema) -> int:
    """How many chunks the smallest frames can need."""
    return expected.blocks + -(-expected.exact_size // SMALLEST_CHUNK) + 1


def _plain(expected: Schema, encoding: str) -> int:
    """Bytes before compression."""
    return encodings.encoded_size(encoding, expected.size) + expected.exact_size


def _check_form(offer: Offer) -> None:
    if offer.sequence < 1 or offer.chunks < 1:
        raise Rejected("malformed", "sequences start from 1, and an update has at least one chunk")
    if not all(math.isfinite(value) for value in offer.metrics.values()):
        raise Rejected("malformed", "a metric is not a finite number")
    if offer.inline and len(offer.inline) != offer.chunks:
        raise Rejected("malformed", "an offer holds all chunks or none")


def _first_schema(offer: Offer, may_initialise: bool, situation: Situation, limits: Limits) -> Schema:
    if situation.schema is not None:
        raise Rejected("unknown-base", "there is a first version already")
    if not may_initialise or offer.base_number != -1:
        raise Rejected("unknown-base", "this agent may not bring the first version")
    try:
        found = schema.decode(offer.schema_body, len(offer.schema_body))
    except PeerError as error:
        raise Rejected("schema", str(error)) from None
    if found.digest != offer.schema:
        raise Rejected("schema", "the schema is not the one that its digest names")
    if (size := _plain(found, found.dtype)) > limits.model_bytes:
        raise Rejected(
            "too-large", f"the model has {size} bytes, limits.model_bytes allows {limits.model_bytes}"
        )
    return found


def _check_base(offer: Offer, agent: str, situation: Situation, limits: Limits) -> Schema:
    expected = situation.schema
    if expected is None or not situation.is_base(offer.base_number, offer.base):
        raise Rejected(
            "unknown-base", f"this run never published a version {offer.base_number} of that digest"
        )
    if offer.schema != expected.digest:
        raise Rejected("schema", "the tensors are not those of the federation's model")
    staleness = situation.number - offer.base_number
    own = situation.median_staleness(agent)
    if limits.staleness and staleness > max(limits.staleness, STALENESS_MEDIANS * (own or 0.0)):
        raise Rejected("stale", f"{staleness} versions behind, the bound is {limits.staleness}")
    if not situation.keeps_base(offer.base_number):
        raise Rejected("base-gone", f"version {offer.base_number} is no longer kept")
    return expected


def check_size(stored: int, offer: Offer) -> None:
    """Check that an upload does not outgrow its offer; ``stored``: bytes of sealed frames so far.

    Raises:
        MalformedError: It does.
    """
    if stored > sealed_size(offer):
        raise MalformedError(f"an upload has {stored} bytes, its offer said {offer.size}")


def sealed_size(offer: Offer) -> int:
    """Bytes of all sealed frames of an update, at most."""
    return offer.size + 2 * CHUNK_OVERHEAD * offer.chunks
