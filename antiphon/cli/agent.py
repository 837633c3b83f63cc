"""``antiphon agent``: run an agent in its folder until it is stopped or the run is over."""

import asyncio
import logging
import os
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer

from antiphon.agents.loading import load_trainer
from antiphon.agents.service import Agent
from antiphon.agents.settings import AgentIdentity, AgentSettings
from antiphon.agents.trainer import Trainer
from antiphon.broker_config.environment import Environment, real_environment
from antiphon.broker_config.folders import AgentFolder, open_agent
from antiphon.broker_config.paho_connection import connector
from antiphon.cli.common import Arguments, Data, stop_on_signals
from antiphon.cli.condensed import CondensedLog
from antiphon.cli.initial import read_arguments
from antiphon.codecs.errors import AntiphonError, ConfigError

GRACE = 2.0
"""Seconds for a trainer that looks at ``context.stopping`` to come to an end."""


def agent(
    folder: Annotated[Path, typer.Argument(help="The agent's folder.")],
    trainer: Annotated[
        str,
        typer.Option(
            metavar="MODULE:FACTORY", help="What trains; by default as agent.toml says.", show_default=False
        ),
    ] = "",
    data: Data = "",
    argument: Arguments = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say everything, and every line.")] = False,
) -> None:
    """Run an agent: pull the model, train on data that stays here, answer, again.

    Example: antiphon agent alice --set seed=1

    Example: antiphon agent alice --trainer antiphon.agents.trainers:logistic --data rows.npz

    Ctrl-C or SIGTERM stops it; what it has trained and not yet delivered waits in its outbox.
    """
    place, settings = open_agent(folder, AgentSettings)
    reference = trainer or place.trainer
    if not reference:
        raise ConfigError(
            f"no trainer: say --trainer package.module:factory, or set it in {folder}/agent.toml"
        )
    arguments = {**place.arguments, **read_arguments(argument or [])}
    if data:
        arguments["data"] = data
    _log(verbose)
    loaded = load_trainer(reference, arguments)
    with holding(place.folder), real_environment() as environment:
        service = _service(place, settings, loaded, environment)
        code = 0
        try:
            asyncio.run(_until_stopped(service))
        except AntiphonError as error:
            if not service.training:
                raise
            print(f"antiphon: {error}", file=sys.stderr)
            code = 2 if isinstance(error, ConfigError) else 1
        if service.training:
            _leave_trainer_behind(service, code)


@contextmanager
def holding(folder: Path) -> Generator[None]:
    """Mark this process as the folder's agent until it ends, however it ends.

    The mark is a lock of the process, not of those that it forks. A file system or a platform that has no
    locks goes without.

    Raises:
        ConfigError: Another process is.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with ExitStack() as stack:
        with suppress(OSError):
            file = stack.enter_context((folder / "lock").open("ab"))
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):  # POSIX allows either
                raise ConfigError(
                    f"an agent runs in {folder} already: stop it first, or make another with "
                    "`antiphon agent init`"
                ) from None
        yield


def _service(
    place: AgentFolder, settings: AgentSettings, trainer: Trainer, environment: Environment
) -> Agent:
    identity = AgentIdentity(
        id=place.id,
        federation=place.federation,
        key=place.key,
        coordinator=place.coordinator,
        signing=place.signing,
        prefix=place.prefix,
    )
    connect = connector(place.address, environment.rng.spawn(1)[0])
    return Agent(settings, identity, trainer, place.folder, connect, environment)


async def _until_stopped(service: Agent) -> None:
    stop_on_signals(service.stop)
    await service.run()


def _leave_trainer_behind(service: Agent, code: int) -> None:
    """End the process although the trainer may still compute: Python would wait for its thread for ever."""
    until = time.monotonic() + GRACE
    while service.training and time.monotonic() < until:
        time.sleep(0.05)
    if not service.training:
        raise typer.Exit(code)
    print("antiphon: the trainer is still at work; leaving without it", file=sys.stderr)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _log(verbose: bool) -> None:
    logging.basicConfig(
        level=logging.WARNING,
        format="%(asctime)s %(levelname).1s %(message)s",
        datefmt="%H:%M:%S",
        handlers=[logging.StreamHandler(sys.stderr) if verbose else CondensedLog(sys.stderr)],
    )
    logging.getLogger("antiphon").setLevel(logging.DEBUG if verbose else logging.INFO)
