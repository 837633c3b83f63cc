"""Every topic of a federation, and who may be called what: the only file that spells a topic.

A filter that ends in ``#`` or ``+`` is for the coordinator, monitors and access rules; agents subscribe
to exact topics alone. This module knows nothing of payloads, and nothing of who may do what (see `access`).
"""

import re
from dataclasses import dataclass

from antiphon.codecs.errors import ConfigError

COORDINATOR = "coordinator"
"""The coordinator's user name, client id and place in topics."""

MONITOR = "monitor"
"""The user name of whoever only looks."""

ADMIN = "admin"
"""The user name under which our own commands look, so that they do not displace the monitor's session."""

RESERVED = frozenset({COORDINATOR, "broker", MONITOR, ADMIN})
"""Names that no agent may have."""

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_LEVEL = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_OF_A_CLIENT = frozenset({"updates", "receipts", "keys", "status", "metrics"})


def check_id(id: str) -> str:
    """Return ``id`` if an agent may be called so.

    Raises:
        ConfigError: it does not match ``[a-z0-9][a-z0-9-]{0,39}``, or is reserved.
    """
    if not _ID.fullmatch(id):
        raise ConfigError(
            f"{id[:60]!r} cannot be an agent's id: use 1 to 40 small letters, digits and hyphens, "
            "not starting with a hyphen"
        )
    if id in RESERVED:
        raise ConfigError(
            f"{id!r} is reserved: an agent may be called anything but {', '.join(sorted(RESERVED))}"
        )
    return id


def check_name(name: str) -> str:
    """Return ``name`` if a federation may be called so; the rule is that of ids, nothing is reserved.

    Raises:
        ConfigError: it does not match ``[a-z0-9][a-z0-9-]{0,39}``.
    """
    if not _ID.fullmatch(name):
        raise ConfigError(
            f"{name[:60]!r} cannot be a federation's name: use 1 to 40 small letters, digits and hyphens, "
            "not starting with a hyphen"
        )
    return name


def check_prefix(prefix: str) -> str:
    """Return ``prefix`` as the protocol wants it: empty, or levels that end in ``/`` (which is added).

    Raises:
        ConfigError: a level is empty or holds anything but letters, digits, ``_``, ``.`` and ``-``.
    """
    if not prefix:
        return ""
    levels = prefix.removesuffix("/").split("/")
    if len(prefix) > 200 or not all(_LEVEL.fullmatch(level) for level in levels):
        raise ConfigError(
            f"{prefix[:60]!r} cannot be a topic prefix: use levels of letters, digits, '_', '.' and '-' "
            "joined by '/', such as site-a/credit/"
        )
    return "/".join(levels) + "/"


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one federation; ``prefix`` is empty or ends in ``/``."""

    prefix: str = ""

    def __post_init__(self) -> None:
        """Refuse a prefix that is not in its final form."""
        if check_prefix(self.prefix) != self.prefix:
            raise ConfigError(f"the topic prefix {self.prefix!r} must be empty or end in '/'")

    @property
    def broadcast(self) -> str:
        """The announcement."""
        return f"{self.prefix}model/broadcast"

    @property
    def all_slots(self) -> str:
        """Filter: every chunk and page of every slot. For access rules only: nobody subscribes to it."""
        return f"{self.broadcast}/#"

    @property
    def events(self) -> str:
        """What happened, for monitors."""
        return f"{self.prefix}events/{COORDINATOR}"

    @property
    def all_updates(self) -> str:
        """Filter: what every agent says; the coordinator's subscription."""
        return self.updates("+")

    @property
    def all_receipts(self) -> str:
        """Filter: everybody's receipts; for access rules only."""
        return self.receipts("+")

    @property
    def all_keys(self) -> str:
        """Filter: everybody's group keys; for access rules only."""
        return self.keys("+")

    @property
    def all_status(self) -> str:
        """Filter: everybody's status, the coordinator's too."""
        return self.status("+")

    @property
    def all_metrics(self) -> str:
        """Filter: everybody's metrics, the coordinator's too."""
        return self.metrics("+")

    @property
    def everything(self) -> str:
        """Filter: all topics of this federation (and of federations below its prefix)."""
        return f"{self.prefix}#"

    def chunk(self, slot: int, n: int) -> str:
        """Chunk ``n`` of the version in ``slot``."""
        return f"{self.broadcast}/{slot}/{n}"

    def page(self, slot: int, k: int) -> str:
        """Manifest page ``k`` of the version in ``slot``."""
        return f"{self.broadcast}/{slot}/m{k}"

    def updates(self, client: str) -> str:
        """What an agent sends: offers, chunks and notes."""
        return f"{self.prefix}updates/{client}"

    def receipts(self, client: str) -> str:
        """What the coordinator answers an agent."""
        return f"{self.prefix}receipts/{client}"

    def keys(self, client: str) -> str:
        """An agent's group keys."""
        return f"{self.prefix}keys/{client}"

    def status(self, client: str) -> str:
        """Whether an agent, or ``COORDINATOR``, is there."""
        return f"{self.prefix}status/{client}"

    def metrics(self, client: str) -> str:
        """The numbers of an agent, or of ``COORDINATOR``."""
        return f"{self.prefix}metrics/{client}"

    def client_of(self, topic: str) -> str | None:
        """Return whose topic this is (``updates/x`` is of ``x``, ``status/coordinator`` of ``COORDINATOR``).

        None for the model, for events, for a topic that is not of this federation, and for a name that nobody
        can have.
        """
        if not topic.startswith(self.prefix):
            return None
        kind, slash, client = topic[len(self.prefix) :].partition("/")
        if not slash or kind not in _OF_A_CLIENT or not _ID.fullmatch(client):
            return None
        return client
