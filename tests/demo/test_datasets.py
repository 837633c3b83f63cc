"""Rows by the name of their data set."""

from pathlib import Path

import numpy as np
import pytest

from antiphon.codecs.errors import ConfigError
from antiphon.demo.datasets import open_dataset


def test_credit_and_digits_are_whole() -> None:
    pytest.importorskip("sklearn")
    shapes = [open_dataset(name, Path()).x.shape for name in ("credit", "digits")]
    assert shapes == [(1000, 57), (1797, 64)]


def test_file_is_looked_for_beside_the_text_that_names_it(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", x=np.eye(3), y=np.array([0, 1, 1]))
    assert open_dataset("mine.npz", tmp_path).y.tolist() == [0, 1, 1]
    assert len(open_dataset(str(tmp_path / "mine.npz"), Path("elsewhere"))) == 3


def test_unknown_name_says_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"no data set 'digit': use credit, digits or"):
        open_dataset("digit", Path())
