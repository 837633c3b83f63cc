"""Words of commands, without typer's own conversion."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import pytest
import typer

from antiphon.cli.plain import PlainCommand

CALLS: list[tuple[object, ...]] = []


def verb(
    folder: Annotated[Path, typer.Argument()],
    name: Annotated[str, typer.Option()] = "nobody",
    other: Annotated[Path | None, typer.Option()] = None,
    more: Annotated[list[str] | None, typer.Option("--set")] = None,
    port: Annotated[int, typer.Option(min=1, max=9)] = 5,
    loud: Annotated[bool, typer.Option("--loud")] = False,
) -> None:
    CALLS.append((folder, name, other, more or [], port, loud))


def call(*words: str) -> int:
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(cls=PlainCommand)(verb)
    CALLS.clear()
    try:
        app(args=words, prog_name="verb")
    except SystemExit as leaving:
        return int(leaving.code or 0)
    return 0


def test_words_arrive_in_their_types() -> None:
    assert (
        call("here", "--name", "a", "--other", "b/c", "--set", "x=1", "--set", "y=2", "--port", "7", "--loud")
        == 0
    )
    assert CALLS.pop() == (Path("here"), "a", Path("b/c"), ["x=1", "y=2"], 7, True)


def test_what_was_not_typed_is_the_default() -> None:
    assert call("here") == 0
    assert CALLS.pop() == (Path("here"), "nobody", None, [], 5, False)


@pytest.mark.parametrize(
    "words", [[], ["here", "--port", "10"], ["here", "--port", "x"], ["here", "--nane", "a"]]
)
def test_what_cannot_be_is_still_refused(words: list[str]) -> None:
    assert call(*words) == 2
    assert not CALLS


@pytest.mark.parametrize("words", [["agent", "no-folder", "--set", "a=1"], ["coordinator", "no-folder"]])
def test_a_service_never_imports_a_library_that_only_reads_its_words(words: list[str]) -> None:
    script = f"import sys; from antiphon.cli import main; main({words!r}); print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in answer.stdout.split()}
    assert "numpy" in loaded
    assert not {"pydantic", "pydantic_core", "rich", "matplotlib"} & loaded
