"""``antiphon init``: a new federation."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from antiphon.broker_config.provisioning import init_federation, refuse_existing
from antiphon.cli.common import Arguments, Data
from antiphon.codecs.errors import ConfigError, StateError, TrainerError


def init(
    folder: Annotated[Path, typer.Argument(help="Where the federation lives; made if it is not there.")],
    name: Annotated[
        str, typer.Option(help="What it is called: small letters, digits, hyphens.", show_default=False)
    ],
    broker: Annotated[
        str, typer.Option(help="Where agents and coordinator reach the broker.")
    ] = "mqtt://127.0.0.1:1883",
    prefix: Annotated[
        str, typer.Option(help="Before every topic, for a broker that federations share.", show_default=False)
    ] = "",
    trainer: Annotated[
        str,
        typer.Option(
            metavar="MODULE:FACTORY", help="Its parameters become version 0; run once.", show_default=False
        ),
    ] = "",
    data: Data = "",
    argument: Arguments = None,
    initial: Annotated[
        Path | None,
        typer.Option(help="Version 0 from a .safetensors or .npz file instead.", show_default=False),
    ] = None,
    preset: Annotated[
        str, typer.Option(help="fedasync, fedbuff, fedavg, fedadam, fedyogi or fedadagrad.")
    ] = "fedbuff",
) -> None:
    """Make a new federation: keys, invitation, broker files.

    Example: antiphon init federation --name lab --trainer mine:Mine

    Without --trainer and --initial, the first agent that was admitted with --may-initialise sends version 0.
    """
    if trainer and initial:
        raise ConfigError("--trainer and --initial both give version 0: use one of them")
    if initial and initial.suffix not in (".safetensors", ".npz"):
        raise ConfigError(f"--initial {initial} ends neither in .safetensors nor in .npz")
    refuse_existing(folder)
    with tempfile.TemporaryDirectory(prefix="antiphon-") as aside:
        ready = Path(aside) / "initial.safetensors"
        _refuse_unknown_preset(preset)
        if trainer or initial:
            words = [*(argument or []), *([f"data={json.dumps(data)}"] if data else [])]
            _make_initial(trainer or str(initial), words, ready)
        roles = _roles_in(ready) if ready.exists() else {}
        invitation = init_federation(folder, name, broker, prefix, preset, roles)
        if ready.exists():
            (folder / ready.name).write_bytes(ready.read_bytes())
    version = "in initial.safetensors" if trainer or initial else "asked of the first agent that may give it"
    print(f"Federation {name} is in {folder}: settings in coordinator.toml, version 0 {version}.")
    print(f"Its secrets are coordinator.key and broker/credentials.toml; {invitation} is for the agents.")
    print("Next:")
    print(f"  antiphon broker {folder}           (or any broker, with the files in {folder / 'broker'})")
    print(f"  antiphon coordinator {folder}")
    print(f"  antiphon agent init ID --invitation {invitation} --folder DIR      (on each agent's host)")


def _refuse_unknown_preset(preset: str) -> None:
    from antiphon.coordinator.aggregation.presets import build_rule

    build_rule(preset, {})


def _make_initial(source: str, arguments: list[str], ready: Path) -> None:
    """Run the trainer once, in a process of its own: what it imports and leaves behind is not ours."""
    command = [sys.executable, "-m", "antiphon.cli.initial", source, str(ready), *arguments]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode in (1, 2) and done.stderr.startswith("antiphon: "):
        kind = ConfigError if done.returncode == 2 else TrainerError
        raise kind(done.stderr.removeprefix("antiphon: ").strip())
    sys.stderr.write(done.stderr)
    if done.returncode or not ready.exists():
        raise StateError(f"making version 0 from {source} ended with code {done.returncode}: see above")


def _roles_in(ready: Path) -> dict[str, str]:
    from antiphon.coordinator.models import roles_of

    return roles_of(ready)
