"""What lies in a federation's folder and in an agent's folder, read into values. `provisioning` writes it.

Federation: ``coordinator.toml`` (settings), ``coordinator.key`` (secret), ``federation.toml`` (the
invitation that agents get), ``roster/<id>.toml`` (who is admitted), ``admissions/<id>.toml`` (what they get
back), ``broker/`` (mosquitto's files, and the coordinator's and monitors' passwords),
``initial.safetensors`` (version 0), ``state/``.

Agent: ``agent.toml`` (settings), ``agent.key`` (secret), ``federation.toml`` (the invitation),
``<id>.request.toml`` (to the operator), ``admission.toml`` (from the operator), ``state.db``, ``outbox/``.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec

from antiphon.broker_config.connection import BrokerAddress
from antiphon.broker_config.documents import (
    Admission,
    AgentFile,
    AgentKeys,
    BrokerSection,
    CoordinatorFile,
    CoordinatorKeys,
    Passwords,
    RosterFile,
    check_key,
    key_bytes,
    load_invitation,
)
from antiphon.broker_config.settings import load, load_two
from antiphon.broker_config.topics import COORDINATOR, check_id
from antiphon.codecs.errors import ConfigError, SealError, StateError
from antiphon.codecs.sealing import SecretKey, SigningKey, open_anonymous

T = TypeVar("T", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class RosterEntry:
    """An admitted agent: its id, X25519 public key (32 bytes), and whether it may send version 0."""

    id: str
    public: bytes
    may_initialise: bool = False


@dataclass(frozen=True, slots=True)
class FederationFolder:
    """A federation's folder as its coordinator needs it."""

    folder: Path
    name: str
    prefix: str
    key: SecretKey = field(repr=False)
    signing: SigningKey = field(repr=False)
    address: BrokerAddress
    initial: Path | None


@dataclass(frozen=True, slots=True)
class AgentFolder:
    """An agent's folder as its agent needs it; ``trainer`` and ``arguments`` as its file says."""

    folder: Path
    id: str
    federation: str
    prefix: str
    key: SecretKey = field(repr=False)
    coordinator: bytes
    signing: bytes
    address: BrokerAddress
    trainer: str
    arguments: Mapping[str, object]


def open_federation(folder: Path, settings: type[T]) -> tuple[FederationFolder, T]:
    """Read what a coordinator needs, and its settings as ``settings``.

    Raises:
        StateError: a file is missing, or this is no federation's folder.
        ConfigError: a file does not hold what it should.
    """
    _must_be(folder, "coordinator.toml", "antiphon init")
    invitation = load_invitation(folder / "federation.toml")
    file, values = load_two(folder / "coordinator.toml", CoordinatorFile, settings)
    keys = load(folder / "coordinator.key", CoordinatorKeys)
    where = folder / "coordinator.key"
    passwords = load_passwords(folder)
    initial = folder / "initial.safetensors"
    federation = FederationFolder(
        folder=folder,
        name=invitation.name,
        prefix=invitation.prefix,
        key=SecretKey.load(key_bytes(keys.static, where)),
        signing=SigningKey.load(key_bytes(keys.signing, where)),
        address=_address(file.broker, COORDINATOR, passwords.coordinator, folder),
        initial=initial if initial.exists() else None,
    )
    return federation, values


def open_agent(folder: Path, settings: type[T]) -> tuple[AgentFolder, T]:
    """Read what an agent needs, and its settings as ``settings``.

    Raises:
        StateError: a file is missing (the admission too, with what to do), or this is no agent's folder.
        ConfigError: a file does not hold what it should, or the admission is another agent's.
    """
    _must_be(folder, "agent.toml", "antiphon agent init")
    invitation = load_invitation(folder / "federation.toml")
    file, values = load_two(folder / "agent.toml", AgentFile, settings)
    key = load_agent_key(folder)
    password = "" if file.broker.username else open_admission(folder, file.id, invitation.name, key)
    agent = AgentFolder(
        folder=folder,
        id=check_id(file.id),
        federation=invitation.name,
        prefix=invitation.prefix,
        key=key,
        coordinator=bytes.fromhex(invitation.coordinator),
        signing=bytes.fromhex(invitation.signing),
        address=_address(file.broker, file.id, password, folder),
        trainer=file.trainer,
        arguments=file.arguments,
    )
    return agent, values


def open_admission(folder: Path, id: str, federation: str, key: SecretKey) -> str:
    """Return the broker password that an agent's ``admission.toml`` holds.

    Raises:
        StateError: it is not there yet.
        ConfigError: it is for another agent or federation, or does not open with this key.
    """
    path = folder / "admission.toml"
    if not path.exists():
        raise StateError(
            f"{path} is missing: send {id}.request.toml to the operator of federation {federation!r}, "
            "and put the admission that comes back there"
        )
    admission = load(path, Admission)
    if (admission.id, admission.federation) != (id, federation):
        raise ConfigError(
            f"{path} is for agent {admission.id!r} of federation {admission.federation!r}, "
            f"not for {id!r} of {federation!r}"
        )
    try:
        return open_anonymous(key, bytes.fromhex(admission.password)).decode()
    except (SealError, ValueError):
        raise ConfigError(
            f"{path} does not open with this agent's key: send the request again, and ask for a new admission"
        ) from None


def load_roster(folder: Path) -> dict[str, RosterEntry]:
    """Return the admitted agents of the federation in ``folder``, by id.

    Raises:
        ConfigError: a file in ``roster/`` is not what `admit` writes.
    """
    return {
        id: RosterEntry(id, key_bytes(file.public, folder / "roster" / f"{id}.toml"), file.may_initialise)
        for id, file in load_roster_files(folder).items()
    }


def load_roster_files(folder: Path) -> dict[str, RosterFile]:
    """Return the files in ``roster/`` by id, sorted.

    Raises:
        ConfigError: one of them is not what `admit` writes, or lies under another agent's name.
        StateError: the folder is gone or cannot be read: that revokes nobody.
    """
    found: dict[str, RosterFile] = {}
    roster = folder / "roster"
    try:
        names = sorted(os.listdir(roster))
    except OSError as error:
        raise StateError(f"cannot read {roster}: {error.strerror}") from None
    for path in (roster / name for name in names if name.endswith(".toml") and not name.startswith(".")):
        file = load(path, RosterFile)
        if path.stem != check_id(file.id):
            raise ConfigError(f"{path} holds agent {file.id!r}: the file must be called {file.id}.toml")
        check_key(file.public, path)
        found[file.id] = file
    return found


def load_passwords(folder: Path) -> Passwords:
    """Return the coordinator's and the monitors' broker passwords."""
    return load(folder / "broker" / "credentials.toml", Passwords)


def load_agent_key(folder: Path) -> SecretKey:
    """Return an agent's secret key."""
    path = folder / "agent.key"
    return SecretKey.load(key_bytes(load(path, AgentKeys).static, path))


def _must_be(folder: Path, file: str, command: str) -> None:
    if not (folder / file).exists():
        raise StateError(f"there is no {file} in {folder}: name another folder, or make one with `{command}`")


def _address(section: BrokerSection, username: str, password: str, folder: Path) -> BrokerAddress:
    def path(name: str) -> str | None:
        return str(folder / name) if name else None

    return BrokerAddress(
        url=section.url,
        username=section.username or username,
        password=section.password if section.username else password,
        ca_file=path(section.ca_file),
        certificate_file=path(section.certificate_file),
        key_file=path(section.key_file),
    )
