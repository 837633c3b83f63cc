"""The frames of one transfer of one update: its offer and its chunks, sealed under a key of their own.

Guarantees: chunks come from the bytes on disk, so that a frame that is sent again has the same content, by
another process of this agent too: its `Record` brings the same key and the same cut back. Another cut or
another key is another transfer. Making frames is CPU work: services call it through ``environment.run``.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from msgspec import structs

from antiphon.agents.entries import Entry, Record
from antiphon.codecs import chunks, encodings, frames, messages, schema, sealing
from antiphon.codecs.chunks import VECTOR, Cut
from antiphon.codecs.errors import ConfigError
from antiphon.codecs.frames import Header, Kind
from antiphon.codecs.messages import Announcement, Offer
from antiphon.codecs.schema import BLOCK, Schema
from antiphon.codecs.sealing import SecretKey, SymmetricKey

log = logging.getLogger("antiphon.agents")

HEAD_ROOM = 64
"""Bytes that a chunk payload may need besides its data."""

MOST_SEND = 2**53
"""The largest number of a message."""

FRAME_ROOM = 512
"""Bytes that header and seal of a frame may need."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """What both kinds of frames need; see `begin`."""

    entry: Entry
    schema: Schema
    key: SymmetricKey
    header: Header  # of its offers
    cuts: tuple[Cut, ...]
    inline: tuple[bytes, ...]
    sizes: tuple[int, ...]
    metrics: Mapping[str, float]
    record: Record

    @property
    def id(self) -> bytes:
        """The transfer id, 16 bytes."""
        return self.header.transfer

    def fits(self, limit: int) -> bool:
        """Whether its frames have at most ``limit`` bytes."""
        return not self.sizes or self.record.frame_limit <= limit or max(self.sizes) <= limit

    @property
    def offer_size(self) -> int:
        """Bytes of the offer, at most: a repeated one has a send number."""
        return frames.sealed_size(self.header, len(self._offer(MOST_SEND)))

    def offer(self, send: int) -> bytes:
        """Return the sealed offer; ``send`` is 0, or the send number of a repetition."""
        return frames.seal_frame(self.header, self.key, self._offer(send))

    def _offer(self, send: int) -> bytes:
        head = self.entry.head
        payloads = sum(map(len, self.inline)) if self.inline else sum(map(_bound, self._encoded_sizes()))
        offer = Offer(
            incarnation=head.incarnation,
            sequence=head.sequence,
            base=head.base,
            base_number=head.base_number,
            schema=self.schema.digest,
            digest=head.digest,
            encoding=head.encoding,
            chunks=len(self.cuts),
            size=payloads,
            examples=head.examples,
            steps=head.steps,
            seconds=head.seconds,
            metrics=dict(self.metrics),
            inline=list(self.inline),
            schema_body=head.schema if head.initial else b"",
            send=send,
        )
        return messages.encode(offer)

    def chunk(self, index: int, send: int) -> bytes:
        """Return the sealed frame of one chunk.

        Raises:
            StateError: The update's file is gone or damaged.
            OSError: The disk does not answer.
        """
        vector, exact = self.entry.content()
        payload = chunks.cut(self.schema, self.entry.head.encoding, vector, exact, self.cuts[index])
        total = len(self.cuts)
        header = structs.replace(self.header, kind=Kind.UPDATE_CHUNK, index=index, total=total, one_time=b"")
        return frames.seal_frame(header, self.key, messages.pack([send, payload]))

    def _encoded_sizes(self) -> list[int]:
        return [_encoded(self.schema, self.entry.head.encoding, cut) for cut in self.cuts]


def begin(
    entry: Entry,
    header: Header,
    announcement: Announcement,
    largest: int,
    derive: Callable[[bytes, SecretKey, bytes], SymmetricKey],
) -> Transfer:
    """Go on with the update's transfer, or plan one: inside its offer if it fits, otherwise in chunks.

    Args:
        entry: The update.
        header: Of an offer from this agent, with the id of a new transfer; the keys are filled in.
        announcement: Names the epoch key and the limits.
        largest: Bytes of the largest frame that the broker takes.
        derive: (transfer id, one-time key, epoch public key) -> the transfer's key.

    Raises:
        ConfigError: The broker's packets cannot hold one block.
        StateError: The update's file is gone or damaged.
        OSError: The disk does not answer.
        SealError: The epoch key is none.
    """
    head = entry.head
    limit, most = min(announcement.frame, largest), min(announcement.offer, largest)
    own = schema.decode(head.schema, len(head.schema))
    if entry.record is not None:
        # The coordinator keeps an epoch key as long as an upload uses it; if not, it says so.
        known = _chunked(entry, own, header, entry.record, derive)
        if known.fits(limit):
            return _fitting(known, most)
    record = Record(header.transfer, SecretKey.generate(), announcement.epoch, limit, 0)
    transfer = _chunked(entry, own, header, record, derive)
    # Floats rarely shrink to less than an eighth: what is larger is not worth trying.
    if head.size <= 8 * most:
        vector, exact = entry.content()
        payloads = tuple(chunks.cut(own, head.encoding, vector, exact, cut) for cut in transfer.cuts)
        small = replace(transfer, inline=payloads, sizes=())
        if small.offer_size <= most:
            return small
    return _fitting(transfer, most)


def _chunked(
    entry: Entry,
    own: Schema,
    header: Header,
    record: Record,
    derive: Callable[[bytes, SecretKey, bytes], SymmetricKey],
) -> Transfer:
    head = entry.head
    cuts = chunks.plan(own, head.encoding, record.frame_limit)
    key = derive(record.transfer, record.secret, record.epoch)
    key_id, one_time = sealing.epoch_id(record.epoch), record.secret.public
    named = structs.replace(header, transfer=record.transfer, key_id=key_id, one_time=one_time)
    sizes = tuple(FRAME_ROOM + _bound(_encoded(own, head.encoding, cut)) for cut in cuts)
    return Transfer(entry, own, key, named, cuts, (), sizes, head.metrics, record)


def _fitting(transfer: Transfer, most: int) -> Transfer:
    """Return the transfer with an offer of at most ``most`` bytes, without its metrics if need be."""
    if transfer.offer_size <= most:
        return transfer
    bare = replace(transfer, metrics={})
    if bare.offer_size <= most:
        log.warning(
            "the metrics of update %d do not fit its offer and stay here", transfer.entry.head.sequence
        )
        return bare
    raise ConfigError(
        f"an offer takes at most {most} bytes, too few for this model's schema: raise limits.offer in "
        "coordinator.toml, or give the coordinator its first version as a file"
    )


def _encoded(own: Schema, encoding: str, cut: Cut) -> int:
    if cut.section == VECTOR:
        return encodings.encoded_size(encoding, min(cut.count * BLOCK, own.size - cut.first * BLOCK))
    return cut.count


def _bound(size: int) -> int:
    # zstd adds 3 bytes to every 128 KiB that it cannot compress.
    return size + size // 16384 + HEAD_ROOM
