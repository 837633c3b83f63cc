"""The command line: a table of verbs, each of them a small file that is imported only when it is called.

A verb is a function that typer turns into a command; its module may import what it likes, ``antiphon --help``
never pays for it. Errors that we raise on purpose become one sentence on stderr, exit code 2 where a person
must change something and 1 otherwise; everything else is a defect and keeps its traceback.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer

from antiphon.codecs.errors import AntiphonError, ConfigError


@dataclass(frozen=True, slots=True)
class Verb:
    """A command: its words, where its function is (``module:function``), and its line in the overview."""

    words: tuple[str, ...]
    function: str
    summary: str

    def load(self) -> Callable[..., Any]:
        """Import the module and return the function."""
        module, _, name = self.function.partition(":")
        return getattr(import_module(module), name)


VERBS = (
    Verb(("demo",), "antiphon.cli.demo:demo", "Run a whole federation on this machine, on real data."),
    Verb(("init",), "antiphon.cli.init:init", "Make a new federation: keys, invitation, broker files."),
    Verb(("agent", "run"), "antiphon.cli.agent:agent", "Run an agent: pull, train, answer, again."),
    Verb(("agent", "init"), "antiphon.cli.agent_init:agent_init", "Make a new agent from an invitation."),
    Verb(("admit",), "antiphon.cli.admit:admit", "Let an agent take part: roster, broker user, admission."),
    Verb(("coordinator",), "antiphon.cli.coordinator:coordinator", "Run a federation's coordinator."),
    Verb(("broker",), "antiphon.cli.broker:broker", "Run a broker with the federation's users and rules."),
    Verb(("status",), "antiphon.cli.status:status", "Show who is here and what happens."),
    Verb(("simulate",), "antiphon.cli.simulate:simulate", "Simulate a federation in virtual time."),
    Verb(("replay",), "antiphon.cli.replay:replay", "Rebuild a run's model from its ledger, and compare."),
    Verb(("model", "export"), "antiphon.cli.model:export", "Write the newest model as safetensors or npz."),
)

GROUPS = {
    "agent": "Run an agent (agent FOLDER), or make one (agent init ID).\n\nEvery option: agent run --help",
    "model": "Take the model out.",
}

DEFAULT = {"agent": "run"}
"""What a group's name means when no verb of the group follows: ``agent FOLDER`` is ``agent run FOLDER``."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: what was typed after ``antiphon``; the process's own by default.
    """
    words = with_default(list(sys.argv[1:] if arguments is None else arguments))
    try:
        build(words)(args=words, prog_name="antiphon")
    except AntiphonError as error:
        print(f"antiphon: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    except PermissionError as error:
        print(
            f"antiphon: {error.filename or 'something'} may not be used ({error.strerror}): "
            "run this as the user who owns it, or give this user the right to it",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        return 130
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    return 0


def with_default(words: list[str]) -> list[str]:
    """Put a group's default word in where it was left out, unless help was asked for."""
    if not words or words[0] not in DEFAULT or len(words) == 1:
        return words
    known = {verb.words[1] for verb in VERBS if verb.words[0] == words[0] and len(verb.words) > 1}
    if words[1] in known or words[1] == "--help":
        return words
    return [words[0], DEFAULT[words[0]], *words[1:]]


def build(words: Sequence[str]) -> typer.Typer:
    """Return the command line in which only the verb that ``words`` call has its real function."""
    app = _group("Asynchronous federated learning over any MQTT broker.\n\nStart with: antiphon demo")
    app.callback()(_options)
    groups = {name: _group(text) for name, text in GROUPS.items()}
    added = set[str]()
    for verb in VERBS:
        called = tuple(words[: len(verb.words)]) == verb.words
        function = verb.load() if called else _unloaded
        parent = app if len(verb.words) == 1 else groups[verb.words[0]]
        if parent is not app and verb.words[0] not in added:
            added.add(verb.words[0])
            app.add_typer(parent, name=verb.words[0])
        parent.command(verb.words[-1], short_help=verb.summary, help=None if called else verb.summary)(
            function
        )
    return app


def _group(text: str) -> typer.Typer:
    return typer.Typer(
        help=text,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
    )


def _unloaded() -> None:
    """Stand in for a verb that was not called."""


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"antiphon {version('antiphon')}")
        raise typer.Exit


def _options(
    version: bool = typer.Option(
        False, "--version", is_eager=True, callback=_show_version, help="Show the version and leave."
    ),
) -> None:
    del version
