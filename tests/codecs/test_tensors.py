import pytest

from antiphon.codecs import tensors
from antiphon.codecs.errors import MalformedError
from antiphon.codecs.tensors import Tensor


@pytest.mark.parametrize(
    ("name", "dtype", "role"),
    [
        ("fc.weight", "float32", "weight"),
        ("bn.running_mean", "float32", "statistic"),
        ("bn/moving_mean", "float64", "statistic"),
        ("bn.running_var", "float16", "variance"),
        ("bn/moving_variance", "float32", "variance"),
        ("bn.running_var", "int64", "keep"),
        ("mask", "bool", "keep"),
    ],
)
def test_role_of_a_tensor_about_which_nobody_said_anything(name: str, dtype: str, role: str) -> None:
    assert tensors.default_role(name, dtype) == role


@pytest.mark.parametrize("role", sorted(tensors.ROLES))
def test_every_role_suits_some_dtype(role: str) -> None:
    dtype = "int64" if role in ("keep", "max") else "float32"
    tensors.check(Tensor("w", (2, 3), dtype, *tensors.ROLES[role]))


def test_float_may_be_kept_but_not_maximised() -> None:
    tensors.check(Tensor("w", (), "float64", "exact", "keep"))
    with pytest.raises(MalformedError):
        tensors.check(Tensor("w", (), "float64", "exact", "max"))


def test_row_becomes_a_tensor() -> None:
    tensor = tensors.read_tensor(["w", [2, 3], "float32", "weight", ""])
    assert (tensor.size, tensor.exact) == (6, False)


@pytest.mark.parametrize(
    "row",
    [None, [], ["w"], ["w", 2, "float32", "weight", ""], ["w", [-1], "float32", "weight", ""], {"name": "w"}],
)
def test_row_of_another_shape_is_malformed(row: object) -> None:
    with pytest.raises(MalformedError):
        tensors.read_tensor(row)
