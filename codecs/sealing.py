"""Keys, key derivation and authenticated encryption, all from libsodium (PyNaCl) and BLAKE2b.

Guarantees: keys and nonces are drawn by libsodium, and no public function takes a nonce, a seed or a
generator; keys show nothing of themselves when printed and cannot be pickled or copied; every direction and
purpose has a key of its own; whatever does not open raises `SealError`. XChaCha20-Poly1305
(draft-irtf-cfrg-xchacha-03), X25519 (RFC 7748), Ed25519 (RFC 8032). Not done here: storing keys.
"""

import hmac
from typing import Literal, NoReturn

import nacl.exceptions
from nacl import bindings

from antiphon.codecs.digests import digest, prefixed
from antiphon.codecs.errors import ConfigError, SealError
from antiphon.codecs.messages import GroupKey

KEY = 32
NONCE = 24
TAG = 16
SIGNATURE = 64
EPOCH_ID = 8
GROUP_ID = 8

Purpose = Literal["update", "note", "receipt", "group-key"]

_DAMAGED = (nacl.exceptions.CryptoError, nacl.exceptions.RuntimeError)


class _Hidden:
    """32 secret bytes that neither print nor pickle; equality takes the same time for every value."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY:
            raise ConfigError(f"a key must have {KEY} bytes, not {len(secret)}")
        self._secret = bytes(secret)

    def export(self) -> bytes:
        """Return the secret bytes, for storage that only their owner can read."""
        return self._secret

    def __repr__(self) -> str:
        return f"{type(self).__name__}(***)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Hidden) or type(other) is not type(self):
            return NotImplemented
        return hmac.compare_digest(self._secret, other._secret)

    def __hash__(self) -> int:
        # Keyed by a digest: a hash of the bytes themselves would carry some of them.
        return hash(digest("antiphon-hash", key=self._secret))

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("keys are neither pickled nor copied")


class SymmetricKey(_Hidden):
    """A 32-byte key of XChaCha20-Poly1305, or one from which others are derived."""

    __slots__ = ()


class SecretKey(_Hidden):
    """The secret half of an X25519 key pair."""

    __slots__ = ("public",)

    def __init__(self, secret: bytes) -> None:
        super().__init__(secret)
        self.public: bytes = bindings.crypto_scalarmult_base(self._secret)

    @classmethod
    def generate(cls) -> "SecretKey":
        """Draw a new key."""
        return cls(bindings.randombytes(KEY))

    @classmethod
    def load(cls, secret: bytes) -> "SecretKey":
        """Return the key that `export` gave.

        Raises:
            ConfigError: not 32 bytes.
        """
        return cls(secret)


class SigningKey(_Hidden):
    """The secret half of an Ed25519 key pair; ``public`` verifies."""

    __slots__ = ("public",)

    def __init__(self, secret: bytes) -> None:
        super().__init__(secret)
        self.public: bytes = bindings.crypto_sign_seed_keypair(self._secret)[0]

    @classmethod
    def generate(cls) -> "SigningKey":
        """Draw a new key."""
        return cls(bindings.randombytes(KEY))

    @classmethod
    def load(cls, secret: bytes) -> "SigningKey":
        """Return the key that `export` gave.

        Raises:
            ConfigError: not 32 bytes.
        """
        return cls(secret)

    def sign(self, message: bytes) -> bytes:
        """Return the detached signature (64 bytes); Ed25519 is deterministic."""
        return bindings.crypto_sign(message, self._secret + self.public)[:SIGNATURE]


def verify(message: bytes, signature: bytes, public: bytes) -> None:
    """Check a detached Ed25519 signature.

    Raises:
        SealError: it is not the signature of ``message`` under ``public``.
    """
    if len(signature) != SIGNATURE or len(public) != KEY:
        raise SealError("a signature or its key has another length")
    try:
        bindings.crypto_sign_open(signature + message, public)
    except _DAMAGED:
        raise SealError("a signature does not verify") from None


def pair_key(
    own: SecretKey, theirs: bytes, *, federation: str, agent: bytes, coordinator: bytes
) -> SymmetricKey:
    """Derive the key that an agent and the coordinator share.

    Args:
        own: this party's static key.
        theirs: the other party's static public key.
        federation: its name.
        agent: the agent's static public key.
        coordinator: the coordinator's static public key.

    Raises:
        SealError: ``theirs`` is of low order or not 32 bytes.
        ValueError: ``own`` and ``theirs`` are not the two parties.
    """
    if (own.public, theirs) not in ((agent, coordinator), (coordinator, agent)):
        raise ValueError("own and theirs must be the agent's and the coordinator's keys")
    context = prefixed(federation.encode()) + prefixed(agent) + prefixed(coordinator)
    return SymmetricKey(digest("antiphon-pair-1", context, key=_exchange(own, theirs)))


def purpose_key(pair: SymmetricKey, purpose: Purpose, id: bytes) -> SymmetricKey:
    """Derive the key of one purpose and direction; ``id`` is the agent's id, for "update" the transfer id."""
    return SymmetricKey(digest(purpose, id, key=pair.export()))


def update_key(
    pair: SymmetricKey, transfer: bytes, one_time_or_epoch_secret: SecretKey, other_public: bytes
) -> SymmetricKey:
    """Derive the key of one transfer, which needs a static *and* an ephemeral secret (forward secrecy).

    Args:
        pair: from `pair_key`.
        transfer: the transfer id, 16 bytes.
        one_time_or_epoch_secret: the agent's one-time key or the coordinator's epoch key.
        other_public: the public half of the other one.

    Raises:
        SealError: ``other_public`` is of low order or not 32 bytes.
    """
    shared = _exchange(one_time_or_epoch_secret, other_public)
    return SymmetricKey(digest("update-once", shared, key=purpose_key(pair, "update", transfer).export()))


def epoch_id(public: bytes) -> bytes:
    """Return the 8 bytes that name an epoch key in frame headers."""
    return digest("antiphon-epoch-1", public)[:EPOCH_ID]


def new_group_key() -> GroupKey:
    """Draw a group key and its id."""
    return GroupKey(id=bindings.randombytes(GROUP_ID), key=bindings.randombytes(KEY))


def check_public(public: bytes) -> None:
    """Refuse an X25519 public key that would give a known secret.

    Raises:
        SealError: not 32 bytes, or of low order.
    """
    # Secrets are multiples of the cofactor, so that any one of them turns any point of low order into zero.
    _exchange(SecretKey.generate(), public)


def seal(key: SymmetricKey, plaintext: bytes, associated: bytes) -> bytes:
    """Return ``nonce (24) ‖ ciphertext ‖ tag (16)`` under a fresh random nonce."""
    return _seal_with(bindings.randombytes(NONCE), key, plaintext, associated)


def open_sealed(key: SymmetricKey, sealed: bytes, associated: bytes) -> bytes:
    """Open what `seal` made.

    Raises:
        SealError: tampered, truncated, other associated data or another key.
    """
    if len(sealed) < NONCE + TAG:
        raise SealError("too short to be sealed")
    try:
        return bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
            sealed[NONCE:], associated, sealed[:NONCE], key.export()
        )
    except _DAMAGED:
        raise SealError("does not open: tampered, foreign, or under another key") from None


def seal_anonymous(public: bytes, plaintext: bytes) -> bytes:
    """Seal to an X25519 public key without saying who sealed it (libsodium's sealed box).

    Raises:
        SealError: ``public`` is of low order or not 32 bytes.
    """
    check_public(public)
    return bindings.crypto_box_seal(plaintext, public)


def open_anonymous(secret: SecretKey, data: bytes) -> bytes:
    """Open what `seal_anonymous` made.

    Raises:
        SealError: tampered, truncated, or for another key.
    """
    if len(data) < KEY + TAG:
        raise SealError("too short to be sealed")
    try:
        return bindings.crypto_box_seal_open(data, secret.public, secret.export())
    except _DAMAGED:
        raise SealError("does not open: tampered, or for another key") from None


def _seal_with(nonce: bytes, key: SymmetricKey, plaintext: bytes, associated: bytes) -> bytes:
    """Seal under a given nonce: for `seal` and the golden vectors, for nobody else."""
    return nonce + bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
        plaintext, associated, nonce, key.export()
    )


def _exchange(own: SecretKey, theirs: bytes) -> bytes:
    if len(theirs) != KEY:
        raise SealError(f"a public key must have {KEY} bytes, not {len(theirs)}")
    try:
        shared = bindings.crypto_scalarmult(own.export(), theirs)
    except _DAMAGED:
        raise SealError("a public key of low order") from None
    # libsodium refuses a zero result; a build that does not must not get further.
    if not any(shared):
        raise SealError("a public key of low order")
    return shared
