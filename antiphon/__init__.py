"""Antiphon: asynchronous federated learning over any MQTT broker.

The public door. Names are loaded when they are first used, so that ``import antiphon`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from antiphon.agents.service import Agent as Agent
    from antiphon.agents.settings import AgentIdentity as AgentIdentity
    from antiphon.agents.settings import AgentSettings as AgentSettings
    from antiphon.agents.trainer import Trainer as Trainer
    from antiphon.agents.trainer import TrainingContext as TrainingContext
    from antiphon.agents.trainer import TrainingResult as TrainingResult
    from antiphon.broker_config.connection import BrokerAddress as BrokerAddress
    from antiphon.broker_config.environment import real_environment as real_environment
    from antiphon.broker_config.paho_connection import connector as connector
    from antiphon.codecs.errors import AntiphonError as AntiphonError
    from antiphon.codecs.errors import ConfigError as ConfigError
    from antiphon.codecs.errors import LimitError as LimitError
    from antiphon.codecs.errors import MalformedError as MalformedError
    from antiphon.codecs.errors import NotConnected as NotConnected
    from antiphon.codecs.errors import PacketTooLarge as PacketTooLarge
    from antiphon.codecs.errors import PeerError as PeerError
    from antiphon.codecs.errors import PublishRefused as PublishRefused
    from antiphon.codecs.errors import Rejected as Rejected
    from antiphon.codecs.errors import SchemaError as SchemaError
    from antiphon.codecs.errors import SealError as SealError
    from antiphon.codecs.errors import StateError as StateError
    from antiphon.codecs.errors import TrainerError as TrainerError
    from antiphon.codecs.errors import TransportError as TransportError
    from antiphon.codecs.errors import VersionError as VersionError
    from antiphon.coordinator.aggregation.presets import PRESETS as PRESETS
    from antiphon.coordinator.aggregation.presets import build_rule as build_rule
    from antiphon.coordinator.aggregation.whole import aggregate_params as aggregate_params
    from antiphon.coordinator.keys import Identity as Identity
    from antiphon.coordinator.service import Coordinator as Coordinator
    from antiphon.coordinator.service import Summary as Summary
    from antiphon.coordinator.settings import CoordinatorSettings as CoordinatorSettings

    __version__: str

_DOOR = {
    "antiphon.broker_config.connection": ("BrokerAddress",),
    "antiphon.broker_config.environment": ("real_environment",),
    "antiphon.broker_config.paho_connection": ("connector",),
    "antiphon.codecs.errors": (
        "AntiphonError",
        "ConfigError",
        "LimitError",
        "MalformedError",
        "NotConnected",
        "PacketTooLarge",
        "PeerError",
        "PublishRefused",
        "Rejected",
        "SchemaError",
        "SealError",
        "StateError",
        "TrainerError",
        "TransportError",
        "VersionError",
    ),
    "antiphon.agents.service": ("Agent",),
    "antiphon.agents.settings": ("AgentIdentity", "AgentSettings"),
    "antiphon.agents.trainer": ("Trainer", "TrainingContext", "TrainingResult"),
    "antiphon.coordinator.aggregation.presets": ("PRESETS", "build_rule"),
    "antiphon.coordinator.aggregation.whole": ("aggregate_params",),
    "antiphon.coordinator.keys": ("Identity",),
    "antiphon.coordinator.service": ("Coordinator", "Summary"),
    "antiphon.coordinator.settings": ("CoordinatorSettings",),
}
_HOME = {name: module for module, names in _DOOR.items() for name in names}

__all__ = ["__version__", *sorted(_HOME)]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    """Load a public name when it is first asked for."""
    if name == "__version__":
        from importlib.metadata import version

        value: object = version("antiphon")
    elif name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
    else:
        raise AttributeError(f"module 'antiphon' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Name what is public, loaded or not."""
    return sorted({*globals(), *__all__})
