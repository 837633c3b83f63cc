"""``antiphon coordinator``: run a federation's coordinator until it is stopped or the run is over."""

import asyncio
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from antiphon.broker_config.environment import real_environment
from antiphon.broker_config.folders import FederationFolder, load_roster, open_federation
from antiphon.broker_config.paho_connection import connector
from antiphon.cli.common import stop_on_signals
from antiphon.cli.condensed import Condensed
from antiphon.codecs.errors import ConfigError
from antiphon.coordinator import models
from antiphon.coordinator.aggregation.presets import build_rule
from antiphon.coordinator.keys import Identity
from antiphon.coordinator.service import Coordinator, Summary
from antiphon.coordinator.settings import CoordinatorSettings

METRICS, LONGEST_NAME = 4, 30
"""Metrics of a version that are shown, and letters of a name that still is."""


def coordinator(
    folder: Annotated[Path, typer.Argument(help="The federation's folder, made by `antiphon init`.")],
    initial: Annotated[
        Path | None,
        typer.Option(
            help="Version 0 of a new run, .safetensors or .npz; by default the folder's.", show_default=False
        ),
    ] = None,
    new_run: Annotated[
        bool, typer.Option("--new-run", help="Put the run that is there aside, and begin another.")
    ] = False,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Start although another coordinator seems to be at work.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only how it ended.")] = False,
) -> None:
    """Run a federation's coordinator: merge what agents answer, publish versions.

    Example: antiphon coordinator federation

    It goes on with the run that is there, where it ended. Ctrl-C or SIGTERM stops it cleanly; a run that
    reached an end that coordinator.toml sets stops by itself.
    """
    place, settings = open_federation(folder, CoordinatorSettings)
    _refuse_wrong(settings, folder / "coordinator.toml")
    source = initial or place.initial
    if source is not None:
        settings = msgspec.structs.replace(settings, roles={**models.roles_of(source), **settings.roles})
    insist = initial is not None and not new_run
    summary = asyncio.run(
        _serve(place, settings, source, take_over=take_over, new_run=new_run, insist=insist, quiet=quiet)
    )
    print(
        f"ended: {summary.reason}; version {summary.version}, {summary.applied} updates applied, "
        f"{summary.rejected} rejected"
        + (f"; the model is in {summary.model}" if summary.model is not None else "")
    )


def _refuse_wrong(settings: CoordinatorSettings, file: Path) -> None:
    """Refuse what the service would, with the name of the file in which a person finds it."""
    try:
        settings.check()
        build_rule(settings.preset, settings.aggregation)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None


async def _serve(
    place: FederationFolder,
    settings: CoordinatorSettings,
    source: Path | None,
    *,
    take_over: bool,
    new_run: bool,
    insist: bool,
    quiet: bool,
) -> Summary:
    identity = Identity(place.name, place.key, place.signing, place.prefix)
    lines = Condensed(partial(print, flush=True))
    with real_environment() as environment:
        service = Coordinator(
            settings,
            identity,
            lambda: load_roster(place.folder),
            partial(models.load, source) if source is not None else None,
            place.folder,
            connector(place.address, environment.rng.spawn(1)[0]),
            environment,
            take_over=take_over,
            new_run=new_run,
            insist=insist,
            listen=None
            if quiet
            else lambda event: say(lines, event, service.said_by(event.get("agents", ()))),
        )
        stop_on_signals(service.stop)
        try:
            return await service.run()
        finally:
            lines.flush()


def say(lines: Condensed, event: dict[str, Any], metrics: Mapping[str, float] | None = None) -> None:
    """Print the events that people want to see, a line each unless they follow each other fast."""
    line = sentence(event, metrics or {})
    if line:
        match event["event"]:
            case "version":
                kind = "version"
            case "rejected":
                kind = f"rejected {event.get('agent', '')} {event.get('reason', '')}"
            case _:
                kind = ""
        lines.say(kind, f"{time.strftime('%H:%M:%S', time.localtime(event['timestamp']))} {line}")


def sentence(event: dict[str, Any], metrics: Mapping[str, float]) -> str:
    """Return an event in words, a version with metrics; empty for those that would only fill the screen."""
    agent = event.get("agent", "")
    match event["event"]:
        case "started":
            detail = event.get("detail") or f"with version 0, {event.get('digest', '')}"
            return f"started: {detail}"
        case "joined" | "left" | "revoked":
            return f"{event['event']}: {agent}"
        case "rejected":
            return f"rejected: {agent}, {event.get('reason', '')}: {event.get('detail', '')}".rstrip(": ")
        case "version":
            answers = ", ".join(
                f"{name} (τ {tau})"
                for name, tau in zip(event["agents"], event["staleness"] or [0], strict=False)
            )
            # agents choose the names: none may format this screen, or fill it
            names = [name for name in metrics if name.isprintable() and len(name) <= LONGEST_NAME][:METRICS]
            said = "".join(f", {name} {metrics[name]:.4g}" for name in names)
            return f"version {event['version']}: {answers or 'the first'}{said}"
        case "over" | "frozen" | "roster" | "disk" | "recovered" | "optimiser":
            return f"{event['event']}: {' '.join(part for part in (agent, event.get('detail', '')) if part)}"
        case _:
            return ""
