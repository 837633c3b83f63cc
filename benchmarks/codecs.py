"""How fast this machine turns vectors into sealed frames and back, on one core.

    python benchmarks/codecs.py [--elements 8000000] [--repeat 5]

Prints the median MB/s of every step, counted in bytes of the float32 vector; small Gaussian numbers stand in
for an update. "random" is the worst case for zstd: bytes that do not compress.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.codecs import chunks, encodings, frames, messages, schema, sealing

FRAME = 524288


def rate(work: Callable[[], object], size: int, repeat: int) -> float:
    """Return the median MB/s of ``repeat`` runs over ``size`` bytes."""
    seconds: list[float] = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return size / median(seconds) / 1e6


class Steps:
    """One encoding's way from a vector to sealed frames and back, step by step."""

    def __init__(self, vector: NDArray[Any], encoding: str) -> None:
        """``vector`` is one-dimensional float32."""
        self.vector, self.encoding = vector, encoding
        self.schema = schema.infer({"w": vector})
        self.cuts = chunks.plan(self.schema, encoding, FRAME)
        self.key = sealing.SymmetricKey(sealing.SecretKey.generate().export())
        self.rng = np.random.default_rng(0)

    def encode(self) -> None:
        """Vector to encoded bytes."""
        self.encoded = encodings.encode(self.vector, self.encoding, self.rng)

    def compress(self) -> None:
        """Encoded bytes to chunk payloads: byte shuffle and zstd."""
        self.payloads = [chunks.cut(self.schema, self.encoding, self.encoded, b"", cut) for cut in self.cuts]

    def seal(self) -> None:
        """Chunk payloads to sealed frames."""
        self.frames = [
            frames.seal_frame(self._header(index), self.key, messages.pack([index, payload]))
            for index, payload in enumerate(self.payloads)
        ]

    def open(self) -> None:
        """Sealed frames to chunks: read, open, parse."""
        opened = [frames.open_frame(frames.read(data, FRAME), self.key) for data in self.frames]
        self.parsed = [chunks.parse(messages.unpack(plain)[1], FRAME) for plain in opened]

    def decode(self) -> None:
        """Chunks to a vector: zstd, byte shuffle, numbers."""
        out = np.empty(self.schema.size, np.float32)
        for chunk in self.parsed:
            part = chunks.values(chunk, self.schema)
            first = chunk.first * schema.BLOCK
            out[first : first + part.size] = part

    def digest(self) -> None:
        """Root digest of the update."""
        state = chunks.UpdateDigest(self.schema.digest, bytes(32), self.encoding)
        state.update(self.encoded)
        state.digest()

    def _header(self, index: int) -> frames.Header:
        some = bytes(16)
        kind = frames.Kind.UPDATE_CHUNK
        total = len(self.cuts)
        return frames.Header(1, "bench", some, "agent", "coordinator", kind, bytes(8), some, index, total)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--elements", type=int, default=8_000_000, help="numbers in the vector")
    parser.add_argument("--repeat", type=int, default=5, help="runs of which the median counts")
    options = parser.parse_args()
    elements, repeat = int(options.elements), int(options.repeat)
    rng = np.random.default_rng(0)
    normal = (rng.standard_normal(elements) * 1e-3).astype(np.float32)
    noise = rng.integers(0, 2**32, elements, np.uint32).view(np.float32)
    names = ("encode", "compress", "seal", "open", "decode", "digest")
    print(f"{'MB/s of float32':<16}" + "".join(f"{name:>10}" for name in names) + f"{'sealed':>9}")
    for label, vector, encoding in [(name, normal, name) for name in encodings.ENCODINGS] + [
        ("random", noise, "float32")
    ]:
        steps = Steps(vector, encoding)
        rates = [rate(getattr(steps, name), vector.nbytes, repeat) for name in names]
        share = sum(map(len, steps.frames)) / vector.nbytes
        print(f"{label:<16}" + "".join(f"{value:>10.0f}" for value in rates) + f"{share:>8.1%}", flush=True)


if __name__ == "__main__":
    main()
