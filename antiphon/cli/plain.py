"""Commands whose words are text, paths and flags, which need no library to be understood.

Newer typers convert every word with pydantic, which they import when a first command runs: 8 MB for as long
as an agent lives, and agents live on small machines. What typer does by itself in one version and not in
another is replaced where it is there.
"""

from pathlib import Path
from typing import Any

from typer.core import TyperCommand, TyperGroup

KINDS: dict[object, type] = {str: str, Path: Path, bool: bool, list[str]: list}
"""What makes a parameter's value of what was typed. Numbers and their bounds are left to typer."""


class PlainCommand(TyperCommand):
    """A command without typer's conversion of text, paths and flags."""

    def get_params(self, ctx: Any) -> list[Any]:
        """As typer's."""
        return _plain(super().get_params(ctx))


class PlainGroup(TyperGroup):
    """The same for a group, which has flags like ``--help``."""

    def get_params(self, ctx: Any) -> list[Any]:
        """As typer's."""
        return _plain(super().get_params(ctx))


def _plain(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        described = getattr(parameter, "type_descriptor", None)
        make = KINDS.get(getattr(described, "annotation", None))
        if make is not None:
            parameter.get_runtime_param = _Conversion(make).itself
    return parameters


class _Conversion:
    """Stands in for typer's conversion of one parameter."""

    def __init__(self, make: type) -> None:
        self._make = make

    def itself(self) -> "_Conversion":
        return self

    def coerce(self, value: Any, param: object, ctx: object) -> Any:
        """Return ``value`` in its type; nothing stays nothing."""
        del param, ctx
        return value if value is None else self._make(value)
