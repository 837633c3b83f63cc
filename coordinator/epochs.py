"""The X25519 keys that updates are sealed to: a new one every day, the old ones destroyed.

Whoever records the broker and steals a key later reads no more than that key's day. Pure: ``now`` is an
argument, and what is to be written down is said, not done.
"""

from collections.abc import Iterable
from dataclasses import replace

from antiphon.codecs import sealing
from antiphon.codecs.sealing import SecretKey
from antiphon.coordinator.ledger.records import DropEpoch, PutEpoch

LIFE = 86_400.0
"""Seconds after which the announced epoch key is superseded."""

REST = 3_600.0
"""Seconds for which a superseded epoch key is held: who read an older announcement can still offer."""


class EpochKeys:
    """The announced epoch key, and those that it superseded lately.

    Guaranteed: only what `take` was told is durable is announced or used. An upload keeps the key that was
    derived for it, so that it outlives the epoch it began in.
    """

    def __init__(self, epochs: Iterable[PutEpoch] = ()) -> None:
        """``epochs``: what an earlier start left."""
        self._epochs = {epoch.id: epoch for epoch in epochs}
        self._planned = 0

    @property
    def newest(self) -> PutEpoch | None:
        """The epoch that is announced; None before the first."""
        current = [epoch for epoch in self._epochs.values() if epoch.superseded_at is None]
        return max(current, key=lambda epoch: (epoch.made_at, epoch.id), default=None)

    @property
    def public(self) -> bytes:
        """The announced public key.

        Raises:
            ValueError: There is none yet.
        """
        if (newest := self.newest) is None:
            raise ValueError("no epoch was begun")
        return newest.secret.public

    def get(self, id: bytes) -> SecretKey | None:
        """The private half of the epoch that a frame names, if it is still held."""
        epoch = self._epochs.get(id)
        return epoch.secret if epoch is not None else None

    def plan(self, now: float) -> list[PutEpoch | DropEpoch]:
        """Return what is due at ``now`` (wall time, seconds); nothing until all of it is taken.

        A clock that was set back makes an age negative: the key is taken to be too old, which costs one more
        key, rather than lives for as long as the clock was wrong.
        """
        if self._planned:
            return []
        operations: list[PutEpoch | DropEpoch] = []
        newest = self.newest
        if newest is None or not 0.0 <= now - newest.made_at < LIFE:
            secret = SecretKey.generate()
            newest = PutEpoch(sealing.epoch_id(secret.public), secret, now, None)
            operations.append(newest)
        for _, epoch in sorted(self._epochs.items()):
            if epoch.superseded_at is None:
                if epoch.id != newest.id:
                    operations.append(replace(epoch, superseded_at=now))
            elif not 0.0 <= now - epoch.superseded_at < REST:
                operations.append(DropEpoch(epoch.id))
        self._planned = len(operations)
        return operations

    def take(self, operation: PutEpoch | DropEpoch) -> None:
        """A part of the plan is durable: from now on it is true."""
        self._planned -= 1
        if isinstance(operation, PutEpoch):
            self._epochs[operation.id] = operation
        else:
            self._epochs.pop(operation.id, None)
