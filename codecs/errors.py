"""Every error that Antiphon raises on purpose, split by whose fault it is.

::

    AntiphonError
    ├── PeerError            bytes from outside are wrong: count them and drop them
    │   ├── MalformedError       not the shape that the protocol says
    │   ├── LimitError           larger than the limit that the caller gave
    │   ├── SealError            does not open: tampered, foreign, or under another key
    │   ├── VersionError         another wire version
    │   ├── SchemaError          the model has other tensors than expected
    │   └── Rejected             an update that may not count; carries its ``reason``
    ├── TransportError       the line or the broker: try again
    │   ├── NotConnected         nothing was sent
    │   ├── PublishRefused       the broker said no to this one message
    │   └── PacketTooLarge       larger than the broker takes; nothing was sent
    ├── ConfigError          a person must change something: stop and say what
    │   └── StateError           a file or folder is missing, foreign, damaged or full
    └── TrainerError         the user's trainer raised or returned something unusable

Programming errors stay Python's own. Errors carry data; the class makes the sentence.
"""


class AntiphonError(Exception):
    """The root of the tree."""


class PeerError(AntiphonError):
    """Bytes from outside are wrong: count them and drop them."""


class MalformedError(PeerError):
    """Bytes that do not have the shape that the protocol says."""


class LimitError(PeerError):
    """Something is larger than the limit that the caller gave."""

    def __init__(self, what: str, size: int, limit: int) -> None:
        """``what`` names the thing; ``size`` and ``limit`` share its unit."""
        super().__init__(f"{what} is {size}, more than the limit of {limit}")
        self.what, self.size, self.limit = what, size, limit


class SealError(PeerError):
    """A frame or a signature does not open: tampered, foreign, or under another key."""


class VersionError(PeerError):
    """A frame of another wire version."""

    def __init__(self, theirs: int, ours: int) -> None:
        """``theirs`` and ``ours`` are wire versions."""
        super().__init__(
            f"the peer speaks wire version {theirs}, this software speaks {ours}: upgrade the older one"
        )
        self.theirs, self.ours = theirs, ours


class SchemaError(PeerError):
    """A model has other tensors than expected; the message names the first that differs."""


class Rejected(PeerError):
    """An update that may not count. ``reason`` is one of `antiphon.codecs.messages.REASONS`."""

    def __init__(self, reason: str, detail: str = "") -> None:
        """``detail`` is a sentence for people."""
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


class TransportError(AntiphonError):
    """The line or the broker failed: try again."""


class NotConnected(TransportError):
    """There is no connection; nothing was sent."""


PASSING = frozenset({0x83, 0x91, 0x97})
"""MQTT 5 reason codes of a refusal that another try may not meet: implementation specific (often a rate),
packet id in use, quota exceeded."""


class PublishRefused(TransportError):
    """The broker refused one message."""

    def __init__(self, message: str, code: int = 0x80) -> None:
        """``code``: MQTT 5 reason code."""
        super().__init__(message)
        self.code = code

    @property
    def passing(self) -> bool:
        """Whether the same message may be taken a little later."""
        return self.code in PASSING


class PacketTooLarge(TransportError):
    """A packet is larger than the broker takes; nothing was sent."""

    def __init__(self, size: int, limit: int) -> None:
        """``size`` and ``limit`` in bytes."""
        super().__init__(f"a packet of {size} bytes exceeds the broker's limit of {limit} bytes")
        self.size, self.limit = size, limit


class ConfigError(AntiphonError):
    """A person must change something; the message says what."""


class StateError(ConfigError):
    """A file or folder is missing, foreign, damaged or full; the message says which and what to do."""


class TrainerError(AntiphonError):
    """The user's trainer raised, or returned something unusable."""
