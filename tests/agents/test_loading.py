"""What goes wrong when somebody names a trainer."""

import sys
from pathlib import Path

import pytest

from antiphon.agents.loading import check_trainer, load_trainer, split_reference
from antiphon.codecs.errors import ConfigError, TrainerError

GOOD = """
class Trainer:
    def __init__(self, rows=1):
        self.rows = rows
    def get_model_params(self): ...
    def update_model_params(self, params): ...
    def train_model(self, context): ...

class Half:
    def get_model_params(self): ...

class Shop:
    make = Trainer

def unhappy():
    raise KeyError("amount")

def misconfigured():
    from antiphon.codecs.errors import ConfigError
    raise ConfigError("column 'age' is missing")
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "good_bank.py").write_text(GOOD)
    (tmp_path / "bad_bank.py").write_text("1 / 0")
    (tmp_path / "poor_bank.py").write_text("import no_such_framework")
    for name in ("good_bank", "bad_bank", "poor_bank"):
        sys.modules.pop(name, None)
    return tmp_path


def test_a_class_in_the_current_folder_is_made_with_its_arguments(here: Path) -> None:
    assert load_trainer("good_bank:Trainer", {"rows": 5}).rows == 5  # pyright: ignore
    assert load_trainer("good_bank:Shop.make", {}).rows == 1  # pyright: ignore


@pytest.mark.parametrize(
    ("reference", "arguments", "kind", "said"),
    [
        ("good_bank", {}, ConfigError, "package.module:factory"),
        (":Trainer", {}, ConfigError, "package.module:factory"),
        ("no_bank:Trainer", {}, ConfigError, "no module 'no_bank'"),
        ("good_bank.deeper:Trainer", {}, ConfigError, "good_bank"),
        ("poor_bank:Trainer", {}, ConfigError, "needs 'no_such_framework', which is not installed"),
        ("bad_bank:Trainer", {}, TrainerError, "ZeroDivisionError"),
        ("good_bank:Trainr", {}, ConfigError, "callables in it: Half, Shop, Trainer, misconfigured, unhappy"),
        ("good_bank:__doc__", {}, ConfigError, "no factory"),
        ("good_bank:Trainer", {"lines": 5}, ConfigError, "lines"),
        ("good_bank:unhappy", {}, TrainerError, "KeyError: 'amount'"),
        ("good_bank:misconfigured", {}, ConfigError, "column 'age'"),
        ("good_bank:Half", {}, ConfigError, r"Half, which has no method update_model_params\(\)"),
        ("builtins:dict", {"a": 1}, ConfigError, "get_model_params"),
    ],
)
def test_what_is_wrong_is_said(
    here: Path, reference: str, arguments: dict[str, object], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        load_trainer(reference, arguments)


def test_an_object_can_be_checked_without_loading() -> None:
    with pytest.raises(ConfigError, match="what you gave gave a int"):
        check_trainer("what you gave", 3)


@pytest.mark.parametrize("reference", ["nonsense", "module:", ":factory", ""])
def test_a_reference_is_a_module_and_a_factory(reference: str) -> None:
    assert split_reference("package.module:Shop.make") == ("package.module", "Shop.make")
    with pytest.raises(ConfigError, match=r"write package\.module:factory"):
        split_reference(reference)
