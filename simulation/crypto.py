"""Cheap crypto for simulations of scale: the same frames, the same refusals, none of the secrecy.

A verified fake (see ``tests/simulation/test_crypto.py``): inside `cheap_crypto` the functions of libsodium
that `antiphon.codecs.sealing` calls are stood in for by keyed BLAKE2b tags over the bytes in clear. Sizes are
the real ones to the byte; another key, another place, another header or a changed byte is refused as by the
real ones; keys of low order are refused. NOT guaranteed: that anything is secret, or that a signature cannot
be forged by whoever knows the public key. Everything above, key derivation included, is the production code.
Production code has no switch for this: it is this module that reaches into the other, and no room below
`antiphon.simulation` may import it.
"""

from collections.abc import Generator
from contextlib import contextmanager
from hashlib import blake2b

from nacl import exceptions

from antiphon.codecs import sealing

PUBLIC, TAG, SIGNATURE = 32, 16, 64
"""Bytes of a public key, an AEAD's or sealed box's tag, and a signature."""

_PLACE = "bindings"
"""The name under which `antiphon.codecs.sealing` has libsodium."""

_PRIME = 2**255 - 19
_LOW_ORDER = frozenset(
    point.to_bytes(PUBLIC, "little")
    for point in (
        0,
        1,
        _PRIME - 1,
        _PRIME,
        _PRIME + 1,
        0x00B8495F16056286FDB1329CEB8D09DA6AC49FF1FAE35616AEB8413B7C7AEBE0,
        0x57119FD0DD4E22D8868E1C58C45C44045BEF839C55B1D0B1248C50A3BC959C5F,
    )
)
"""Points that the real exchange turns into zero (those that libsodium refuses, too)."""


class _Cheap:
    """Stands where `antiphon.codecs.sealing` has libsodium: functions of the same names and types."""

    def __init__(self, seed: int) -> None:
        self._key = blake2b(str(seed).encode(), digest_size=32).digest()
        self._drawn = 0

    def randombytes(self, size: int) -> bytes:
        """Return bytes that were not returned before; the same in every run."""
        self._drawn += 1
        drawn = blake2b(self._drawn.to_bytes(8, "little"), digest_size=min(size, 64), key=self._key)
        return drawn.digest() if size <= 64 else drawn.digest() + self.randombytes(size - 64)

    @staticmethod
    def crypto_scalarmult_base(n: bytes) -> bytes:
        """Return the public key of a secret one."""
        return blake2b(n, digest_size=PUBLIC, person=b"cheap-public").digest()

    @staticmethod
    def crypto_scalarmult(n: bytes, p: bytes) -> bytes:
        """Return what both parties derive from one's secret and the other's public key."""
        if p in _LOW_ORDER or (p[-1] > 127 and p[:-1] + bytes([p[-1] & 127]) in _LOW_ORDER):
            raise exceptions.RuntimeError("a point of low order")
        own = blake2b(n, digest_size=PUBLIC, person=b"cheap-public").digest()
        both = own + p if own < p else p + own
        return blake2b(both, digest_size=32, person=b"cheap-exchange").digest()

    @staticmethod
    def crypto_sign_seed_keypair(seed: bytes) -> tuple[bytes, bytes]:
        """Return (public key, secret key with the public one)."""
        public = blake2b(seed, digest_size=PUBLIC, person=b"cheap-signer").digest()
        return public, seed + public

    @staticmethod
    def crypto_sign(message: bytes, sk: bytes) -> bytes:
        """Return signature and message."""
        return _signature(message, sk[PUBLIC:]) + message

    @staticmethod
    def crypto_sign_open(signed: bytes, pk: bytes) -> bytes:
        """Return the message of a signed one."""
        message = signed[SIGNATURE:]
        if _signature(message, pk) != signed[:SIGNATURE]:
            raise exceptions.BadSignatureError("not the signature")
        return message

    @staticmethod
    def crypto_aead_xchacha20poly1305_ietf_encrypt(
        message: bytes, aad: bytes, nonce: bytes, key: bytes
    ) -> bytes:
        """Return the message with its tag."""
        return message + _tag(message, aad, nonce, key)

    @staticmethod
    def crypto_aead_xchacha20poly1305_ietf_decrypt(
        ciphertext: bytes, aad: bytes, nonce: bytes, key: bytes
    ) -> bytes:
        """Return the message without its tag."""
        message = ciphertext[:-TAG]
        if _tag(message, aad, nonce, key) != ciphertext[-TAG:]:
            raise exceptions.CryptoError("not the tag")
        return message

    def crypto_box_seal(self, message: bytes, pk: bytes) -> bytes:
        """Return the message between a one-time key and a tag."""
        once = self.randombytes(PUBLIC)
        return once + message + _tag(message, once, b"", pk)

    def crypto_box_seal_open(self, ciphertext: bytes, pk: bytes, sk: bytes) -> bytes:
        """Return the message of a sealed box."""
        once, message = ciphertext[:PUBLIC], ciphertext[PUBLIC:-TAG]
        mine = self.crypto_scalarmult_base(sk) == pk
        if not mine or _tag(message, once, b"", pk) != ciphertext[-TAG:]:
            raise exceptions.CryptoError("not the tag")
        return message


def _signature(message: bytes, public: bytes) -> bytes:
    return blake2b(message, digest_size=SIGNATURE, key=public, person=b"cheap-signature").digest()


def _tag(message: bytes, aad: bytes, nonce: bytes, key: bytes) -> bytes:
    # The lengths keep a byte from moving between the parts.
    state = blake2b(
        b"%d %d %b%b" % (len(aad), len(nonce), aad, nonce), digest_size=TAG, key=key, person=b"cheap-tag"
    )
    state.update(message)
    return state.digest()


@contextmanager
def cheap_crypto(seed: int = 0) -> Generator[None]:
    """Make sealing cheap, in this process, inside the block; the real one is back afterwards.

    Keys made outside do not fit those made inside: make all keys of a federation in the block.

    Args:
        seed: Decides every key and nonce, so that two runs give the same bytes.
    """
    real = sealing.bindings
    setattr(sealing, _PLACE, _Cheap(seed))
    try:
        yield
    finally:
        setattr(sealing, _PLACE, real)
