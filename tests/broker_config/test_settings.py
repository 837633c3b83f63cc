"""Configuration files: what is taken, and what the refusals say."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest

from antiphon.broker_config.settings import load, load_two
from antiphon.codecs.errors import ConfigError, StateError


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    max_versions: int = 0
    time_budget: float = 0.0
    order: Literal["up", "down"] = "up"


class Outer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    preset: str = "fedbuff"
    end: Inner = msgspec.field(default_factory=Inner)
    more: Inner | None = None
    rate: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    hints: dict[str, float] = {}
    stops: tuple[Inner, ...] = ()

    def __post_init__(self) -> None:
        if len(self.hints) > 1:
            raise ConfigError("two hints are too many")


def _file(folder: Path, text: str) -> Path:
    path = folder / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_file_becomes_one_frozen_value(tmp_path: Path) -> None:
    text = 'preset = "fedavg"\nrate = 2\n[end]\nmax_versions = 3\n[hints]\nanything = 1.5\n'
    settings = load(_file(tmp_path, text), Outer)
    assert settings == Outer("fedavg", Inner(3), None, 2.0, {"anything": 1.5})


def test_unknown_key_names_the_file_and_the_nearest_known_one(tmp_path: Path) -> None:
    path = _file(tmp_path, 'prest = "x"\n')
    with pytest.raises(ConfigError, match=r"settings\.toml: unknown key 'prest'; did you mean 'preset'\?"):
        load(path, Outer)


@pytest.mark.parametrize("table", ["end", "more"])
def test_unknown_key_in_a_table_is_named_with_the_table(tmp_path: Path, table: str) -> None:
    path = _file(tmp_path, f"[{table}]\nmax_version = 3\n")
    with pytest.raises(ConfigError, match=f"unknown key '{table}.max_version'; did you mean 'max_versions'"):
        load(path, Outer)


def test_unknown_key_in_one_of_several_tables_is_named_with_its_number(tmp_path: Path) -> None:
    path = _file(tmp_path, "[[stops]]\nmax_versions = 3\n[[stops]]\nmax_version = 3\n")
    with pytest.raises(ConfigError, match=r"unknown key 'stops\[1\]\.max_version'; did you mean"):
        load(path, Outer)


def test_unknown_key_like_no_other_lists_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'zzz'; known are end, hints, more, preset, rate"):
        load(_file(tmp_path, "zzz = 1\n"), Outer)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("preset = 3\n", "preset: Expected `str`, got `int`"),
        ("[end]\nmax_versions = '3'\n", "end.max_versions: Expected `int`, got `str`"),
        ("rate = 0\n", "rate: Expected `float` > 0"),
        ("preset = \n", "is not valid TOML"),
        ("[end]\norder = 'left'\n", "end.order: 'left' is none of up, down"),
        ("[[stops]]\norder = 'left'\n", "stops[0].order: 'left' is none of up, down"),
        ("stops = [1]\n", "stops[0]: Expected `object`"),
        ("end = 1\n", "end: Expected `object`"),
        ("[hints]\na = 1\nb = 2\n", "two hints are too many"),
    ],
)
def test_wrong_value_is_refused_with_its_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=r"settings\.toml") as caught:
        load(_file(tmp_path, text), Outer)
    assert said in str(caught.value)


def test_bytes_that_are_not_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(path, Outer)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"cannot read .*gone\.toml: No such file"):
        load(tmp_path / "gone.toml", Outer)


def test_required_key_that_is_missing_is_named(tmp_path: Path) -> None:
    class Place(msgspec.Struct, frozen=True):
        url: str

    class Strict(msgspec.Struct, frozen=True):
        id: str
        inner: Place

    with pytest.raises(ConfigError, match=r"settings\.toml: id is missing$"):
        load(_file(tmp_path, ""), Strict)
    with pytest.raises(ConfigError, match=r"settings\.toml: inner\.url is missing$"):
        load(_file(tmp_path, 'id = "x"\n[inner]\n'), Strict)


def test_one_file_may_hold_two_values(tmp_path: Path) -> None:
    class Place(msgspec.Struct, frozen=True):
        url: str

    path = _file(tmp_path, 'url = "mqtt://x"\nrate = 3\n')
    assert load_two(path, Place, Outer) == (Place("mqtt://x"), Outer(rate=3.0))
    with pytest.raises(ConfigError, match=r"unknown key 'urll'; did you mean 'url'\?"):
        load_two(_file(tmp_path, 'urll = "mqtt://x"\n'), Place, Outer)
    with pytest.raises(ConfigError, match=r"unknown key 'end\.max_version'"):
        load_two(_file(tmp_path, 'url = ""\n[end]\nmax_version = 1\n'), Place, Outer)
