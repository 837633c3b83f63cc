import copy
import inspect
import pickle  # to show that keys refuse it
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.codecs import sealing
from antiphon.codecs.errors import ConfigError, PeerError, SealError
from antiphon.codecs.messages import GroupKey
from antiphon.codecs.sealing import SecretKey, SigningKey, SymmetricKey

P = 2**255 - 19
LOW_ORDER = [
    0,
    1,
    P - 1,
    P,
    P + 1,
    int.from_bytes(
        bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"), "little"
    ),
    int.from_bytes(
        bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"), "little"
    ),
]
# X25519 ignores the highest bit, so every point has two spellings.
POINTS = [(value | bit << 255).to_bytes(32, "little") for bit in (0, 1) for value in LOW_ORDER]

AGENT, COORDINATOR = (SecretKey.load(bytes([n]) * 32) for n in (1, 2))
KEYS: list[Any] = [SymmetricKey(b"s" * 32), SecretKey.load(b"s" * 32), SigningKey.load(b"s" * 32)]


def pair(own: SecretKey, theirs: bytes, federation: str = "banks") -> SymmetricKey:
    return sealing.pair_key(
        own, theirs, federation=federation, agent=AGENT.public, coordinator=COORDINATOR.public
    )


def test_both_parties_derive_the_same_pair_key() -> None:
    assert pair(AGENT, COORDINATOR.public) == pair(COORDINATOR, AGENT.public)


def test_pair_key_differs_between_federations() -> None:
    assert pair(AGENT, COORDINATOR.public) != pair(AGENT, COORDINATOR.public, "other")


def test_pair_key_of_somebody_else_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="must be"):
        pair(SecretKey.generate(), COORDINATOR.public)
    with pytest.raises(ValueError, match="must be"):
        pair(AGENT, SecretKey.generate().public)


def test_every_purpose_and_id_has_a_key_of_its_own() -> None:
    both = pair(AGENT, COORDINATOR.public)
    keys = {
        sealing.purpose_key(both, purpose, id).export()
        for purpose in ("update", "note", "receipt", "group-key")
        for id in (b"bank-1", b"bank-2")
    }
    assert len(keys) == 8
    assert both.export() not in keys


def test_both_ends_derive_the_same_update_key_and_each_ingredient_matters() -> None:
    both, transfer = pair(AGENT, COORDINATOR.public), bytes(16)
    once, epoch = SecretKey.generate(), SecretKey.generate()
    key = sealing.update_key(both, transfer, once, epoch.public)
    assert key == sealing.update_key(both, transfer, epoch, once.public)
    others = (
        sealing.update_key(both, bytes([1]) * 16, once, epoch.public),
        sealing.update_key(both, transfer, SecretKey.generate(), epoch.public),
        sealing.update_key(SymmetricKey(bytes(32)), transfer, once, epoch.public),
    )
    assert key not in others


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.hex()[:8])
def test_public_key_of_low_order_is_refused_everywhere(point: bytes) -> None:
    both = SymmetricKey(bytes(32))
    with pytest.raises(SealError):
        sealing.check_public(point)
    with pytest.raises(SealError):
        sealing.pair_key(AGENT, point, federation="banks", agent=AGENT.public, coordinator=point)
    with pytest.raises(SealError):
        sealing.update_key(both, bytes(16), AGENT, point)
    with pytest.raises(SealError):
        sealing.seal_anonymous(point, b"password")


@pytest.mark.parametrize("length", [0, 31, 33])
def test_public_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(SealError):
        sealing.check_public(bytes([9]) * length)


def test_honest_public_key_passes() -> None:
    sealing.check_public(SecretKey.generate().public)


@pytest.mark.parametrize("key", KEYS, ids=lambda key: type(key).__name__)
def test_key_shows_nothing_of_itself_and_cannot_be_copied(key: Any) -> None:
    for text in (repr(key), str(key), f"{key}", f"{[key]}"):
        assert "ssss" not in text
        assert "73737373" not in text
        assert "***" in text
    for copier in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="neither"):
            copier(key)
    assert not hasattr(key, "__dict__")


def test_group_key_shows_nothing_of_itself_and_cannot_be_pickled() -> None:
    key = sealing.new_group_key()
    assert repr(key.key) not in repr(key)
    assert "***" in str(key)
    with pytest.raises(TypeError):
        pickle.dumps(key)
    assert (len(key.id), len(key.key)) == (8, 32)
    assert isinstance(key, GroupKey)


@pytest.mark.parametrize("kind", [SymmetricKey, SecretKey, SigningKey])
def test_keys_compare_by_value_and_kind(kind: Any) -> None:
    assert kind(bytes(32)) == kind(bytes(32))
    assert kind(bytes(32)) != kind(b"1" * 32)
    assert len({kind(bytes(32)), kind(bytes(32))}) == 1
    assert kind(bytes(32)) != bytes(32)
    assert SymmetricKey(bytes(32)) != SecretKey.load(bytes(32))


@pytest.mark.parametrize("kind", [SecretKey, SigningKey])
def test_stored_key_is_loaded_and_a_damaged_one_refused(kind: Any) -> None:
    key = kind.generate()
    assert kind.load(key.export()) == key
    assert kind.load(key.export()).public == key.public
    assert kind.generate() != key
    with pytest.raises(ConfigError):
        kind.load(bytes(31))


def test_no_public_function_takes_a_nonce_a_seed_or_a_generator() -> None:
    for name, function in inspect.getmembers(sealing, callable):
        if not name.startswith("_") and function.__module__ == sealing.__name__:
            names = set(inspect.signature(function).parameters)
            assert not names & {"nonce", "seed", "rng", "generator"}, name


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_sealed_bytes_open_under_the_same_key_and_associated_data(
    plaintext: bytes, associated: bytes
) -> None:
    sealed = sealing.seal(KEYS[0], plaintext, associated)
    assert len(sealed) == len(plaintext) + 40
    assert sealing.open_sealed(KEYS[0], sealed, associated) == plaintext
    with pytest.raises(SealError):
        sealing.open_sealed(KEYS[0], sealed, associated + b"x")
    with pytest.raises(SealError):
        sealing.open_sealed(SymmetricKey(bytes(32)), sealed, associated)


@given(st.binary(max_size=120))
def test_random_bytes_do_not_open(data: bytes) -> None:
    for work in (
        lambda: sealing.open_sealed(KEYS[0], data, b""),
        lambda: sealing.open_anonymous(AGENT, data),
        lambda: sealing.verify(data, data, data),
        lambda: sealing.verify(data, (data + bytes(64))[:64], (data + bytes(32))[:32]),
    ):
        with pytest.raises(PeerError):
            work()


def test_admission_opens_for_its_agent_alone() -> None:
    sealed = sealing.seal_anonymous(AGENT.public, b"password")
    assert sealing.open_anonymous(AGENT, sealed) == b"password"
    with pytest.raises(SealError):
        sealing.open_anonymous(COORDINATOR, sealed)
    for place in range(len(sealed)):
        tampered = bytearray(sealed)
        tampered[place] ^= 1
        with pytest.raises(SealError):
            sealing.open_anonymous(AGENT, bytes(tampered))


def test_signature_of_another_message_does_not_verify() -> None:
    key = SigningKey.generate()
    signature = key.sign(b"message")
    sealing.verify(b"message", signature, key.public)
    for message, by in ((b"massage", key), (b"message", SigningKey.generate())):
        with pytest.raises(SealError):
            sealing.verify(message, signature, by.public)


def test_epoch_id_is_short_and_its_own() -> None:
    assert len(sealing.epoch_id(AGENT.public)) == 8
    assert sealing.epoch_id(AGENT.public) != sealing.epoch_id(COORDINATOR.public)


def test_build_of_libsodium_that_returns_zero_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def zero(secret: bytes, public: bytes) -> bytes:
        return bytes(32)

    monkeypatch.setattr(sealing.bindings, "crypto_scalarmult", zero)
    with pytest.raises(SealError):
        sealing.check_public(AGENT.public)
