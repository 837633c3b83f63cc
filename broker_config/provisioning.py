"""Makes federations and agents, and admits agents: writes the files that `folders` reads.

Nothing here talks to anybody. A secret key is written once, 0600, and never leaves its folder; an agent's
broker password is made by the operator, kept only as a hash, and handed back sealed to the agent's key.
Whatever exists already is left as it is, and said so; only the files derived from the roster
(``broker/passwd``, ``broker/acl``) are written again.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from string import Template
from urllib.parse import urlsplit

from antiphon.broker_config.access import acl_file, rules
from antiphon.broker_config.connection import BrokerAddress
from antiphon.broker_config.credentials import hash_password, new_password, password_file
from antiphon.broker_config.documents import Request, RosterFile, load_invitation, load_request
from antiphon.broker_config.files import quote, write
from antiphon.broker_config.folders import load_passwords, load_roster_files
from antiphon.broker_config.topics import (
    ADMIN,
    COORDINATOR,
    MONITOR,
    Topics,
    check_id,
    check_name,
    check_prefix,
)
from antiphon.codecs.errors import ConfigError, StateError
from antiphon.codecs.sealing import SecretKey, SigningKey, seal_anonymous


def init_federation(
    folder: Path,
    name: str,
    broker_url: str,
    prefix: str = "",
    preset: str = "fedbuff",
    roles: Mapping[str, str] | None = None,
) -> Path:
    """Make a federation: settings, keys, invitation, and the broker's files.

    Args:
        folder: Made if it is not there; may hold other things, but no federation.
        name: What the federation is called; its rule is that of ids.
        broker_url: Where agents and coordinator reach the broker, ``mqtt://host:1883``.
        prefix: Before every topic; a closing ``/`` is added.
        preset: The aggregation's name.
        roles: Of tensors of version 0, by name, where they are not what dtype and name suggest.

    Returns:
        The invitation for agents, ``federation.toml``.

    Raises:
        StateError: there is a federation already, or the folder cannot be written.
        ConfigError: a name, the url or the prefix is not usable.
    """
    check_name(name)
    prefix = check_prefix(prefix)
    port = listening_port(broker_url)
    refuse_existing(folder)
    key, signing = SecretKey.generate(), SigningKey.generate()
    write(
        folder / "coordinator.key",
        _toml({"static": key.export().hex(), "signing": signing.export().hex()}),
        secret=True,
        overwrite=False,
    )
    values = {"name": name, "url": quote(broker_url), "preset": quote(preset)}
    values["roles"] = "".join(f"{quote(tensor)} = {quote(role)}\n" for tensor, role in (roles or {}).items())
    write(folder / "coordinator.toml", _template("coordinator.toml", values), overwrite=False)
    public = {"coordinator": key.public.hex(), "signing": signing.public.hex()}
    invitation = folder / "federation.toml"
    text = f"# The invitation of federation {name}: public, for everybody who may ask to take part.\n"
    write(invitation, text + _toml({"name": name, "broker": broker_url, "prefix": prefix, **public}))
    write(folder / "broker" / "mosquitto.conf", _template("mosquitto.conf", {"port": str(port)}))
    _write_passwords(folder, new_password(), {MONITOR: new_password(), ADMIN: new_password()})
    for empty in ("roster", "admissions"):
        (folder / empty).mkdir(exist_ok=True)
    refresh_broker_files(folder)
    return invitation


def listening_port(broker_url: str) -> int:
    """Return the port at which agents expect plain MQTT; 1883 if they reach the broker some other way.

    Raises:
        ConfigError: ``broker_url`` is none.
    """
    address = BrokerAddress(broker_url)
    return address.port if urlsplit(broker_url).scheme == "mqtt" else 1883


def refuse_existing(folder: Path) -> None:
    """Refuse a folder that holds a federation.

    Raises:
        StateError: it does.
    """
    for file in ("coordinator.toml", "coordinator.key", "federation.toml"):
        if (folder / file).exists():
            raise StateError(
                f"{folder} holds a federation already ({file}), which is left as it is: choose another folder"
            )


def init_agent(folder: Path, id: str, invitation_path: Path, trainer: str = "", broker_url: str = "") -> Path:
    """Make an agent: settings, its key, and the request to the operator.

    Args:
        folder: Made if it is not there; may hold other things, but no agent.
        id: What the agent is called everywhere: in topics, at the broker, in the roster.
        invitation_path: The operator's ``federation.toml``.
        trainer: ``package.module:factory``, if it is known already.
        broker_url: Where *this* host reaches the broker, if not where the invitation says.

    Returns:
        The request, ``<id>.request.toml``.

    Raises:
        StateError: there is an agent already, or a file cannot be read or written.
        ConfigError: the id, the invitation or the url is not usable.
    """
    check_id(id)
    invitation = load_invitation(invitation_path)
    url = broker_url or invitation.broker
    BrokerAddress(url)
    for file in ("agent.toml", "agent.key"):
        if (folder / file).exists():
            raise StateError(
                f"{folder} holds an agent already ({file}), which is left as it is: choose another folder"
            )
    key = SecretKey.generate()
    write(folder / "agent.key", _toml({"static": key.export().hex()}), secret=True, overwrite=False)
    line = f"trainer = {quote(trainer)}" if trainer else '#trainer = "package.module:factory"'
    values = {"id": quote(id), "name": invitation.name, "url": quote(url), "trainer": line}
    write(folder / "agent.toml", _template("agent.toml", values), overwrite=False)
    if invitation_path.resolve() != (folder / "federation.toml").resolve():
        write(folder / "federation.toml", invitation_path.read_text(encoding="utf-8"))
    request = folder / f"{id}.request.toml"
    fields = {"id": id, "federation": invitation.name, "public": key.public.hex()}
    write(request, f"# Agent {id} asks federation {invitation.name} to take part. Public.\n" + _toml(fields))
    return request


def admit(folder: Path, request_path: Path, may_initialise: bool = False) -> Path:
    """Admit an agent: roster, broker user and rules, and the admission to hand back.

    Admitting the same agent again gives it a new broker password and a new admission.

    Args:
        folder: The federation's.
        request_path: The agent's ``<id>.request.toml``.
        may_initialise: Whether its parameters may become version 0.

    Returns:
        The admission, ``admissions/<id>.toml``.

    Raises:
        StateError: a file cannot be read or written.
        ConfigError: the request is for another federation, its id is taken, or it is not usable.
    """
    invitation = load_invitation(folder / "federation.toml")
    request = load_request(request_path)
    if request.federation != invitation.name:
        raise ConfigError(
            f"{request_path} asks federation {request.federation[:60]!r}; this one is {invitation.name!r}"
        )
    _refuse_taken(folder, request)
    password = new_password()
    sealed = seal_anonymous(bytes.fromhex(request.public), password.encode())
    entry = RosterFile(
        id=request.id,
        public=request.public.lower(),
        may_initialise=may_initialise,
        admitted=datetime.now(UTC).date().isoformat(),
        password=hash_password(password),
    )
    _write_roster(folder, entry)
    refresh_broker_files(folder)
    admission = folder / "admissions" / f"{request.id}.toml"
    text = f"# For agent {request.id}, who alone can open it: put it into its folder as admission.toml.\n"
    fields = {"id": request.id, "federation": invitation.name, "password": sealed.hex()}
    write(admission, text + _toml(fields))
    return admission


def add_monitor(folder: Path, name: str) -> str:
    """Make a broker user that reads everything and publishes nothing; one for each tool. Returns its
    password.

    Raises:
        StateError: a file cannot be read or written.
        ConfigError: the name is taken or not usable.
    """
    check_name(name)
    passwords = load_passwords(folder)
    if name == COORDINATOR or name in passwords.monitors or name in load_roster_files(folder):
        raise ConfigError(f"{name!r} is taken at this federation's broker: choose another name")
    password = new_password()
    _write_passwords(folder, passwords.coordinator, {**passwords.monitors, name: password})
    refresh_broker_files(folder)
    return password


def refresh_broker_files(folder: Path) -> None:
    """Write ``broker/passwd`` and ``broker/acl`` from the roster and the passwords.

    Raises:
        StateError: a file cannot be read or written.
        ConfigError: a file is not what this module writes.
    """
    topics = Topics(load_invitation(folder / "federation.toml").prefix)
    roster, passwords = load_roster_files(folder), load_passwords(folder)
    users = {id: entry.password for id, entry in roster.items()}
    own = {COORDINATOR: passwords.coordinator, **passwords.monitors}
    users.update({name: hash_password(password) for name, password in own.items()})
    # Readable for all on purpose: the broker often runs as another user, and these are hashes of random keys.
    write(folder / "broker" / "passwd", password_file(users))
    write(folder / "broker" / "acl", acl_file(rules(topics, roster, passwords.monitors)))


def fingerprint(public: str) -> str:
    """Return 16 hexadecimal digits of a public key (hex) in groups of four, to compare over the telephone."""
    digest = hashlib.blake2b(bytes.fromhex(public), digest_size=8, person=b"antiphon-print-1").hexdigest()
    return " ".join(digest[at : at + 4] for at in range(0, 16, 4))


def _refuse_taken(folder: Path, request: Request) -> None:
    """Refuse an id that a tool has, or another key; and a key that another id has."""
    if request.id in load_passwords(folder).monitors:
        raise ConfigError(f"{request.id!r} is the broker user of a monitoring tool: choose another id")
    for id, entry in load_roster_files(folder).items():
        same_key = entry.public.lower() == request.public.lower()
        if id == request.id and not same_key:
            raise ConfigError(
                f"agent {id!r} is admitted with another key (fingerprint {fingerprint(entry.public)}): "
                f"if it lost its folder, remove roster/{id}.toml and admit it again"
            )
        if id != request.id and same_key:
            raise ConfigError(
                f"agent {id!r} has the same key: every agent needs an `antiphon agent init` of its own"
            )


def _write_roster(folder: Path, entry: RosterFile) -> None:
    flag = "true" if entry.may_initialise else "false"
    fields = {"id": entry.id, "public": entry.public, "admitted": entry.admitted, "password": entry.password}
    write(folder / "roster" / f"{entry.id}.toml", _toml(fields) + f"may_initialise = {flag}\n")


def _write_passwords(folder: Path, coordinator: str, monitors: Mapping[str, str]) -> None:
    text = (
        "# Broker passwords: the coordinator's, and those of users that may only look.\n"
        + _toml({"coordinator": coordinator})
        + "\n[monitors]\n"
        + _toml(monitors)
    )
    write(folder / "broker" / "credentials.toml", text, secret=True)


def _toml(fields: Mapping[str, str]) -> str:
    return "".join(f"{name} = {quote(value)}\n" for name, value in fields.items())


def _template(name: str, values: Mapping[str, str]) -> str:
    text = files("antiphon.broker_config").joinpath(f"{name}.template").read_text(encoding="utf-8")
    return Template(text).substitute(values)
