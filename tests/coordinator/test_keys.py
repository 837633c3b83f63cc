"""The coordinator's keys, as agents must be able to use them."""

import pytest

from antiphon.codecs import frames, messages, sealing
from antiphon.codecs.errors import SealError
from antiphon.codecs.messages import GroupKeys
from antiphon.codecs.sealing import SecretKey, SigningKey
from antiphon.coordinator.keys import GroupRing, Identity, meet

IDENTITY = Identity("f", SecretKey.generate(), SigningKey.generate())


def test_agent_derives_the_same_keys_from_its_own_secret() -> None:
    secret = SecretKey.generate()
    peer = meet(IDENTITY, "a", secret.public, False)
    theirs = IDENTITY.secret.public
    pair = sealing.pair_key(secret, theirs, federation="f", agent=secret.public, coordinator=theirs)
    assert pair == peer.pair
    assert sealing.purpose_key(pair, "note", b"a") == peer.note
    assert sealing.purpose_key(pair, "receipt", b"a") == peer.receipt
    assert len({key.export() for key in (peer.pair, peer.note, peer.receipt, peer.group)}) == 4


def test_low_order_key_is_refused() -> None:
    with pytest.raises(SealError):
        meet(IDENTITY, "a", bytes(32), False)


def test_group_keys_open_for_their_agent_alone() -> None:
    peer, other = (meet(IDENTITY, id, SecretKey.generate().public, False) for id in ("a", "b"))
    ring = GroupRing.of()
    frame = frames.read(ring.frame(IDENTITY, b"r" * 16, peer, 7, 3), 10_000)
    found = messages.decode(frames.open_frame(frame, peer.group), GroupKeys, 10_000)
    assert (found.term, found.counter, found.keys) == (7, 3, [ring.current])
    with pytest.raises(SealError):
        frames.open_frame(frame, other.group)
    assert ring.current.key.hex() not in repr(ring)


def test_group_keys_of_an_earlier_start_are_used_again() -> None:
    ring = GroupRing.of()
    assert GroupRing.of(ring.keys).current == ring.current
    assert GroupRing.of().current != ring.current
