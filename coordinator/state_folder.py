"""The state folder as the service opens it, and what it leaves there for people. Disk work throughout."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from antiphon.broker_config.disk import Disk
from antiphon.broker_config.environment import Environment
from antiphon.codecs import schema
from antiphon.codecs.errors import ConfigError
from antiphon.codecs.schema import model_digest
from antiphon.coordinator import models
from antiphon.coordinator.aggregation.anchor import Current
from antiphon.coordinator.aggregation.rule import Rule
from antiphon.coordinator.keys import Identity
from antiphon.coordinator.ledger.layout import Layout
from antiphon.coordinator.ledger.ledger import Ledger
from antiphon.coordinator.ledger.reading import Newest, metadata
from antiphon.coordinator.ledger.records import Owner, Recovered, Retention
from antiphon.coordinator.models import Model
from antiphon.coordinator.settings import CoordinatorSettings


def make_ledger(settings: CoordinatorSettings, rule: Rule, folder: Path, disk: Disk) -> Ledger:
    """Return the ledger of a state folder; nothing is opened yet."""
    limits, kept = settings.limits, settings.ledger
    needs_bases = isinstance(rule.anchor, Current)
    return Ledger(
        folder,
        disk,
        Retention(kept.keep_versions, kept.keep_bytes, needs_bases, limits.base_bytes),
        outcomes=limits.outcomes,
        incarnations=limits.incarnations,
        sync=settings.durability == "fsync",
    )


def is_empty(folder: Path, disk: Disk) -> bool:
    """Whether there is no ledger yet, so that a run can only begin."""
    return disk.size(Layout(folder).database) is None


def begin(ledger: Ledger, identity: Identity, environment: Environment, new_run: bool) -> Recovered:
    """Open the ledger, or put the run that is there aside and begin another.

    Raises:
        StateError: The folder is in use, foreign, damaged or cannot be written.
    """
    owner = Owner(identity.federation, identity.secret.public, identity.signing.public)
    open_it = ledger.new_run if new_run else ledger.open
    return open_it(owner, environment.now(), environment.token)


def refuse_first(found: Recovered, folder: Path) -> ConfigError:
    """Return why no first version is taken: there is a run with versions."""
    number = found.version.model.number if found.version else -1
    return ConfigError(
        f"the run in {folder} has a version already, number {number}: start without --initial to go on with "
        "it, or add --new-run to begin another run with that file"
    )


def first_model(
    initial: Mapping[str, Any] | Callable[[], Mapping[str, Any]], roles: Mapping[str, str]
) -> Model:
    """Pack the operator's parameters.

    Raises:
        ConfigError: A tensor cannot be part of a model.
        StateError: From whatever reads them.
    """
    initial = initial() if callable(initial) else initial
    found = schema.infer(initial, roles or None)
    vector, exact = found.pack(initial)
    for name in sorted(initial):
        if not np.isfinite(initial[name]).all():
            raise ConfigError(
                f"tensor {name!r} of the first version holds a NaN or an infinity: no training mends that, "
                "give another first version"
            )
    return Model(found, vector, exact, 0, model_digest(found, vector, exact))


def model_file(folder: Path) -> Path:
    """Where the newest version is left when the service ends."""
    return Layout(folder).model


def leave_model(folder: Path, model: Model, ledger: Ledger, disk: Disk, sync: bool) -> None:
    """Write a version as safetensors: it can be the first version of another run.

    Raises:
        StateError: The disk is full or the folder cannot be written.
    """
    about = metadata(Newest(model, ledger.run, ledger.term))
    models.write(model_file(folder), model, about, sync=sync, disk=disk)
