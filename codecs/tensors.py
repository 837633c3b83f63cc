"""One tensor of a model: its name, shape, dtype and role, and which of them may go together.

Guarantees: a tensor that `check` lets pass can be laid out by `antiphon.codecs.schema` without an overflow.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any, Literal, cast

import numpy as np

from antiphon.codecs.errors import MalformedError

MAX_ELEMENTS = 1 << 40
MAX_RANK = 32
MAX_NAME = 1024  # bytes

Role = Literal["weight", "statistic", "exact"]
FLOATS = frozenset({"float16", "float32", "float64"})
INTEGERS = frozenset({"bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"})
ROLES: Mapping[str, tuple[Role, str]] = {
    "weight": ("weight", ""),
    "statistic": ("statistic", ""),
    "variance": ("statistic", "floor"),
    "keep": ("exact", "keep"),
    "max": ("exact", "max"),
}
"""What an operator calls a role, and its (role, extra) in the schema."""

SUFFIXES = {
    "running_mean": "statistic",
    "moving_mean": "statistic",
    "running_var": "variance",
    "moving_variance": "variance",
}


@lru_cache(maxsize=64)
def dtype_name(dtype: np.dtype[Any]) -> str:
    """Return ``dtype.name``, which numpy puts together anew each time."""
    return dtype.name


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a model.

    ``role`` is "weight", "statistic" (a running mean or variance) or "exact"; ``extra`` is "floor" for a
    variance, which never falls below 0, "keep" or "max" for an exact tensor, else "".
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    role: Role
    extra: str

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def exact(self) -> bool:
        """Whether it lies in the exact section."""
        return self.role == "exact"


def default_role(name: str, dtype: str) -> str:
    """Return the role, as an operator would call it, of a tensor about which nobody said anything."""
    if dtype not in FLOATS:
        return "keep"
    return next((role for suffix, role in SUFFIXES.items() if name.endswith(suffix)), "weight")


def read_tensor(row: object) -> Tensor:
    """Return a tensor from its row ``[name, shape, dtype, role, extra]``; `check` it afterwards.

    Raises:
        MalformedError: another shape or other types.
    """
    fields = cast(list[object], row) if isinstance(row, list) else []
    match fields:
        case [str(name), shape, str(dtype), str(role), str(extra)]:
            dims = cast(list[object], shape) if isinstance(shape, list) else [-1]
        case _:
            raise MalformedError("a tensor must be [name, shape, dtype, role, extra]")
    if not all(type(dim) is int and dim >= 0 for dim in dims):
        raise MalformedError("a tensor's shape must be non-negative integers")
    return Tensor(name, cast(tuple[int, ...], tuple(dims)), dtype, cast(Role, role), extra)


def check(tensor: Tensor) -> None:
    """Refuse what no model may hold.

    Raises:
        MalformedError: a name, shape, dtype or role out of bounds, or a role that does not suit the dtype.
    """
    name = tensor.name
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        raise MalformedError("a tensor's name must be valid Unicode") from None
    if not 1 <= length <= MAX_NAME:
        raise MalformedError(f"a tensor's name must have 1 to {MAX_NAME} bytes")
    if len(tensor.shape) > MAX_RANK or prod(max(1, dim) for dim in tensor.shape) > MAX_ELEMENTS:
        raise MalformedError(f"tensor {name[:80]!r} has too many dimensions or elements")
    if tensor.dtype not in FLOATS | INTEGERS:
        raise MalformedError(f"tensor {name[:80]!r} has dtype {tensor.dtype[:20]!r}, which no model may use")
    if (tensor.role, tensor.extra) not in ROLES.values():
        raise MalformedError(f"tensor {name[:80]!r} has an unknown role")
    # Only "keep" suits both kinds: integers have no place in the vector, and a maximum of floats may be NaN.
    if tensor.extra != "keep" and (tensor.dtype in FLOATS) == tensor.exact:
        raise MalformedError(f"tensor {name[:80]!r} cannot be {tensor.role} {tensor.extra} as {tensor.dtype}")
