"""A version as sealed frames."""

from pathlib import Path

import numpy as np
import pytest

from antiphon.broker_config.disk import RealDisk
from antiphon.codecs import chunks, frames, messages, schema, sealing
from antiphon.codecs.messages import Manifest, Page
from antiphon.codecs.sealing import SecretKey, SigningKey, SymmetricKey
from antiphon.coordinator import publication
from antiphon.coordinator.keys import Identity
from tests.coordinator.made import version

IDENTITY = Identity("f", SecretKey.generate(), SigningKey.generate())
KEY = sealing.new_group_key()
LIMIT = 1 << 20
DISK = RealDisk()


@pytest.mark.parametrize("tensors", [1, 600])
def test_slot_holds_pages_and_chunks_that_fit_and_add_up(tmp_path: Path, tensors: int) -> None:
    rng = np.random.default_rng(0)
    names = {f"layer.{n:04d}.with-a-long-name": rng.normal(size=3000) for n in range(tensors)}
    found = schema.infer(names)
    vector, exact = found.pack(names)
    packet = 9000
    model = version(found, vector, exact)
    sealed = publication.seal_slot(
        IDENTITY, b"r" * 16, model, KEY, b"p" * 16, tmp_path, 2, packet, DISK, sync=True
    )
    secret = SymmetricKey(KEY.key)
    pages: list[Page] = []
    digests: list[bytes] = []
    for n in range(sealed.pages):
        data = publication.page_file(tmp_path, n).read_bytes()
        assert len(data) <= packet
        digests.append(frames.frame_digest(data))
        pages.append(messages.decode(frames.open_frame(frames.read(data, LIMIT), secret), Page, LIMIT))
    assert digests[0] == sealed.page
    assert pages[0].others == b"".join(digests[1:])
    assert (sealed.pages > 1) == (tensors > 1)
    manifest = messages.decode(b"".join(page.piece for page in pages), Manifest, LIMIT << 2)
    assert manifest.schema == found.encode()
    parts: list[bytes] = []
    for n in range(sealed.chunks):
        data = publication.chunk_file(tmp_path, n).read_bytes()
        assert len(data) <= packet
        assert manifest.digests[32 * n : 32 * n + 32] == frames.frame_digest(data)
        frame = frames.read(data, LIMIT)
        assert (frame.header.index, frame.header.total) == (n, sealed.chunks)
        parts.append(chunks.raw(chunks.parse(frames.open_frame(frame, secret), LIMIT), found))
    assert b"".join(parts) == vector.tobytes() + exact


@pytest.mark.parametrize(("elements", "inside"), [(60, True), (100_000, True), (131_072, False)])
def test_model_goes_inside_if_it_fits_the_packet_incompressible(elements: int, inside: bool) -> None:
    vector = np.random.default_rng(0).normal(size=elements).astype(np.float32)
    found = schema.infer({"w": vector})
    assert publication.fits_inside(found, 512 << 10, 0) == inside
    if inside:
        sealed = publication.seal_inside(
            IDENTITY, b"r" * 16, version(found, vector), KEY, b"p" * 16, 512 << 10
        )
        assert len(sealed.model) + 1024 <= 512 << 10
        assert sealed.slot == -1
