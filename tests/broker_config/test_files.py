"""Files that are whole or not there."""

import stat
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.broker_config.files import quote, write
from antiphon.codecs.errors import StateError


def test_secret_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    write(tmp_path / "deep" / "a.key", "secret", secret=True)
    assert stat.S_IMODE((tmp_path / "deep" / "a.key").stat().st_mode) == 0o600


def test_public_file_is_replaced_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / ".a.toml.new").write_text("left by a crash")
    write(tmp_path / "a.toml", "one")
    write(tmp_path / "a.toml", "two")
    assert (tmp_path / "a.toml").read_text() == "two"
    assert [p.name for p in tmp_path.iterdir()] == ["a.toml"]


def test_file_that_must_not_be_overwritten_stays(tmp_path: Path) -> None:
    write(tmp_path / "a.key", "one")
    with pytest.raises(StateError, match=r"a\.key exists already"):
        write(tmp_path / "a.key", "two", overwrite=False)
    assert (tmp_path / "a.key").read_text() == "one"


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="cannot write"):
        write(tmp_path / "file" / "a.toml", "text")


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_text_survives_toml(text: str) -> None:
    assert tomllib.loads(f"x = {quote(text)}")["x"] == text
