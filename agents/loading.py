"""Loads a user's trainer from ``package.module:factory``, and says in plain words why it cannot.

The current folder is importable, as with ``python -m``. The trainer's code is trusted: it runs with the
rights of the process.
"""

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, cast

from antiphon.agents.trainer import Trainer
from antiphon.codecs.errors import ConfigError, TrainerError

METHODS = ("get_model_params", "update_model_params", "train_model")


def load_trainer(reference: str, arguments: Mapping[str, object]) -> Trainer:
    """Import ``package.module:factory`` and call it.

    Args:
        reference: A module and a callable in it (a class or a function), joined by a colon.
        arguments: Keyword arguments for the factory.

    Raises:
        ConfigError: The reference, the module, the factory or an argument does not exist, or what the factory
            made lacks a method.
        TrainerError: The module or the factory raised.
    """
    module, name = split_reference(reference)
    factory = _factory(module, name)
    _check_arguments(reference, factory, arguments)
    try:
        trainer = factory(**arguments)
    except ConfigError:
        raise
    except Exception as error:
        raise TrainerError(f"{reference} failed: {_words(error)}") from error
    return check_trainer(reference, trainer)


def split_reference(reference: str) -> tuple[str, str]:
    """Return the module and the factory that ``package.module:factory`` names, without looking for them.

    Raises:
        ConfigError: It is not of that form.
    """
    module, _, name = reference.partition(":")
    if not (module and name):
        raise ConfigError(
            f"--trainer {reference!r}: write package.module:factory, for example mybank:Trainer"
        )
    return module, name


def check_trainer(what: str, trainer: object) -> Trainer:
    """Return ``trainer`` if it has the methods of `Trainer`.

    Raises:
        ConfigError: It lacks one; ``what`` names it in the sentence.
    """
    for method in METHODS:
        if not callable(getattr(trainer, method, None)):
            kind = type(trainer).__name__
            raise ConfigError(
                f"{what} gave a {kind}, which has no method {method}(): see Trainer in docs/agents.md"
            )
    return cast(Trainer, trainer)


def _factory(module: str, name: str) -> Callable[..., object]:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        loaded = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigError(_missing(module, error)) from error
    except Exception as error:
        raise TrainerError(f"importing {module} failed: {_words(error)}") from error
    factory: Any = loaded
    for part in name.split("."):
        factory = getattr(factory, part, None)
    if not callable(factory):
        known = ", ".join(sorted(_callables(loaded))) or "none"
        raise ConfigError(f"the module {module} has no factory called {name!r}; callables in it: {known}")
    return factory


def _missing(module: str, error: ModuleNotFoundError) -> str:
    if error.name and (module == error.name or module.startswith(error.name + ".")):
        return f"there is no module {error.name!r} here ({os.getcwd()}) or among the installed packages"
    return f"the module {module} needs {error.name!r}, which is not installed"


def _callables(module: object) -> list[str]:
    name = getattr(module, "__name__", "")
    return [
        key
        for key, value in vars(module).items()
        if callable(value) and not key.startswith("_") and getattr(value, "__module__", None) == name
    ]


def _check_arguments(reference: str, factory: Callable[..., object], arguments: Mapping[str, object]) -> None:
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):  # some builtins have none: calling will tell
        return
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise ConfigError(f"{reference} takes {signature}: {error}") from None


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:300]}"
