"""The small TOML files that parties keep and hand each other, as strict values.

What comes from elsewhere (an invitation, a request) is checked here: names, lengths, low-order keys.
"""

from pathlib import Path
from typing import Any

import msgspec

from antiphon.broker_config.connection import BrokerAddress
from antiphon.broker_config.settings import load
from antiphon.broker_config.topics import check_id, check_name, check_prefix
from antiphon.codecs.errors import ConfigError, SealError
from antiphon.codecs.sealing import check_public


class Invitation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``federation.toml``: public; whoever has it can ask to take part, and nothing more."""

    name: str
    broker: str
    coordinator: str  # X25519 public key, hex
    signing: str  # Ed25519 verify key, hex
    prefix: str = ""


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``<id>.request.toml``: an agent asks to take part."""

    id: str
    federation: str
    public: str  # X25519 public key, hex


class Admission(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``admission.toml``: what only that agent can open."""

    id: str
    federation: str
    password: str  # sealed to the agent's key, hex


class RosterFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``roster/<id>.toml``: one admitted agent."""

    id: str
    public: str  # X25519 public key, hex
    admitted: str  # date, for people
    password: str  # as mosquitto stores it
    may_initialise: bool = False


class CoordinatorKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``coordinator.key``."""

    static: str  # X25519, hex
    signing: str  # Ed25519, hex


class AgentKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``agent.key``."""

    static: str  # X25519, hex


class Passwords(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``broker/credentials.toml``: passwords in clear, for the coordinator and for whoever looks."""

    coordinator: str
    monitors: dict[str, str]


class BrokerSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[broker]``: where it is; names and files for brokers and lines that want others than ours."""

    url: str
    username: str = ""
    password: str = ""
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""


class CoordinatorFile(msgspec.Struct, frozen=True):
    """The keys of ``coordinator.toml`` that are not the coordinator's settings."""

    broker: BrokerSection


class AgentFile(msgspec.Struct, frozen=True):
    """The keys of ``agent.toml`` that are not the agent's settings."""

    id: str
    broker: BrokerSection
    trainer: str = ""
    arguments: dict[str, Any] = {}


def load_invitation(path: Path) -> Invitation:
    """Read and check an invitation.

    Raises:
        StateError: it cannot be read.
        ConfigError: it does not hold what it should.
    """
    invitation = load(path, Invitation)
    check_name(invitation.name)
    if check_prefix(invitation.prefix) != invitation.prefix:
        raise ConfigError(f"{path}: prefix {invitation.prefix!r} must be empty or end in '/'")
    BrokerAddress(invitation.broker)
    check_key(invitation.coordinator, path)
    key_bytes(invitation.signing, path)
    return invitation


def load_request(path: Path) -> Request:
    """Read and check an agent's request.

    Raises:
        StateError: it cannot be read.
        ConfigError: it does not hold what it should: the id is reserved, the key of low order.
    """
    request = load(path, Request)
    check_id(request.id)
    check_key(request.public, path)
    return request


def key_bytes(text: str, where: Path) -> bytes:
    """Return the 32 bytes of a key in hex.

    Raises:
        ConfigError: it is not 64 hexadecimal digits. The text is not repeated: it may be a secret.
    """
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise ConfigError(f"{where}: a key must be 64 hexadecimal digits")
    return key


def check_key(text: str, where: Path) -> None:
    """Refuse what is no X25519 public key in hex, or one of low order.

    Raises:
        ConfigError: with the file's name.
    """
    try:
        check_public(key_bytes(text, where))
    except SealError as error:
        raise ConfigError(f"{where}: {error}") from None
