"""Updates as spool files, made without anybody sending them."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from antiphon.broker_config.disk import RealDisk
from antiphon.broker_config.topics import COORDINATOR
from antiphon.codecs import chunks, encodings, frames, messages
from antiphon.codecs.chunks import UpdateDigest
from antiphon.codecs.frames import Header, Kind
from antiphon.codecs.messages import WIRE, Offer, UpdateId
from antiphon.codecs.schema import Schema, model_digest
from antiphon.codecs.sealing import SymmetricKey
from antiphon.coordinator import spool
from antiphon.coordinator.aggregation.history import Arrival
from antiphon.coordinator.buffer import Accepted
from antiphon.coordinator.checking import check
from antiphon.coordinator.models import Model
from antiphon.coordinator.spool import Place, Update

KEY = SymmetricKey(bytes(range(32)))
LIMIT = 1 << 20
DISK = RealDisk()


def version(schema: Schema, vector: npt.NDArray[Any], exact: bytes = b"", number: int = 0) -> Model:
    """A version of the model."""
    return Model(schema, vector, exact, number, model_digest(schema, vector, exact))


def update(
    folder: Path,
    schema: Schema,
    delta: npt.NDArray[Any],
    exact: bytes = b"",
    *,
    agent: str = "a",
    encoding: str = "",
    frame: int = 64 << 10,
    payloads: list[bytes] | None = None,
    examples: int = 1,
) -> Update:
    """Write an update into a spool file of its own."""
    encoding = encoding or schema.dtype
    encoded = encodings.encode(delta, encoding, np.random.default_rng(0))
    digest = UpdateDigest(schema.digest, b"b" * 32, encoding)
    digest.update(encoded)
    digest.update(exact)
    if payloads is None:
        cuts = chunks.plan(schema, encoding, frame)
        payloads = [chunks.cut(schema, encoding, encoded, exact, cut) for cut in cuts]
    offer = Offer(
        incarnation=b"i" * 16,
        sequence=1,
        base=b"b" * 32,
        base_number=0,
        schema=schema.digest,
        digest=digest.digest(),
        encoding=encoding,
        chunks=len(payloads),
        size=sum(len(payload) for payload in payloads),
        examples=examples,
    )
    path, at, places = folder / f"{agent}.update", 0, list[Place]()
    for index, payload in enumerate(payloads):
        header = Header(
            WIRE,
            "f",
            bytes(16),
            agent,
            COORDINATOR,
            Kind.UPDATE_CHUNK,
            bytes(8),
            b"t" * 16,
            index,
            len(payloads),
        )
        data = frames.seal_frame(header, KEY, messages.pack([index + 1, payload]))
        places.append(spool.append(DISK, path, at, data))
        at = spool.end(places[-1])
    id = UpdateId(offer.incarnation, offer.sequence)
    return Update(agent, id, b"t" * 16, offer, schema, path, tuple(places), False, LIMIT, KEY)


def accepted(made: Update, base_number: int = 0) -> Accepted:
    """Check it, and say that it was admitted."""
    arrival = Arrival(made.agent, base_number, made.offer.examples, 0.0)
    return Accepted(made, check(made, float("inf"), DISK), arrival)
