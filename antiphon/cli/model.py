"""``antiphon model``: take the model out of a federation's folder."""

from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from antiphon.broker_config.disk import RealDisk
from antiphon.codecs.errors import ConfigError, StateError
from antiphon.coordinator import models
from antiphon.coordinator.ledger.reading import Newest, folder_of, metadata, newest
from antiphon.coordinator.models import Model

FORMATS = (".safetensors", ".npz")


def export(
    folder: Annotated[Path, typer.Argument(help="The federation's folder, or one of its state/runs/.")],
    target: Annotated[Path, typer.Argument(help="OUT.safetensors or OUT.npz.")],
) -> None:
    """Write the newest committed version as safetensors or npz, also while the coordinator runs.

    Example: antiphon model export federation model.npz
    """
    if target.suffix not in FORMATS:
        raise ConfigError(f"{target} ends neither in .safetensors nor in .npz: say which one you want")
    found = _newest(folder)
    try:
        with target.open("wb") as file:
            if target.suffix == ".npz":
                _write_npz(found.model, file)
            else:
                file.writelines(models.parts(found.model, metadata(found)))
    except OSError as error:
        raise StateError(f"cannot write {target}: {error.strerror or error}") from None
    digest = found.model.digest.hex()[:16]
    print(f"{target}: version {found.model.number} of run {found.run.hex()}, digest {digest}")


def _newest(folder: Path) -> Newest:
    disk = RealDisk()
    try:
        return newest(folder_of(folder, disk), disk)
    except OSError as error:
        raise StateError(f"cannot read the ledger in {folder}: {error.strerror or error}") from None


def _write_npz(model: Model, file: BinaryIO) -> None:
    import numpy as np

    arrays = dict(models.tensors(model.schema, model.vector, model.exact))
    np.savez(file, allow_pickle=False, **arrays)
