"""The public door: what `import antiphon` offers, and what it costs."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import antiphon
from antiphon.codecs import errors


def test_every_public_name_loads_and_is_what_its_module_has() -> None:
    for name in antiphon.__all__:
        assert getattr(antiphon, name) is not None
    assert set(antiphon.__all__) <= set(dir(antiphon))
    assert len(set(antiphon.__all__)) == len(antiphon.__all__)


def test_the_whole_error_tree_is_public() -> None:
    tree = {name for name, value in vars(errors).items() if inspect.isclass(value)}
    assert tree <= set(antiphon.__all__)
    assert antiphon.SealError is errors.SealError


def test_type_checkers_see_the_same_names_as_programs() -> None:
    source = ast.parse(Path(antiphon.__file__).read_text())
    imported = {
        alias.asname for node in ast.walk(source) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert {*antiphon.__all__} - {"__version__"} == imported - {None}


def test_version_is_that_of_the_installed_package() -> None:
    assert antiphon.__version__.count(".") == 2


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'Nothing'"):
        _ = antiphon.Nothing  # pyright: ignore


def test_importing_the_package_loads_neither_numpy_nor_a_room() -> None:
    script = "import antiphon, sys; print([m for m in sys.modules if m.startswith(('antiphon.', 'numpy'))])"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
