"""What an agent's settings refuse."""

from typing import Any

import msgspec
import pytest

from antiphon.agents.settings import AgentSettings, Limits
from antiphon.codecs.errors import ConfigError


@pytest.mark.parametrize("limits", [{"window": 0}, {"window": 17}, {"backlog": 0}])
def test_limits_that_could_not_work_are_named(limits: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(limits))):
        Limits(**limits)


@pytest.mark.parametrize("plain", [{"encodng": "int8"}, {"encoding": "int4"}, {"timers": {"rtt": 1}}])
def test_unknown_keys_and_values_are_refused(plain: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(plain, AgentSettings)


@pytest.mark.parametrize(
    "plain",
    [
        {"timers": {"rto": 0}},
        {"timers": {"rto": float("nan")}},
        {"timers": {"retry": float("inf")}},
        {"limits": {"outbox": 0}},
        {"limits": {"spare": -1}},
    ],
)
def test_timers_and_limits_that_could_not_work_are_refused_with_their_name(plain: dict[str, Any]) -> None:
    key = next(iter(next(iter(plain.values()))))
    with pytest.raises(msgspec.ValidationError, match=key):
        msgspec.convert(plain, AgentSettings)


@pytest.mark.parametrize("interval", [-1.0, float("nan"), float("inf")])
def test_an_interval_is_a_time(interval: float) -> None:
    with pytest.raises(ConfigError, match="interval"):
        AgentSettings(interval=interval)
