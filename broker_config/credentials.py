"""Broker passwords: long, random, and stored as mosquitto stores them.

A password is 256 bits from the operating system, so its stored form needs few iterations: more would only
hold up the broker, whose single thread hashes at every connect. Nothing here is a key of the protocol; what
a stolen broker password opens is sealed.
"""

import binascii
import hashlib
import hmac
import secrets
from base64 import b64decode, b64encode

ITERATIONS = 101
"""PBKDF2 rounds, mosquitto's own default: 210,000 would block it for 140 ms at every connect."""

_SALT, _HASH = 12, 64  # bytes


def new_password() -> str:
    """Return 43 random characters, 256 bits."""
    return secrets.token_urlsafe(32)


def hash_password(password: str) -> str:
    """Return ``$7$101$salt$hash``: PBKDF2 with SHA-512 and a fresh salt, as ``mosquitto_passwd`` writes
    it.
    """
    salt = secrets.token_bytes(_SALT)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ITERATIONS, _HASH)
    return f"$7${ITERATIONS}${b64encode(salt).decode()}${b64encode(digest).decode()}"


def is_password(password: str, stored: str) -> bool:
    """Say whether ``stored`` came from this password; False for anything that `hash_password` did not
    write.
    """
    try:
        empty, kind, rounds, salt, digest = stored.split("$")
        expected = b64decode(digest, validate=True)
        if empty or kind != "7" or not rounds.isascii() or not 1 <= int(rounds) <= 10_000_000 or not expected:
            return False
        found = hashlib.pbkdf2_hmac(
            "sha512", password.encode(), b64decode(salt, validate=True), int(rounds), len(expected)
        )
    except (ValueError, binascii.Error):
        return False
    return hmac.compare_digest(found, expected)


def password_file(users: dict[str, str]) -> str:
    """Return mosquitto's password file for ``users``: name -> what `hash_password` gave."""
    return "".join(f"{name}:{stored}\n" for name, stored in sorted(users.items()))


def read_password_file(text: str) -> dict[str, str]:
    """Return name -> stored password; lines without a colon are left out, as mosquitto does."""
    lines = (line.strip().partition(":") for line in text.splitlines())
    return {name: stored for name, colon, stored in lines if colon and name}
