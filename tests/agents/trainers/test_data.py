"""Files to numbers, and what is said when they do not fit."""

from pathlib import Path

import numpy as np
import pytest

from antiphon.agents.trainers.data import load_columns, open_rows, read_csv, read_npz, split
from antiphon.codecs.errors import ConfigError

COLUMNS = """
[target]
column = "paid"
classes = ["yes", "no"]

[numeric.age]
mean = 40.0
std = 10.0

[categorical]
housing = ["own", "rent"]
"""
ROWS = "id,age,housing,paid\n7,50,own,yes\n8,35,rent,no\n"


def files(folder: Path, rows: str = ROWS, columns: str = COLUMNS) -> tuple[Path, Path]:
    table, specification = folder / "rows.csv", folder / "columns.toml"
    table.write_text(rows)
    specification.write_text(columns)
    return table, specification


def test_every_agent_gets_the_same_features_from_the_shared_constants(tmp_path: Path) -> None:
    table, specification = files(tmp_path)
    rows = open_rows(table, specification)
    assert load_columns(specification).features == ("age", "housing=own", "housing=rent")
    np.testing.assert_array_equal(rows.x, [[1.0, 1.0, 0.0], [-0.5, 0.0, 1.0]])
    assert rows.y.tolist() == [0, 1]
    assert rows.classes == ("yes", "no")


def test_file_without_rows_keeps_its_width(tmp_path: Path) -> None:
    table, specification = files(tmp_path, rows="age,housing,paid\n")
    assert open_rows(table, specification).x.shape == (0, 3)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("age,housing,paid\n50,own,yes\n35,boat,no\n", 'row 2, column "housing": "boat"'),
        ("age,housing,paid\n50,own,perhaps\n", 'row 1, column "paid": "perhaps"'),
        ("age,housing,paid\nold,own,yes\n", '"old" is not a finite number'),
        ("age,housing,paid\nnan,own,yes\n", '"nan" is not a finite number'),
        ("age,housing,paid\n50\n", 'row 1, column "housing": ""'),
        ("age,paid\n50,yes\n", 'no column "housing"'),
    ],
)
def test_row_that_does_not_fit_is_named(tmp_path: Path, rows: str, said: str) -> None:
    table, specification = files(tmp_path, rows=rows)
    with pytest.raises(ConfigError) as caught:
        read_csv(table, load_columns(specification))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("target = 3", "target"),
        ("nonsense", "columns.toml"),
        (COLUMNS.replace("std = 10.0", "std = 0.0"), "std above 0"),
        (COLUMNS.replace("std", "sdt"), "sdt"),
        (COLUMNS.replace('"own", "rent"', '"own", "own"'), "twice"),
        (COLUMNS.replace('"own", "rent"', ""), "empty"),
        (COLUMNS.replace('"yes", "no"', '"yes"'), "two classes"),
    ],
)
def test_wrong_column_specification_is_refused(tmp_path: Path, columns: str, said: str) -> None:
    _, specification = files(tmp_path, columns=columns)
    with pytest.raises(ConfigError, match=said):
        load_columns(specification)


def test_csv_without_a_column_specification_says_what_to_add(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--set columns="):
        open_rows(files(tmp_path)[0], "")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.csv"):
        open_rows(tmp_path / "gone.csv", files(tmp_path)[1])
    with pytest.raises(ConfigError, match=r"gone\.npz"):
        read_npz(tmp_path / "gone.npz")


def test_npz_gives_rows_and_class_names(tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    np.savez(
        path, x=np.ones((3, 2), np.float32), y=np.array([0, 2, 2]), classes=np.array(["a", "b", "c", "d"])
    )
    rows = open_rows(path, "")
    assert rows.x.dtype == np.float64
    assert rows.classes == ("a", "b", "c", "d")
    np.savez(path, x=np.ones((3, 2)), y=np.array([0, 2, 2]))
    assert read_npz(path).classes == ("0", "1", "2")


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": np.ones((2, 2))}, "x and y"),
        ({"x": np.ones(2), "y": np.zeros(2, int)}, "must be"),
        ({"x": np.ones((2, 1)), "y": np.zeros(2)}, "whole numbers"),
        ({"x": np.array([[np.inf], [0.0]]), "y": np.zeros(2, int)}, "not finite"),
        ({"x": np.ones((2, 1)), "y": np.array([0, 5]), "classes": np.array(["a", "b"])}, "0 to 1"),
        ({"x": np.array([[print]], dtype=object), "y": np.zeros(1, int)}, "does not read"),
    ],
)
def test_npz_that_does_not_fit_is_refused(tmp_path: Path, arrays: dict[str, np.ndarray], said: str) -> None:
    np.savez(tmp_path / "rows.npz", **arrays)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match=said):
        read_npz(tmp_path / "rows.npz")


def test_something_else_called_npz_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.npz").write_text("no archive")
    with pytest.raises(ConfigError, match="does not read"):
        read_npz(tmp_path / "rows.npz")
    np.save(tmp_path / "plain", np.ones(3))
    (tmp_path / "plain.npy").rename(tmp_path / "rows.npz")
    with pytest.raises(ConfigError, match="does not read"):
        read_npz(tmp_path / "rows.npz")


def test_split_is_repeatable_and_loses_no_row(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", x=np.arange(20.0)[:, None], y=np.zeros(20, int))
    rows = read_npz(tmp_path / "rows.npz")
    training, kept = split(rows, 0.25, 7)
    assert len(kept) == 5
    assert sorted([*training.x[:, 0], *kept.x[:, 0]]) == list(range(20))
    np.testing.assert_array_equal(split(rows, 0.25, 7)[1].x, kept.x)
    assert len(split(rows, 0.0, 7)[1]) == 0
    with pytest.raises(ConfigError, match="held_out"):
        split(rows, 1.0, 7)
