"""What would make two runs of the same seed differ, or stand still in virtual time, is not in the services.

The linter bans most of it by name (pyproject.toml); this is what it cannot see, and that nobody let a service
off the linter's rules.
"""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = ("agents", "coordinator")

LISTING = {"glob", "rglob", "iterdir", "listdir", "scandir"}
"""They list in the file system's order."""


IN_ORDER = {"list", "tuple", "enumerate", "iter", "next", "zip", "map", "filter", "dict", "deque"}
"""What takes over the order of its argument."""


def modules() -> list[Path]:
    return [path for room in SERVICES for path in sorted((ROOT / room).rglob("*.py"))]


def find(source: str) -> list[str]:
    """Return what a module does that it must not, as "line: what"."""
    tree = ast.parse(source)
    names = set(_names_of_sets(tree))
    return sorted({f"{line}: {what}" for node in ast.walk(tree) for line, what in _judge(node, names)})


def _judge(node: ast.AST, names: set[str]) -> Iterator[tuple[int, str]]:
    match node:
        case ast.For(iter=over) | ast.AsyncFor(iter=over) | ast.comprehension(iter=over) if _is_set(
            over, names
        ):
            yield over.lineno, "iteration over a set"
        case ast.Starred(value=over) if _is_set(over, names):
            yield over.lineno, "iteration over a set"
        case ast.Call(func=ast.Name(id=name), args=[*_, over]) if name in IN_ORDER and _is_set(over, names):
            yield over.lineno, "iteration over a set"
        case ast.Call(func=ast.Attribute(value=of, attr="pop"), args=[]) if _is_set(of, names):
            yield of.lineno, "a set's pop takes any element"
        case ast.Call(func=ast.Attribute(attr="run_in_executor"), args=[ast.Constant(value=None), *_]):
            yield node.lineno, "the loop's own threads"
        case ast.For(iter=over) | ast.comprehension(iter=over) if _lists(over):
            yield over.lineno, "an unsorted listing"
        case ast.Assign(value=value) | ast.Return(value=ast.Call() as value) if _lists(value):
            yield value.lineno, "an unsorted listing"
        case _:
            pass


def _lists(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LISTING


def _names_of_sets(tree: ast.AST) -> Iterator[str]:
    """Names and attributes that hold a set somewhere in the module."""
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=targets, value=value) if _is_set(value, set()):
                yield from (ast.unparse(target) for target in targets)
            case ast.AnnAssign(target=target, annotation=kind) if _is_set_type(kind):
                yield ast.unparse(target)
            case ast.arg(arg=name, annotation=ast.expr() as kind) if _is_set_type(kind):
                yield name
            case _:
                pass


def _is_set_type(kind: ast.expr) -> bool:
    base = kind.value if isinstance(kind, ast.Subscript) else kind
    return isinstance(base, ast.Name) and base.id in ("set", "frozenset", "AbstractSet")


def _is_set(node: ast.AST, names: set[str]) -> bool:
    match node:
        case ast.Set() | ast.SetComp():
            return True
        case ast.Call(func=ast.Name(id="set" | "frozenset")):
            return True
        case ast.Call(func=ast.Subscript(value=ast.Name(id="set" | "frozenset"))):
            return True
        case ast.BinOp(left=left, right=right, op=ast.BitOr() | ast.BitAnd() | ast.Sub() | ast.BitXor()):
            return _is_set(left, names) or _is_set(right, names)
        case ast.Name() | ast.Attribute():
            return ast.unparse(node) in names
        case _:
            return False


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_service_does_nothing_in_an_order_of_chance(path: Path) -> None:
    assert find(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "for x in {1, 2}: pass",
        "for x in set(xs): pass",
        "a = set(); [x for x in a]",
        "class A:\n    def f(self):\n        self.a: set[int] = g()\n        for x in self.a: pass",
        "def f(a: frozenset[int]): return list(a | b)",
        "a = {1}; print(*a)",
        "a = set[int](); a.pop()",
        "loop.run_in_executor(None, f)",
        "for p in folder.iterdir(): pass",
        "names = os.listdir(folder)",
        "[p for p in path.glob('*')]",
    ],
)
def test_what_must_not_be_is_found(source: str) -> None:
    assert len(find(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "for x in sorted({1, 2}): pass",
        "a = {}; [x for x in a]",
        "a = set(); len(a); 1 in a; a.add(1)",
        "names = sorted(os.listdir(folder))",
        "loop.run_in_executor(pool, f)",
        "a = {1: 2}; a.pop(1)",
    ],
)
def test_what_may_be_is_let_through(source: str) -> None:
    assert find(source) == []


def test_no_service_is_let_off_the_linters_bans() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lint = project["tool"]["ruff"]["lint"]
    assert "TID" in lint["select"]
    assert not [each for each in lint["per-file-ignores"] if any(room in each for room in SERVICES)]
    assert not [path for path in modules() if "noqa: TID" in path.read_text(encoding="utf-8")]
