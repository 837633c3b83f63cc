"""The part of msgpack that this project uses; the package itself ships no types."""

from typing import Any

def packb(o: object, /, *, use_bin_type: bool = ...) -> bytes: ...
def unpackb(
    packed: bytes | bytearray | memoryview,
    /,
    *,
    raw: bool = ...,
    strict_map_key: bool = ...,
    max_bin_len: int = ...,
    max_str_len: int = ...,
    max_array_len: int = ...,
    max_map_len: int = ...,
    max_ext_len: int = ...,
) -> Any: ...
