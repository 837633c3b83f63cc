"""A version as sealed frames: inside one announcement, or as files of a slot, written once and sent often.

Digests are over sealed frames, so what is sent again is the same bytes; sealing afresh makes another
publication.
CPU and disk work: off the event loop. Not done here: publishing (see `antiphon.coordinator.broadcast`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from antiphon.broker_config.disk import Disk
from antiphon.codecs import chunks, frames, messages
from antiphon.codecs.digests import little_endian
from antiphon.codecs.encodings import encoded_size
from antiphon.codecs.errors import PeerError
from antiphon.codecs.frames import Kind
from antiphon.codecs.messages import GroupKey, Manifest, ModelContent, Page
from antiphon.codecs.schema import Schema
from antiphon.codecs.sealing import SymmetricKey
from antiphon.coordinator.keys import Identity, to_all
from antiphon.coordinator.models import Model

HEAD = 4096
"""Bytes that an announcement needs besides the model at most: its fields, 64 hints and the seals."""

DIGEST = 32


@dataclass(frozen=True, slots=True)
class Publication:
    """A sealed version.

    Attributes:
        id: 16 random bytes.
        key: Id of the group key.
        model: The sealed frame, if it goes inside the announcement.
        slot: Where it lies otherwise; -1 if inside.
        chunks: Chunk frames in the slot.
        pages: Manifest pages in the slot.
        page: Digest of the sealed frame of page 0.
        size: Bytes of all sealed frames.
        largest: Bytes of the largest of them.
    """

    id: bytes
    key: bytes
    model: bytes = b""
    slot: int = -1
    chunks: int = 0
    pages: int = 0
    page: bytes = b""
    size: int = 0
    largest: int = 0


def plain_size(schema: Schema) -> int:
    """Bytes of a model before compression."""
    return encoded_size(schema.dtype, schema.size) + schema.exact_size


def fits_inside(schema: Schema, packet: int, hints: int) -> bool:
    """Whether every version fits a packet of so many bytes, compressible or not; ``hints``: their bytes."""
    pieces = len(chunks.plan(schema, schema.dtype, packet))
    return plain_size(schema) + len(schema.encode()) + pieces * chunks.RESERVE + HEAD + hints <= packet


def seal_inside(
    identity: Identity, run: bytes, model: Model, key: GroupKey, id: bytes, packet: int
) -> Publication:
    """Seal a small version as one frame."""
    content = ModelContent(schema=model.schema.encode(), chunks=list(_payloads(model, packet)))
    header = to_all(identity, run, Kind.MODEL_CHUNK, key, id, 0, 1)
    sealed = frames.seal_frame(header, SymmetricKey(key.key), messages.encode(content))
    return Publication(id, key.id, model=sealed, size=len(sealed), largest=len(sealed))


def seal_slot(
    identity: Identity,
    run: bytes,
    model: Model,
    key: GroupKey,
    id: bytes,
    folder: Path,
    slot: int,
    packet: int,
    disk: Disk,
    *,
    sync: bool,
) -> Publication:
    """Seal a version into a slot's folder; what was in it is overwritten.

    Raises:
        OSError: The disk is full, for instance.
    """
    disk.make(folder)
    secret = SymmetricKey(key.key)
    written: dict[Path, int] = {}

    def write(path: Path, data: bytes) -> None:
        disk.write(path, [data], sync=False)
        written[path] = len(data)

    total = len(chunks.plan(model.schema, model.schema.dtype, packet))
    digests: list[bytes] = []
    for index, payload in enumerate(_payloads(model, packet)):
        header = to_all(identity, run, Kind.MODEL_CHUNK, key, id, index, total)
        sealed = frames.seal_frame(header, secret, payload)
        write(chunk_file(folder, index), sealed)
        digests.append(frames.frame_digest(sealed))
    pages = _pages(model.schema.encode(), b"".join(digests), packet)
    others: list[bytes] = []
    for index in reversed(range(len(pages))):
        page = Page(piece=pages[index], others=b"".join(reversed(others)) if index == 0 else b"")
        header = to_all(identity, run, Kind.MANIFEST_PAGE, key, id, index, len(pages))
        sealed = frames.seal_frame(header, secret, messages.encode(page))
        write(page_file(folder, index), sealed)
        others.append(frames.frame_digest(sealed))
    if sync:
        disk.sync(written)
    sizes = written.values()
    return Publication(id, key.id, b"", slot, total, len(pages), others[-1], sum(sizes), max(sizes))


def intact(sealed: Publication, folder: Path, disk: Disk, key: GroupKey) -> bool:
    """Whether a slot's folder still holds, byte for byte, what was sealed into it."""
    secret = SymmetricKey(key.key)
    try:
        pages: list[bytes] = []
        expected = sealed.page
        for index in range(sealed.pages):
            data = disk.read(page_file(folder, index))
            if frames.frame_digest(data) != expected[DIGEST * index : DIGEST * (index + 1)]:
                return False
            page = messages.decode(frames.open_frame(frames.read(data, len(data)), secret), Page, len(data))
            expected += page.others
            pages.append(page.piece)
        whole = b"".join(pages)
        digests = messages.decode(whole, Manifest, len(whole)).digests
        if len(digests) != DIGEST * sealed.chunks:
            return False
        found = (frames.frame_digest(disk.read(chunk_file(folder, n))) for n in range(sealed.chunks))
        return all(each == digests[DIGEST * n : DIGEST * (n + 1)] for n, each in enumerate(found))
    except (OSError, PeerError):
        return False


def chunk_file(folder: Path, index: int) -> Path:
    """Where a sealed chunk lies."""
    return folder / str(index)


def page_file(folder: Path, index: int) -> Path:
    """Where a sealed manifest page lies."""
    return folder / f"m{index}"


def _payloads(model: Model, packet: int) -> Iterator[bytes]:
    """Yield the chunk payloads; the vector's own memory is what is cut, nothing is copied whole."""
    schema = model.schema
    encoded = little_endian(model.vector)
    for piece in chunks.plan(schema, schema.dtype, packet):
        yield chunks.cut(schema, schema.dtype, encoded, model.exact, piece)


def _pages(schema: bytes, digests: bytes, packet: int) -> list[bytes]:
    """Cut the manifest so that each page fits a packet, page 0 with the digests of the others."""
    manifest = messages.encode(Manifest(schema=schema, digests=digests))
    room = packet - chunks.RESERVE
    # Page 0 also holds 32 bytes for each of the others; a page less room for it makes that converge at once.
    count = -(-len(manifest) // room)
    first = max(1, room - DIGEST * (count + 1))
    pages = [manifest[:first]]
    pages += [manifest[at : at + room] for at in range(first, len(manifest), room)]
    return pages
