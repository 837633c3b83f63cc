"""``antiphon model``: take the model out of a federation's folder."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from antiphon.codecs.errors import ConfigError, StateError
from antiphon.coordinator import models

FORMATS = (".safetensors", ".npz")


def export(
    folder: Annotated[Path, typer.Argument(help="The federation's folder.")],
    target: Annotated[Path, typer.Argument(help="OUT.safetensors or OUT.npz.")],
) -> None:
    """Write the newest model as safetensors or npz.

    Example: antiphon model export federation model.npz
    """
    if target.suffix not in FORMATS:
        raise ConfigError(f"{target} ends neither in .safetensors nor in .npz: say which one you want")
    source = folder / "state" / "model.safetensors"
    about = models.metadata_of(source)
    try:
        if target.suffix == ".npz":
            _write_npz(source, target)
        else:
            shutil.copyfile(source, target)
    except OSError as error:
        raise StateError(f"cannot write {target}: {error.strerror or error}") from None
    digest = about.get("digest", "")[:16]
    print(f"{target}: version {about.get('version', '?')} of run {about.get('run', '?')}, digest {digest}")


def _write_npz(source: Path, target: Path) -> None:
    import numpy as np

    arrays = models.load(source)
    with target.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
