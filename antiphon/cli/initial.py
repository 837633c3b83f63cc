"""Writes version 0 as safetensors: ``python -m antiphon.cli.initial SOURCE TARGET [NAME=VALUE ...]``.

A process of its own, started by ``antiphon init``: a trainer may import a whole framework. The roles that a
trainer gives its tensors travel in the file's metadata, as JSON under ``antiphon.roles``.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from antiphon.agents.loading import load_trainer
from antiphon.codecs.errors import AntiphonError, ConfigError, SchemaError, StateError, TrainerError
from antiphon.codecs.schema import infer
from antiphon.coordinator.models import ROLES_KEY, roles_of


def write_initial(source: str, target: Path, arguments: Mapping[str, object]) -> None:
    """Write the parameters that ``source`` gives, a file or ``package.module:factory``, to ``target``.

    Raises:
        ConfigError: the source is neither, or holds no model.
        TrainerError: the trainer raised, or its parameters are no model.
    """
    if source.endswith((".npz", ".safetensors")):
        params, roles = _from_file(Path(source))
    else:
        params, roles = _from_trainer(source, arguments)
    try:
        infer(params, roles)
        _refuse_what_is_no_number(params)
    except (SchemaError, ConfigError) as error:
        raise ConfigError(f"{source} gives no usable model: {error}") from None
    save = import_module("safetensors.numpy").save_file
    whole = {name: np.ascontiguousarray(value).reshape(value.shape) for name, value in params.items()}
    save(whole, target, metadata={ROLES_KEY: json.dumps(dict(roles or {}))})


def read_arguments(words: Sequence[str]) -> dict[str, object]:
    """Return ``NAME=VALUE`` words as arguments; a value that is JSON (3, true, [1]) counts as such.

    Raises:
        ConfigError: a word has no ``=``.
    """
    found: dict[str, object] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals):
            raise ConfigError(f"{word!r} is no argument: write NAME=VALUE")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def _refuse_what_is_no_number(params: Mapping[str, Any]) -> None:
    for name in sorted(params):
        if not np.isfinite(params[name]).all():
            raise ConfigError(f"tensor {name!r} holds a NaN or an infinity")


def _from_trainer(source: str, arguments: Mapping[str, object]) -> tuple[dict[str, Any], Any]:
    trainer: Any = load_trainer(source, arguments)
    try:
        params = {str(name): np.asarray(value) for name, value in trainer.get_model_params().items()}
        roles = dict(trainer.model_roles()) if hasattr(trainer, "model_roles") else None
    except Exception as error:
        raise TrainerError(f"{source} failed: {type(error).__name__}: {str(error)[:300]}") from error
    return params, roles


def _from_file(path: Path) -> tuple[dict[str, Any], Any]:
    from safetensors import SafetensorError

    try:
        return _from_npz(path) if path.suffix == ".npz" else _from_safetensors(path)
    except FileNotFoundError:
        raise StateError(f"there is no file {path}") from None
    except (OSError, ValueError, EOFError, BadZipFile, SafetensorError) as error:
        raise ConfigError(f"{path} holds no model: {str(error)[:200]}") from None


def _from_npz(path: Path) -> tuple[dict[str, Any], Any]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}, None


def _from_safetensors(path: Path) -> tuple[dict[str, Any], Any]:
    import safetensors

    opened: Any = safetensors.safe_open(path, framework="numpy")
    with opened as file:
        names: list[str] = list(file.keys())
        return {name: file.get_tensor(name) for name in names}, roles_of(path)


if __name__ == "__main__":
    try:
        write_initial(sys.argv[1], Path(sys.argv[2]), read_arguments(sys.argv[3:]))
    except AntiphonError as error:
        print(f"antiphon: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigError) else 1)
