from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.codecs import packing, schema, tensors
from antiphon.codecs.errors import ConfigError, LimitError, MalformedError, SchemaError

MODEL: Mapping[str, Any] = {
    "bn.num_batches_tracked": np.array(7, np.int64),
    "bn.running_mean": np.array([0.5, -1.5], np.float32),
    "bn.running_var": np.array([1.0, 2.0], np.float32),
    "fc.bias": np.array(0.25, np.float32),
    "fc.mask": np.array([[True, False], [False, True]]),
    "fc.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "half": np.array([1.5, -2.25], np.float16),
    "nothing": np.zeros((0, 3), np.float32),
}


def row(
    name: str = "w", shape: Any = (2,), dtype: str = "float32", role: str = "weight", extra: str = ""
) -> Any:
    return [name, list(shape), dtype, role, extra]


def written(*rows: Any, version: Any = 1, vector: str = "float32") -> bytes:
    return packing.pack({"version": version, "vector": vector, "tensors": list(rows)})


def test_model_with_statistics_counters_masks_scalars_and_empty_tensors_comes_back() -> None:
    ours = schema.infer(MODEL)
    vector, exact = ours.pack(MODEL)
    assert (ours.dtype, vector.dtype, ours.size, len(exact)) == ("float32", np.float32, 13, ours.exact_size)
    back = ours.unpack(vector, exact)
    assert back.keys() == MODEL.keys()
    for name, array in MODEL.items():
        assert back[name].dtype == array.dtype
        assert back[name].shape == array.shape
        assert back[name].tobytes() == array.tobytes()


def test_unpacked_arrays_are_own_copies() -> None:
    ours = schema.infer(MODEL)
    vector, exact = ours.pack(MODEL)
    for array in ours.unpack(vector, exact).values():
        assert array.flags.writeable
        assert not np.shares_memory(array, vector)


def test_every_bit_of_a_float64_model_survives() -> None:
    bits = [0x7FF0000000000001, 0xFFF8DEADBEEF0001, 0x8000000000000000, 1, 0x7FF0000000000000]
    model = {"w": np.array(bits, np.uint64).view(np.float64), "b": np.array([1.5], np.float32)}
    ours = schema.infer(model)
    assert ours.dtype == "float64"
    back = ours.unpack(*ours.pack(model))
    assert back["w"].view(np.uint64).tolist() == bits
    assert back["b"].dtype == np.float32


def test_wide_exact_tensors_do_not_widen_the_vector() -> None:
    ours = schema.infer({"w": np.zeros(2, np.float16), "keep": np.zeros(2)}, {"keep": "keep"})
    assert (ours.dtype, ours.size, ours.exact_size) == ("float32", 2, 16)


def test_roles_default_by_name_and_dtype() -> None:
    roles = {tensor.name: (tensor.role, tensor.extra) for tensor in schema.infer(MODEL).tensors}
    assert roles["bn.num_batches_tracked"] == ("exact", "keep")
    assert roles["bn.running_mean"] == ("statistic", "")
    assert roles["bn.running_var"] == ("statistic", "floor")
    assert roles["fc.weight"] == ("weight", "")


def test_integer_that_is_called_like_a_statistic_stays_exact() -> None:
    assert schema.infer({"running_mean": np.zeros(2, np.int32)}).tensors[0].exact


@pytest.mark.parametrize(
    ("model", "roles"),
    [
        ({"w": np.zeros(2)}, {"v": "weight"}),
        ({"w": np.zeros(2)}, {"w": "weigth"}),
        ({"w": np.zeros(2)}, {"w": "max"}),
        ({"w": np.zeros(2, np.int32)}, {"w": "weight"}),
        ({"w": np.zeros(2, np.complex64)}, {}),
        ({"w": np.array(["a"])}, {}),
        ({"": np.zeros(2)}, {}),
        ({"\ud800": np.zeros(2)}, {}),
        ({"x" * 1025: np.zeros(2)}, {}),
    ],
)
def test_model_that_cannot_be_described_is_refused_in_words(model: Any, roles: Any) -> None:
    with pytest.raises(ConfigError):
        schema.infer(model, roles)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"fc.bias": np.zeros(1, np.float32)}, "fc.bias"),
        ({"fc.weight": np.zeros((2, 3))}, "fc.weight"),
        ({"alien": np.zeros(1)}, "alien"),
    ],
)
def test_first_differing_tensor_is_named(change: Any, named: str) -> None:
    with pytest.raises(SchemaError, match=named):
        schema.infer(MODEL).pack({**MODEL, **change})


def test_missing_tensor_is_named() -> None:
    with pytest.raises(SchemaError, match="half"):
        schema.infer(MODEL).pack({name: array for name, array in MODEL.items() if name != "half"})


def test_vector_or_exact_section_of_another_length_is_refused() -> None:
    ours = schema.infer(MODEL)
    vector, exact = ours.pack(MODEL)
    with pytest.raises(MalformedError):
        ours.unpack(vector[1:], exact)
    with pytest.raises(MalformedError):
        ours.unpack(vector, exact[1:])
    with pytest.raises(MalformedError):
        ours.merge_exact(exact, [exact + b"x"])


def test_number_beyond_float16_becomes_its_largest() -> None:
    ours = schema.infer({"h": np.zeros(4, np.float16), "s": np.zeros((), np.float16)})
    vector = np.array([1e6, -1e6, np.inf, np.nan, 1e6], np.float32)
    back = ours.unpack(vector, b"")
    assert back["h"].tolist()[:3] == [65504.0, -65504.0, np.inf]
    assert np.isnan(back["h"][3])
    assert back["s"] == 65504.0


def test_order_of_the_mapping_and_of_bytes_does_not_matter() -> None:
    swapped = {name: np.asarray(MODEL[name]) for name in reversed(list(MODEL))}
    swapped["fc.weight"] = np.asfortranarray(MODEL["fc.weight"]).astype(">f4")
    ours = schema.infer(MODEL)
    assert schema.infer(swapped) == ours
    assert schema.infer(swapped).digest == ours.digest
    ours_packed, theirs = ours.pack(MODEL), ours.pack(swapped)
    assert ours_packed[0].tobytes() == theirs[0].tobytes()
    assert ours_packed[1] == theirs[1]
    assert schema.model_digest(ours, *ours_packed) == schema.model_digest(ours, *theirs)


def test_decoded_schema_is_the_encoded_one() -> None:
    ours = schema.infer(MODEL)
    back = schema.decode(ours.encode(), limit=len(ours.encode()))
    assert back == ours
    assert back.runs == ours.runs


def test_schema_beyond_the_limit_is_not_read() -> None:
    data = schema.infer(MODEL).encode()
    with pytest.raises(LimitError):
        schema.decode(data, limit=len(data) - 1)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        packing.pack([1]),
        packing.pack({"version": 1, "vector": "float32", "tensors": {}}),
        written(row(), version=2),
        written(row("b"), row("a")),
        written(row("a"), row("a")),
        written(row(), vector="float64"),
        written(row(dtype="float64")),
        written(row(dtype="float128")),
        written(row(dtype="object")),
        written(row(role="boss")),
        written(row(extra="floor")),
        written(row(role="statistic", extra="keep")),
        written(row(dtype="int8")),
        written(row(role="exact", extra="max")),
        written(row(shape=[-1])),
        written(row(shape=[True])),
        written(row(shape=[1.0])),
        written(row(shape=[2**30, 2**30])),
        written(row(shape=[0, 2**63])),
        written(row(shape=[1] * 33)),
        written(*(row(f"w{n}", [2**39]) for n in range(3))),
        written(["w", 3, "float32", "weight", ""]),
        written(["w", [3], "float32", "weight"]),
        written("w"),
        packing.pack({"vector": "float32", "version": 1, "tensors": []}),
        packing.pack({"version": 1, "vector": "float32", "tensors": [], "more": 1}),
    ],
)
def test_schema_that_is_not_consistent_or_not_canonical_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError):
        schema.decode(data, limit=100_000)


def test_spans_are_relative_to_their_range_and_joined_by_role() -> None:
    block = schema.BLOCK
    model = {
        "a": np.zeros(block // 2, np.float32),
        "b": np.zeros(block, np.float32),
        "c.running_mean": np.zeros(block, np.float32),
        "d.running_var": np.zeros(block, np.float32),
        "e": np.zeros(0, np.float32),
        "f": np.zeros(1, np.float32),
    }
    ours = schema.infer(model)
    assert ours.blocks == 4
    half = block // 2
    span = schema.Span
    assert ours.spans(0, 1) == (span(0, block, "weight", False),)
    assert ours.spans(1, 1) == (span(0, half, "weight", False), span(half, block, "statistic", False))
    assert ours.spans(2, 9) == (
        span(0, half, "statistic", False),
        span(half, half + block, "statistic", True),
        span(half + block, half + block + 1, "weight", False),
    )
    assert ours.spans(4, 1) == ()


def test_merge_of_exact_sections_keeps_or_takes_the_largest() -> None:
    def section(count: int, seen: int, flags: list[bool]) -> tuple[schema.Schema, bytes]:
        model = {
            "count": np.array(count, np.int64),
            "flags": np.array(flags),
            "seen": np.array([seen], np.uint8),
        }
        ours = schema.infer(model, {"seen": "max", "flags": "max"})
        return ours, ours.pack(model)[1]

    ours, mine = section(3, 5, [True, False])
    merged = ours.merge_exact(mine, [section(9, 200, [False, False])[1], section(1, 4, [False, True])[1]])
    assert merged == section(3, 200, [True, True])[1]
    assert ours.merge_exact(mine, []) == mine


def test_merge_looks_at_exact_tensors_alone() -> None:
    ours = schema.infer(MODEL)
    exact = ours.pack(MODEL)[1]
    assert ours.merge_exact(exact, [bytes(len(exact))]) == exact


def test_byte_that_is_no_bool_becomes_one() -> None:
    ours = schema.infer({"flags": np.array([True, False])}, {"flags": "max"})
    assert ours.unpack(np.zeros(0, np.float32), b"\x02\x00")["flags"].tobytes() == b"\x01\x00"
    assert ours.merge_exact(b"\x00\x00", [b"\xff\x00"]) == b"\x01\x00"


def test_model_of_nothing_has_a_schema() -> None:
    ours = schema.infer({})
    assert (ours.size, ours.blocks, ours.exact_size) == (0, 0, 0)
    assert ours.unpack(*ours.pack({})) == {}
    assert schema.decode(ours.encode(), 100) == ours


@st.composite
def models(draw: st.DrawFn) -> dict[str, Any]:
    model: dict[str, Any] = {}
    names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
    for name in draw(st.lists(names, max_size=6, unique=True)):
        dtype = np.dtype(draw(st.sampled_from(sorted(tensors.FLOATS | tensors.INTEGERS))))
        shape = draw(st.lists(st.integers(0, 3), max_size=3))
        size = int(np.prod(shape, dtype=int))
        if dtype == np.bool_:
            flat = np.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)), np.bool_)
        else:
            width = size * dtype.itemsize
            flat = np.frombuffer(draw(st.binary(min_size=width, max_size=width)), dtype)
        model[name] = flat.reshape(shape)
    return model


@given(models())
def test_any_model_comes_back_bit_for_bit(model: dict[str, Any]) -> None:
    ours = schema.infer(model)
    assert schema.decode(ours.encode(), 10_000) == ours
    back = ours.unpack(*ours.pack(model))
    assert list(back) == sorted(model)
    for name, array in model.items():
        got = back[name]
        assert (got.dtype, got.shape) == (array.dtype, array.shape)
        # Widening to the vector's dtype quiets a signalling NaN; nothing else changes.
        same = got.dtype.name == ours.dtype or got.dtype.name in tensors.INTEGERS
        assert got.tobytes() == array.tobytes() or (not same and equal_or_nan(got, array))


def equal_or_nan(one: Any, other: Any) -> bool:
    return bool(np.array_equal(one, other, equal_nan=True))


@given(models())
def test_spans_tile_every_range(model: dict[str, Any]) -> None:
    ours = schema.infer(model)
    spans = ours.spans(0, max(ours.blocks, 1))
    position = 0
    for span in spans:
        assert span.start == position
        assert span.stop > span.start
        position = span.stop
    assert position == ours.size


def test_names_that_are_text_of_another_kind_are_names() -> None:
    class Name(str):
        pass

    plain = schema.infer({"w": np.zeros(3, np.float32)})
    for kind in (np.str_, Name):
        assert schema.infer({kind("w"): np.zeros(3, np.float32)}) == plain
