"""docs/aggregation.md says what the code does."""

import re
from pathlib import Path

import msgspec
import pytest

from antiphon.coordinator.aggregation.combine import LATER
from antiphon.coordinator.aggregation.presets import PRESETS, SHORTHANDS, build_rule
from antiphon.coordinator.aggregation.rule import AXES, ROWS, kind_of

PAGE = (Path(__file__).parent.parent.parent / "docs" / "aggregation.md").read_text(encoding="utf-8")
KINDS = {axis: {kind for row in ROWS for kind in row[axis]} for axis in AXES}


def _section(title: str) -> str:
    found = re.search(rf"^#+ {re.escape(title)}.*?(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, title
    return found.group()


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_table_of_combinations_is_the_codes() -> None:
    lines = [line for line in _section("Combinations that run").splitlines() if line.startswith("|")]
    assert _cells(lines[0]) == list(AXES)
    assert [_cells(line) for line in lines[2:]] == [[", ".join(row[axis]) for axis in AXES] for row in ROWS]


@pytest.mark.parametrize("axis", AXES)
def test_every_value_of_an_axis_has_its_formula(axis: str) -> None:
    rows = [_cells(line) for line in _section(f"{axis}:").splitlines() if line.startswith("| `")]
    assert {row[0].strip("`") for row in rows} == KINDS[axis]
    assert all(row[1] for row in rows)
    assert all(row[-1] for row in rows if row[0] != "`none`")


def test_every_preset_has_its_row() -> None:
    rows = [_cells(line) for line in _section("Presets").splitlines() if line.startswith("| `")]
    assert [row[0].strip("`") for row in rows] == list(PRESETS)
    for name, *kinds in rows:
        rule = build_rule(name.strip("`"), {})
        assert [cell.split(" ")[0] for cell in kinds] == [kind_of(getattr(rule, axis)) for axis in AXES]
        assert float(kinds[-1].split("= ")[1].strip(")")) == rule.step.eta


@pytest.mark.parametrize("kind", sorted(KINDS["step"] | KINDS["staleness"]))
def test_every_default_is_the_codes(kind: str) -> None:
    axis = "step" if kind in KINDS["step"] else "staleness"
    row = next(line for line in _section(f"{axis}:").splitlines() if line.startswith(f"| `{kind}`"))
    choice = getattr(build_rule("fedbuff", {axis: kind}), axis)
    numbers: dict[str, object] = {
        key: value for key, value in msgspec.to_builtins(choice).items() if key != "kind"
    }
    stated = dict(re.findall(r"(\w+) = ([\d.e-]+)", _cells(row)[2]))
    if "as adam" not in _cells(row)[2]:
        assert {key: float(value) for key, value in stated.items()} == numbers


def test_what_does_not_run_yet_is_named_with_its_source() -> None:
    for kind, source in LATER.items():
        assert f"`{kind}`" in PAGE
        assert source in PAGE


def test_every_shorthand_is_named() -> None:
    assert f"shorthands: {', '.join(SHORTHANDS)}" in PAGE
