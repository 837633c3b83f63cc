"""``antiphon broker``: a broker with the federation's users and rules."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from antiphon.broker_config.documents import load_invitation
from antiphon.broker_config.mosquitto import become, check_port, find_mosquitto, hold, prepare_mosquitto
from antiphon.broker_config.provisioning import listening_port
from antiphon.codecs.errors import ConfigError


def broker(
    folder: Annotated[Path, typer.Argument(help="The federation's folder.")],
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="By default that of the invitation.")
    ] = None,
    bind: Annotated[str, typer.Option(help="Address of this machine; 0.0.0.0 is all of them.")] = "127.0.0.1",
    embedded: Annotated[
        bool, typer.Option("--embedded", help="The one that pip installs, even if mosquitto is here.")
    ] = False,
) -> None:
    """Run a broker with the federation's users and rules: mosquitto, else the embedded one.

    Example: antiphon broker federation --bind 0.0.0.0

    Ctrl-C or SIGTERM stops it; SIGHUP makes it read users and rules again.
    """
    invitation = load_invitation(folder / "federation.toml")
    expected = listening_port(invitation.broker)
    scheme = invitation.broker.partition("://")[0]
    if scheme != "mqtt":
        print(
            f"antiphon: agents were told {invitation.broker}: see that broker/mosquitto.conf has a listener "
            f"for {scheme}; the plain one is for this machine",
            file=sys.stderr,
        )
    if port is None:
        port = expected
    elif port != expected and scheme == "mqtt":
        print(f"antiphon: agents were told {invitation.broker}, this is port {port}", file=sys.stderr)
    program = None if embedded else find_mosquitto()
    if program is not None:
        command = prepare_mosquitto(program, folder, port, bind)
        print(f"mosquitto on {bind} port {port}, for federation {invitation.name}", flush=True)
        become(command, folder)
    if find_spec("amqtt") is None:
        raise ConfigError(
            "there is no broker here: install mosquitto, or the one for trying out with "
            "`pip install 'antiphon[embedded]'`"
        )
    from antiphon.broker_config.embedded import run_embedded

    hold(folder / "broker")
    check_port(port, bind)
    print(f"embedded broker on {bind} port {port}, for federation {invitation.name}", flush=True)
    run_embedded(folder, port, bind)
