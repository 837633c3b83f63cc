"""What must not be written although this machine's Python takes it well."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("agents", "antiphon", "broker_config", "codecs", "coordinator", "monitor", "simulation")
FILES = sorted(path.relative_to(ROOT) for room in ROOMS for path in (ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=str)
def test_except_star_raises_nothing(file: Path) -> None:
    """Python 3.11.2, Debian 12's, wraps what is raised in such a handler into a group that nobody catches."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    handlers = [each for node in ast.walk(tree) if isinstance(node, ast.TryStar) for each in node.handlers]
    assert [node.lineno for each in handlers for node in ast.walk(each) if isinstance(node, ast.Raise)] == []
