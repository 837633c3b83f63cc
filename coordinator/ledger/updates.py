"""Updates and uploads as rows, and back. Pure: rows are tuples of plain values, in the columns' order."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from antiphon.codecs.messages import Offer, UpdateId
from antiphon.codecs.schema import Schema
from antiphon.codecs.sealing import SymmetricKey
from antiphon.coordinator.checking import Checked, Tile
from antiphon.coordinator.ledger.records import OpenUpload, Receive, Received
from antiphon.coordinator.spool import Place, Update

Row = tuple[Any, ...]

COLUMNS = (
    "admission, agent, incarnation, sequence, admitted_at, "
    "file, size, schema, transfer, offer, content, key, frame"
)
"""Of ``updates`` and ``contents``, joined by admission."""

UPLOAD_COLUMNS = "file, agent, transfer, schema, offer, key, frame_limit, opened_at"
"""Of ``uploads``."""


class _Content(msgspec.Struct, frozen=True, array_like=True):
    """What merging needs besides the offer."""

    frame_limit: int
    places: list[tuple[int, int]]
    tiles: list[tuple[int, int, int, str]]
    block_sums: bytes
    sumsq: float


def rows(admission: int, record: Receive) -> tuple[Row, Row]:
    """Return the rows of an update that waits: in ``updates`` and in ``contents``."""
    update, checked = record.update, record.checked
    frame = record.frame or update.frame
    content = _Content(
        update.frame_limit,
        [(place.at, place.size) for place in update.places],
        [(tile.section, tile.first, tile.count, tile.encoding) for tile in checked.tiles],
        checked.block_sums.astype("<f8", copy=False).tobytes(),
        checked.sumsq,
    )
    name = (admission, update.agent, update.id.incarnation, update.id.sequence, record.admitted_at)
    return name, (
        admission,
        None if frame else update.path.name,
        update.spooled,
        update.schema.digest,
        update.transfer,
        msgspec.msgpack.encode(update.offer),
        msgspec.msgpack.encode(content),
        update.key.export(),
        frame or None,
    )


def received(found: Row, schema: Schema, spool: Path) -> Received:
    """Return an update.

    Args:
        found: Its row, `COLUMNS`.
        schema: Its tensors.
        spool: The folder of the files.

    Raises:
        ValueError: The row does not hold what `rows` writes.
    """
    admission, agent, incarnation, sequence, at, file, _, _, transfer, offer, content, key, frame = found
    held = msgspec.msgpack.decode(content, type=_Content)
    update = Update(
        agent=agent,
        id=UpdateId(incarnation, sequence),
        transfer=transfer,
        offer=msgspec.msgpack.decode(offer, type=Offer),
        schema=schema,
        path=spool / (file or f"{admission}.inline"),
        places=tuple(Place(at, size) for at, size in held.places),
        inline=frame is not None,
        frame_limit=held.frame_limit,
        key=SymmetricKey(key),
        frame=frame or b"",
    )
    sums = np.frombuffer(held.block_sums, "<f8").astype(np.float64, copy=False)
    checked = Checked(tuple(Tile(*tile) for tile in held.tiles), sums, held.sumsq)
    return Received(admission, update, checked, at)


def upload_row(upload: OpenUpload) -> Row:
    """Return the row of an upload under way."""
    return (
        upload.file,
        upload.agent,
        upload.transfer,
        upload.schema.digest,
        msgspec.msgpack.encode(upload.offer),
        upload.key.export(),
        upload.frame_limit,
        upload.opened_at,
    )


def upload(found: Row, schema: Schema) -> OpenUpload:
    """Return an upload from its row, `UPLOAD_COLUMNS`.

    Raises:
        ValueError: The row does not hold what `upload_row` writes.
    """
    file, agent, transfer, _, offer, key, frame_limit, opened_at = found
    return OpenUpload(
        agent=agent,
        transfer=transfer,
        offer=msgspec.msgpack.decode(offer, type=Offer),
        schema=schema,
        key=SymmetricKey(key),
        frame_limit=frame_limit,
        file=file,
        opened_at=opened_at,
    )
