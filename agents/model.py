"""A global model on its way in: chunks opened, checked and put into one vector. Pure; blocks while it works.

Guarantees: what `Building.finish` returns is complete and has the digest that the signed announcement names.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.broker_config.topics import COORDINATOR
from antiphon.codecs import chunks, frames, messages, schema
from antiphon.codecs.chunks import Chunk
from antiphon.codecs.digests import frame_digest
from antiphon.codecs.errors import ConfigError, MalformedError
from antiphon.codecs.frames import EVERYONE, Kind
from antiphon.codecs.messages import Announcement, ModelContent
from antiphon.codecs.schema import BLOCK, Schema
from antiphon.codecs.sealing import SymmetricKey


@dataclass(frozen=True, slots=True)
class Model:
    """A version with its numbers.

    Attributes:
        version: The announcement that names it.
        schema: Its tensors.
        vector: Shape ``(schema.size,)``, dtype ``schema.dtype``.
        exact: The exact section, ``schema.exact_size`` bytes.
    """

    version: Announcement
    schema: Schema
    vector: NDArray[Any]
    exact: bytes


@dataclass(frozen=True, slots=True)
class _Range:
    section: int
    first: int
    count: int
    encoding: str


class Building:
    """A model that is being put together.

    Args:
        version: The announcement that names it.
        schema_bytes: As they came, inside what the announcement vouches for.
        chunks: How many there are.
        schema_limit: Bytes.
        model_limit: Bytes of the vector.

    Raises:
        PeerError: The schema is none.
        ConfigError: The model is larger than ``model_limit``.
    """

    def __init__(
        self, version: Announcement, schema_bytes: bytes, chunks: int, schema_limit: int, model_limit: int
    ) -> None:
        """Reserve the vector; nothing is filled in yet."""
        self.version = version
        self.schema = schema.decode(schema_bytes, schema_limit)
        if self.schema.digest != version.schema:
            raise MalformedError("the schema is not the announced one")
        size = self.schema.size * np.dtype(self.schema.dtype).itemsize
        if size + self.schema.exact_size > model_limit:
            raise ConfigError(
                f"the federation's model has {size} bytes: raise limits.model ({model_limit}) in agent.toml"
            )
        if chunks > self.schema.blocks + self.schema.exact_size:
            raise MalformedError("more chunks than the model has blocks")
        self._vector = np.zeros(self.schema.size, self.schema.dtype)
        self._exact = bytearray(self.schema.exact_size)
        self._ranges: list[_Range | None] = [None] * chunks

    def add(self, index: int, payload: bytes) -> None:
        """Take one chunk's payload in.

        Raises:
            PeerError: It does not fit the schema.
        """
        chunk = chunks.parse(payload, len(payload))
        if chunk.section == chunks.VECTOR:
            start = chunk.first * BLOCK
            values = chunks.values(chunk, self.schema)
            self._vector[start : start + len(values)] = values
        else:
            self._exact[chunk.first : chunk.first + chunk.count] = chunks.raw(chunk, self.schema)
        self._ranges[index] = _range(chunk)

    def finish(self) -> Model:
        """Return the model.

        Raises:
            PeerError: Chunks are missing or overlap, or the digest is not the announced one.
        """
        here = [piece for piece in self._ranges if piece is not None]
        if len(here) != len(self._ranges):
            raise MalformedError("chunks are missing")
        chunks.covers(here, self.schema)
        exact = bytes(self._exact)
        if schema.model_digest(self.schema, self._vector, exact) != self.version.digest:
            raise MalformedError("the model is not the announced one")
        return Model(self.version, self.schema, self._vector, exact)


def open_broadcast(
    payload: bytes, version: Announcement, kind: Kind, index: int, total: int, key: SymmetricKey, limit: int
) -> bytes:
    """Return the plaintext of one chunk or page of a version.

    Raises:
        PeerError: It does not open, or belongs elsewhere.
    """
    frame = frames.read(payload, limit)
    header = frame.header
    found = (header.federation, header.run, header.sender, header.recipient, header.kind)
    if found != (version.federation, version.run, COORDINATOR, EVERYONE, kind):
        raise MalformedError("a model frame of another federation, run or kind")
    if (header.transfer, header.index, header.total) != (version.transfer, index, total):
        raise MalformedError("a model frame of another publication or place")
    if header.key_id != version.key:
        raise MalformedError("a model frame under another group key")
    return frames.open_frame(frame, key)


def read_inline(
    version: Announcement, key: SymmetricKey, frame_limit: int, schema_limit: int, model_limit: int
) -> Model:
    """Return the model that lies inside an announcement.

    Raises:
        PeerError: It does not open, or is not what the announcement says.
        ConfigError: It is larger than ``model_limit``.
    """
    plain = open_broadcast(version.model, version, Kind.MODEL_CHUNK, 0, 1, key, frame_limit)
    content = messages.decode(plain, ModelContent, frame_limit)
    building = Building(version, content.schema, len(content.chunks), schema_limit, model_limit)
    for index, payload in enumerate(content.chunks):
        building.add(index, payload)
    return building.finish()


def matches(payload: bytes, digest: bytes) -> bool:
    """Whether a frame is the one that a manifest names."""
    return frame_digest(payload) == digest


def _range(chunk: Chunk) -> _Range:
    return _Range(chunk.section, chunk.first, chunk.count, chunk.encoding)
