"""Data sets by the name that people type: those of the demo, or an .npz file."""

from pathlib import Path

from antiphon.agents.trainers.data import Dataset, read_npz
from antiphon.codecs.errors import ConfigError
from antiphon.demo import credit, digits


def open_dataset(name: str, folder: Path) -> Dataset:
    """Return the rows of "credit", "digits" or an .npz file with ``x`` and ``y``.

    Args:
        name: See above; a relative path starts from ``folder``.
        folder: Where the name was written.

    Raises:
        ConfigError: No such data set, a file that does not read, or scikit-learn is missing.
    """
    match name:
        case "credit":
            return credit.all_rows()
        case "digits":
            return digits.all_rows()
        case _ if name.endswith(".npz"):
            return read_npz(folder / name)
        case _:
            raise ConfigError(f"no data set {name!r}: use credit, digits or the path of an .npz file")
