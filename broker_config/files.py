"""Small files that people and services read: written whole or not at all, secrets for nobody else's eyes."""

import os
from pathlib import Path

from antiphon.codecs.errors import StateError


def write(path: Path, text: str, *, secret: bool = False, overwrite: bool = True) -> None:
    """Write a file whole or not at all: aside, synced, then renamed. A secret is 0600 from its first byte.

    Raises:
        StateError: it exists and ``overwrite`` is false; or it cannot be written.
    """
    if not overwrite and path.exists():
        raise StateError(f"{path} exists already and is left as it is")
    aside = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(aside, flags, 0o600 if secret else 0o644), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        raise StateError(f"cannot write {path}: {os.strerror(error.errno or 0)}") from None


def quote(text: str) -> str:
    """Return ``text`` as a TOML basic string, quotes included."""
    escaped = (
        f"\\u{ord(c):04x}" if ord(c) < 32 or ord(c) == 127 else f"\\{c}" if c in '"\\' else c for c in text
    )
    return f'"{"".join(escaped)}"'
