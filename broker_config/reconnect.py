"""When to try a lost line again, with which protocol, and when to give up: decisions without IO.

paho's own reconnecting has no jitter and repeats refused credentials for ever. Two clients with one id
displace each other for ever too (13 connects in 12 s, measured), and neither a 3.1.1 broker nor mosquitto
2.0.11 gives a reason. So losses soon after CONNACK, without a word from the broker and without any failed try
between them, count as a takeover.
"""

from dataclasses import dataclass, replace

from antiphon.broker_config.connection import Limits
from antiphon.codecs.errors import ConfigError

QUICK_LOSS = 10.0
"""Seconds after CONNACK within which a loss is suspicious."""

QUICK_LOSSES = {4: 3, 5: 5}
"""Suspicious losses in a row that count as a takeover, by protocol: most brokers give a reason over MQTT
5."""

TAKEN_OVER = 142
"""MQTT 5 reason code of a DISCONNECT."""

SETTLED = 30.0
"""Seconds of a session after which the delays start small again."""


@dataclass(frozen=True, slots=True)
class History:
    """What happened to this line so far.

    Attributes:
        protocol: To try next: 5, or 4 for MQTT 3.1.1.
        worked: Whether this protocol got a CONNACK that said yes; then it is kept.
        proofs: That the broker knows no MQTT 5: two are needed to stop trying.
        failures: In a row, since a session that lasted.
        refusals: Refused credentials in a row.
        quick_losses: Unexplained losses soon after CONNACK, in a row.
    """

    protocol: int = 5
    worked: bool = False
    proofs: int = 0
    failures: int = 0
    refusals: int = 0
    quick_losses: int = 0


def begin(protocol: int) -> History:
    """A line that has not been tried; with 4, MQTT 5 never will be."""
    return History(protocol=protocol, worked=protocol == 4, proofs=2 if protocol == 4 else 0)


def delay(limits: Limits, history: History, chance: float) -> float:
    """Seconds to wait before the next try: full jitter.

    Args:
        limits: Its ``first_delay`` doubles with each failure up to its ``longest_delay``.
        history: With at least one failure.
        chance: Uniform in [0, 1).
    """
    bound = limits.first_delay * 2.0 ** min(max(history.failures - 1, 0), 32)
    return chance * min(bound, limits.longest_delay)


def accepted(history: History) -> History:
    """The broker said yes."""
    proofs = history.proofs + 1 if history.protocol == 4 else 0
    return replace(history, worked=True, proofs=proofs, refusals=0)


def failed(history: History) -> History:
    """No connection: nobody there, timeout, TLS, or the broker is busy."""
    return replace(history, failures=history.failures + 1, quick_losses=0)


def closed_early(history: History) -> History:
    """The broker closed the line without an answer to CONNECT. Older brokers do that to MQTT 5.

    So does a proxy whose broker is still starting: see `lost` for the second look. A protocol that has worked
    is kept.
    """
    protocol = history.protocol if history.worked else 9 - history.protocol
    return replace(history, failures=history.failures + 1, protocol=protocol)


def unknown_protocol(history: History) -> History:
    """The broker refused the protocol version in so many words."""
    return replace(failed(history), protocol=9 - history.protocol, worked=False, proofs=2)


def refused(history: History, limits: Limits, who: str, reason: str) -> History:
    """Bad credentials, or not authorised.

    Raises:
        ConfigError: It happened `Limits.refusals` times in a row.
    """
    if history.refusals + 1 >= limits.refusals:
        raise ConfigError(
            f"the broker refused {who} {limits.refusals} times ({reason}): "
            "check user name and password, and that the broker has read its password file since; "
            "an agent that was admitted again needs its new admission.toml, the one before is void"
        )
    return replace(failed(history), refusals=history.refusals + 1)


def lost(history: History, who: str, age: float, code: int | None) -> History:
    """A session ended that was not ours to end.

    Args:
        history: Of this line.
        who: The client id.
        age: Seconds since CONNACK.
        code: The reason in the broker's DISCONNECT; None if the line just ended.

    Raises:
        ConfigError: Another client uses this client id.
    """
    quick = history.quick_losses + 1 if code is None and age < QUICK_LOSS else 0
    if code == TAKEN_OVER or quick >= QUICK_LOSSES[history.protocol]:
        raise ConfigError(
            f"another client took over the broker session of {who!r}: stop the other one, "
            "or find out who else has its credentials; every client needs an id of its own"
        )
    failures = 1 if age >= SETTLED else history.failures + 1
    history = replace(history, failures=failures, quick_losses=quick)
    if history.protocol == 4 and history.proofs < 2:
        return replace(history, protocol=5, worked=False)
    return history
