"""``antiphon admit``: let an agent take part, or a tool look."""

from pathlib import Path
from typing import Annotated

import typer

from antiphon.broker_config.documents import load_request
from antiphon.broker_config.mosquitto import reload_broker
from antiphon.broker_config.provisioning import add_monitor, fingerprint
from antiphon.broker_config.provisioning import admit as admit_agent
from antiphon.codecs.errors import ConfigError


def admit(
    federation: Annotated[Path, typer.Argument(help="The federation's folder.")],
    request: Annotated[
        Path | None, typer.Argument(help="The agent's ID.request.toml.", show_default=False)
    ] = None,
    may_initialise: Annotated[
        bool, typer.Option("--may-initialise", help="Its parameters may become version 0.")
    ] = False,
    monitor: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Make a broker user for one more tool instead.", show_default=False
        ),
    ] = "",
) -> None:
    """Let an agent take part: roster, broker user and rules, and the admission to hand back.

    Example: antiphon admit federation alice/alice.request.toml

    Example: antiphon admit federation --monitor grafana
    """
    if (request is None) == (not monitor):
        raise ConfigError("say which request to admit, or --monitor NAME: one of them")
    if request is None:
        password = add_monitor(federation, monitor)
        print(f"Broker user {monitor} may read everything and publish nothing; its password is {password}")
        print("One connection at a time: the next one takes its place.")
        _reload(federation)
        return
    asked = load_request(request)
    again = (federation / "roster" / f"{asked.id}.toml").exists()
    admission = admit_agent(federation, request, may_initialise)
    print(f"Agent {asked.id} is admitted. Fingerprint of its key: {fingerprint(asked.public)}")
    if again:
        print("It was before: the admission that it has is void now, since this one holds a new password.")
    _reload(federation)
    print("Next:")
    if (request.parent / "agent.toml").exists():
        print(f"  cp {admission} {request.parent / 'admission.toml'}")
    else:
        print(f"  send {admission} back, to be saved as admission.toml in the agent's folder")


def _reload(federation: Path) -> None:
    if reload_broker(federation):
        print("The broker reads its users and rules again.")
    else:
        print("A broker that runs elsewhere with these files must read them again: send it SIGHUP.")
