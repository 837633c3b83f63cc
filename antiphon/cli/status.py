"""``antiphon status``: look at a federation's status and metrics topics for a moment."""

import asyncio
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, cast

import msgspec
import typer

from antiphon.broker_config.connection import Connected, Connection, Message
from antiphon.broker_config.folders import load_passwords, open_federation
from antiphon.broker_config.paho_connection import connector
from antiphon.broker_config.topics import ADMIN, COORDINATOR, Topics
from antiphon.codecs.errors import AntiphonError, ConfigError, NotConnected
from antiphon.coordinator.settings import CoordinatorSettings

LARGEST = 1 << 20
"""Bytes of a message that is looked at; anybody at the broker may have written it."""

PATIENCE = 10.0
"""Seconds to wait for the broker."""

MOST = 10_000
"""Clients that are shown."""

TOLD = {
    "agents_live": "agents live",
    "buffer": "updates waiting",
    "k": "needed for a version",
    "updates_applied": "applied",
    "updates_rejected": "rejected",
    "staleness_mean": "mean staleness",
}
"""What the coordinator's metrics are called in the table's heading."""

PIPE = 160
"""Columns where there is no terminal: an id may have 40."""


@dataclass(slots=True)
class Seen:
    """What lay on the topics, by client."""

    status: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])

    def take(self, topics: Topics, message: Message) -> None:
        """Take over a message; what is not JSON is left out."""
        client = topics.client_of(message.topic)
        if client is None or not message.payload or len(message.payload) > LARGEST:
            return
        try:
            values: Any = msgspec.json.decode(message.payload)  # no NaN: JSON does not have it
        except (ValueError, RecursionError):
            return
        kind = self.status if message.topic == topics.status(client) else self.metrics
        if isinstance(values, dict) and (client in kind or len(kind) < MOST):
            kind[client] = cast("dict[str, Any]", values)


def status(
    folder: Annotated[Path, typer.Argument(help="The federation's folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="JSON for programs.")] = False,
    seconds: Annotated[
        float,
        typer.Option(min=0.1, max=600, help="How long to listen; every topic says its last word at once."),
    ] = 1.5,
) -> None:
    """Show who is here and what happens.

    Example: antiphon status federation --json
    """
    place, _ = open_federation(folder, CoordinatorSettings)
    passwords = load_passwords(folder).monitors
    if ADMIN not in passwords:
        raise ConfigError(f"{folder}/broker/credentials.toml has no user {ADMIN!r}")
    address = place.address
    if address.username == COORDINATOR:
        address = replace(address, username=ADMIN, password=passwords[ADMIN])
    topics = Topics(place.prefix)

    async def main() -> Seen:
        name = address.username or ADMIN
        return await look(connector(address)(name, None), topics, seconds)

    seen = asyncio.run(main())
    if as_json:
        print(
            json.dumps({"federation": place.name, "status": seen.status, "metrics": seen.metrics}, indent=2)
        )
    else:
        show(place.name, seen)


async def look(connection: Connection, topics: Topics, seconds: float) -> Seen:
    """Listen for a moment.

    Raises:
        NotConnected: There was no connection in 10 s.
    """
    seen = Seen()
    ready = asyncio.Event()

    async def listen() -> None:
        async for event in connection.events():
            if isinstance(event, Connected):
                ready.set()
            elif isinstance(event, Message):
                seen.take(topics, event)

    failure: BaseException | None = None
    try:
        async with connection, asyncio.TaskGroup() as group:
            task = group.create_task(listen(), name="listen")
            async with asyncio.timeout(PATIENCE):
                await ready.wait()
            await connection.subscribe(topics.all_status, topics.all_metrics, qos=0)
            await asyncio.sleep(seconds)
            task.cancel()
    except* TimeoutError:
        failure = NotConnected("the broker does not answer; is it running?")
    except* AntiphonError as errors:
        failure = errors.exceptions[0]
    if failure is not None:  # raised up there, Python 3.11.2 would make it a group
        raise failure
    return seen


def show(name: str, seen: Seen) -> None:
    """Print what was seen as a table."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPE)  # nothing is cut off in a file
    own = seen.status.get(COORDINATOR)
    if own is None:
        console.print(f"Federation {name}: no coordinator has been here.")
        return
    numbers = seen.metrics.get(COORDINATOR, {})
    number = "no version" if own.get("version") == -1 else f"version {own.get('version', '?')}"
    words = f"{own.get('state', '?')}, {number}, run {str(own.get('run', '?'))[:8]}"
    console.print(_plain(f"Federation {name}: coordinator {words}"))
    means = [key for key in sorted(numbers) if key.startswith("mean_") and len(key) <= 40][:4]  # made public
    told = (
        f"{words} {_short(numbers[key])}"
        for key, words in {**TOLD, **{key: key.replace("_", " ", 1) for key in means}}.items()
        if key in numbers
    )
    console.print(_plain(", ".join(told)))
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("agent", "state", "activity"):
        table.add_column(heading, no_wrap=True)
    for heading in ("trained", "sent", "applied", "rejected", "influence"):
        table.add_column(heading, justify="right", no_wrap=True)
    for agent in sorted((seen.status.keys() | seen.metrics.keys()) - {COORDINATOR}):
        state, mine = seen.status.get(agent, {}), seen.metrics.get(agent, {})
        share = numbers.get(f"influence_{agent}")
        said = state.get("state", "?")
        cells = [agent, said, "" if said in ("offline", "lost") else state.get("activity", "")]
        cells += [
            "" if mine.get(key) == -1 else mine.get(key, "")
            for key in ("version_trained", "updates_sent", "updates_applied", "updates_rejected")
        ]
        cells.append(f"{100 * share:.1f} %" if isinstance(share, (int, float)) else "")
        table.add_row(*(_plain(str(cell)[:60]) for cell in cells))
    console.print(table)


def _plain(text: str) -> str:
    """Return what peers said without anything that rich or a terminal would obey."""
    from rich.markup import escape

    return escape("".join(each if each.isprintable() else "?" for each in text))


def _short(value: object) -> str:
    """Return a number as people read it; anybody at the broker may have written something else."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)[:20]
