"""``antiphon agent init``: a new agent."""

from pathlib import Path
from typing import Annotated

import typer

from antiphon.agents.loading import split_reference
from antiphon.broker_config.documents import load_request
from antiphon.broker_config.provisioning import fingerprint, init_agent


def agent_init(
    id: Annotated[str, typer.Argument(help="Its name everywhere: small letters, digits, hyphens.")],
    invitation: Annotated[Path, typer.Option(help="The operator's federation.toml.", show_default=False)],
    folder: Annotated[
        Path | None, typer.Option(help="Where the agent lives; by default a new folder of its name.")
    ] = None,
    trainer: Annotated[
        str, typer.Option(metavar="MODULE:FACTORY", help="The code that trains.", show_default=False)
    ] = "",
    broker: Annotated[
        str, typer.Option(help="Where this host reaches the broker, if not as invited.", show_default=False)
    ] = "",
) -> None:
    """Make a new agent from an invitation: settings, its own key, and a request to the operator.

    Example: antiphon agent init alice --invitation federation/federation.toml --trainer mine:Mine
    """
    if trainer:
        split_reference(trainer)  # its module may be of another host: the form is all there is to check
    place = folder or Path(id)
    request = init_agent(place, id, invitation, trainer, broker)
    print(
        f"Agent {id} is in {place}: settings in agent.toml; agent.key is its secret and stays on this host."
    )
    print(f"Fingerprint of its key: {fingerprint(load_request(request).public)}")
    print("Next:")
    print(f"  send {request} to the operator, who runs: antiphon admit FEDERATION {request.name}")
    print(f"  save what comes back as {place / 'admission.toml'}")
    print(f"  antiphon agent {place}" + ("" if trainer else " --trainer MODULE:FACTORY"))
