"""Configuration files: TOML into one frozen value, strictly.

An unknown key, a wrong type or a value out of bounds is a ConfigError that names the file, the key, and the
nearest known key if it is unknown. Nothing here knows what the keys mean.
"""

import os
import re
import tomllib
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin

import msgspec

from antiphon.codecs.errors import ConfigError, StateError

S = TypeVar("S", bound=msgspec.Struct)
T = TypeVar("T", bound=msgspec.Struct)


def load(path: Path, kind: type[T]) -> T:
    """Read a TOML file as ``kind``, a frozen Struct.

    Raises:
        StateError: there is no such file, or it cannot be read.
        ConfigError: not TOML, an unknown key, a wrong type, a value out of bounds.
    """
    return parse(read(path), kind, str(path))


def load_two(path: Path, first: type[S], second: type[T]) -> tuple[S, T]:
    """Read one TOML file whose top-level keys belong to two Structs: a room's settings beside how to reach
    it.

    Raises:
        StateError: there is no such file, or it cannot be read.
        ConfigError: not TOML, a key of neither, a wrong type, a value out of bounds.
    """
    values = read(path)
    mine, theirs = _names(first), _names(second)
    for key in values:
        if key not in mine and key not in theirs:
            raise ConfigError(_unknown_key(str(path), key, [*mine, *theirs]))
    return (
        parse({key: value for key, value in values.items() if key in mine}, first, str(path)),
        parse({key: value for key, value in values.items() if key not in mine}, second, str(path)),
    )


def read(path: Path) -> dict[str, Any]:
    """Read a TOML file as plain values.

    Raises:
        StateError: there is no such file, or it cannot be read.
        ConfigError: not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StateError(f"cannot read {path}: {os.strerror(error.errno or 0)}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


def parse(values: dict[str, Any], kind: type[T], where: str) -> T:
    """Validate plain values as ``kind``; ``where`` names their source in errors.

    Raises:
        ConfigError: an unknown key, a wrong type, a value out of bounds.
    """
    for key, known in _unknown(values, kind, ""):
        raise ConfigError(_unknown_key(where, key, known))
    try:
        return msgspec.convert(values, kind, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {_sentence(str(error), kind)}") from None
    except ConfigError as error:  # from a Struct that refuses what its keys say together
        raise ConfigError(f"{where}: {error}") from None


def _unknown_key(where: str, key: str, known: list[str]) -> str:
    near = get_close_matches(key.rpartition(".")[2], known, 1, 0.5)
    hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(sorted(known)) or 'none'}"
    return f"{where}: unknown key {key!r}{hint}"


def _names(kind: type[msgspec.Struct]) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(kind)]


def _unknown(values: dict[str, Any], kind: Any, prefix: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each key that ``kind`` does not have, dotted, with the keys it has; in tables of Structs too, and
    in arrays of them."""
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
    for key, value in values.items():
        if key not in fields:
            yield prefix + key, list(fields)
        elif isinstance(value, dict) and (inner := _struct(fields[key])) is not None:
            yield from _unknown(cast("dict[str, Any]", value), inner, f"{prefix}{key}.")
        elif isinstance(value, list) and (inner := _struct_in(fields[key])) is not None:
            for number, each in enumerate(cast("list[Any]", value)):
                if isinstance(each, dict):
                    yield from _unknown(cast("dict[str, Any]", each), inner, f"{prefix}{key}[{number}].")


def _struct(kind: Any) -> Any | None:
    """Return the Struct that a field's type is, or holds as one choice of a union."""
    # only a union offers choices: the arguments of dict[str, X] are something else
    choices = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return next((c for c in choices if isinstance(c, type) and issubclass(c, msgspec.Struct)), None)


def _struct_in(kind: Any) -> Any | None:
    """Return the Struct of which a field's type is an array."""
    return _struct(get_args(kind)[0]) if get_origin(kind) in (tuple, list) else None


def _sentence(error: str, kind: Any) -> str:
    """Turn msgspec's "Expected `int`, got `str` - at `$.a.b`" into one that names the key as TOML does.

    A value that is none of a few words is told with them; a key that must be there is named whole.
    """
    missing = re.fullmatch(r"Object missing required field `(.*?)`(?: - at `\$\.(.*)`)?", error)
    if missing is not None:
        return f"{f'{missing[2]}.' if missing[2] else ''}{missing[1]} is missing"
    found = re.fullmatch(r"(.*) - at `\$\.?(.*)`", error, re.DOTALL)
    if found is None or not found[2]:
        return error
    words = _words(kind, found[2].split("."))
    wrong = found[1].removeprefix("Invalid enum value ")
    if words and wrong != found[1]:
        return f"{found[2]}: {wrong} is none of {', '.join(words)}"
    return f"{found[2]}: {found[1]}"


def _words(kind: Any, path: list[str]) -> list[str]:
    """Return the words that the key at ``path`` may be, if it is a `Literal`."""
    for key in path:
        key, _, number = key.partition("[")
        struct = _struct(kind)
        fields = {} if struct is None else {f.encode_name: f.type for f in msgspec.structs.fields(struct)}
        kind = fields.get(key)
        kind = _struct_in(kind) if number else kind
    return [str(word) for word in get_args(kind)] if get_origin(kind) is Literal else []
