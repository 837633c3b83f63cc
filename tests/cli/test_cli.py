"""The table of verbs, and what becomes of errors."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from antiphon import cli
from antiphon.codecs.errors import ConfigError, NotConnected


def _verb_that(action: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.Verb, "load", lambda self: action)  # pyright: ignore


def test_overview_names_every_verb_and_loads_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(verb.words[0] in said for verb in cli.VERBS)
    assert "antiphon demo" in said


def test_overview_imports_neither_numpy_nor_paho_nor_matplotlib() -> None:
    script = (
        "import sys; from antiphon.cli import main; main(['--help']);"
        "print(*sorted({m.partition('.')[0] for m in sys.modules}), file=sys.stderr)"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"numpy", "paho", "matplotlib", "nacl", "zstandard"} & set(answer.stderr.split())


def test_group_help_lists_its_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["agent", "--help"]) == 0
    said = capsys.readouterr().out
    assert "run" in said
    assert "init" in said


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["agent", "folder"], ["agent", "run", "folder"]),
        (["agent", "--trainer", "a:b", "folder"], ["agent", "run", "--trainer", "a:b", "folder"]),
        (["agent", "folder", "--help"], ["agent", "run", "folder", "--help"]),
        (["agent", "init", "x"], ["agent", "init", "x"]),
        (["agent", "run", "x"], ["agent", "run", "x"]),
        (["agent", "--help"], ["agent", "--help"]),
        (["agent"], ["agent"]),
        (["model", "folder"], ["model", "folder"]),
        (["init", "x"], ["init", "x"]),
        ([], []),
    ],
)
def test_agent_followed_by_a_folder_runs_it(typed: list[str], meant: list[str]) -> None:
    assert cli.with_default(typed) == meant


def test_config_error_is_one_sentence_and_exit_code_two(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def action() -> None:
        raise ConfigError("turn it off and on again")

    _verb_that(action, monkeypatch)
    assert cli.main(["demo"]) == 2
    assert capsys.readouterr() == ("", "antiphon: turn it off and on again\n")


def test_other_error_of_ours_is_exit_code_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def action() -> None:
        raise NotConnected("nobody answers")

    _verb_that(action, monkeypatch)
    assert cli.main(["demo"]) == 1
    assert capsys.readouterr().err == "antiphon: nobody answers\n"


def test_control_c_leaves_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def action() -> None:
        raise KeyboardInterrupt

    _verb_that(action, monkeypatch)
    assert cli.main(["demo"]) != 0
    assert "Traceback" not in capsys.readouterr().err


def test_place_that_may_not_be_used_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def action() -> None:
        raise PermissionError(13, "Permission denied", "/root/federation")

    _verb_that(action, monkeypatch)
    assert cli.main(["demo"]) == 2
    said = (
        "antiphon: /root/federation may not be used (Permission denied): run this as the user who owns it, "
    )
    assert capsys.readouterr().err == said + "or give this user the right to it\n"


def test_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def action() -> None:
        raise ZeroDivisionError

    _verb_that(action, monkeypatch)
    with pytest.raises(ZeroDivisionError):
        cli.main(["demo"])


def test_unknown_verb_is_a_usage_error_that_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["agen"]) == 2
    assert "agent" in capsys.readouterr().err


def test_version_names_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("antiphon 0.")


def test_python_dash_m_is_the_same_command_line() -> None:
    answer = subprocess.run([sys.executable, "-m", "antiphon", "--version"], capture_output=True, text=True)
    assert answer.returncode == 0
    assert answer.stdout.startswith("antiphon 0.")
