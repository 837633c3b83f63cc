"""Announcements: signed by the coordinator, so that nobody who merely holds the group key can forge a model.

Guarantees: what `verify` returns was signed by the holder of the signing key, byte for byte as received.
Not done here: judging freshness; a broker may serve an old announcement (see ``frozen`` in the protocol).
"""

from typing import cast

from antiphon.codecs import messages, sealing
from antiphon.codecs.errors import LimitError, MalformedError, VersionError
from antiphon.codecs.messages import WIRE, Announcement
from antiphon.codecs.sealing import SigningKey

CONTEXT = b"antiphon-announcement-1\x00"
"""Signed before the payload, so that the signature can stand for nothing else."""


def sign(announcement: Announcement, key: SigningKey) -> bytes:
    """Return msgpack ``[payload, signature]``."""
    payload = messages.encode(announcement)
    return messages.pack([payload, key.sign(CONTEXT + payload)])


def verify(raw: bytes, public: bytes, limit: int) -> Announcement:
    """Read and verify an announcement.

    Args:
        raw: the message as received.
        public: the coordinator's verify key, 32 bytes.
        limit: most bytes taken.

    Raises:
        LimitError: ``raw`` is longer.
        SealError: the signature is not the coordinator's.
        VersionError: it is, but speaks another wire version.
        MalformedError: not an announcement.
    """
    if len(raw) > limit:
        raise LimitError("an announcement in bytes", len(raw), limit)
    payload, signature = messages.unpack_pair(raw, "an announcement must be [payload, signature]")
    sealing.verify(CONTEXT + payload, signature, public)
    try:
        found = messages.decode(payload, Announcement, limit)
    except MalformedError:
        plain: object = messages.unpack(payload)
        wire = cast(dict[object, object], plain).get("wire") if isinstance(plain, dict) else None
        if type(wire) is int and wire != WIRE:  # another version may have other fields
            raise VersionError(wire, WIRE) from None
        raise
    if found.wire != WIRE:
        raise VersionError(found.wire, WIRE)
    return found
