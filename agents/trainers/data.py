"""From files to numbers: CSV with a shared column specification, or .npz.

Agents never see each other's rows, yet their feature vectors must mean the same. So the scaling constants and
the lists of categories are *configured*, in one TOML file that everybody gets; nothing is measured:

    [target]
    column = "creditability"
    classes = ["good", "bad"]

    [numeric.duration_in_month]
    mean = 20.0
    std = 12.0

    [categorical]
    housing = ["for free", "own", "rent"]

Features come in the order numeric, then categorical (one-hot), each in the file's order. Columns of the CSV
that the specification does not name are ignored.
"""

import csv
import io
import math
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from antiphon.broker_config import settings
from antiphon.codecs.errors import ConfigError

Array = npt.NDArray[Any]


class Scale(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A numeric column becomes ``(value - mean) / std``; the constants are agreed, not measured."""

    mean: float = 0.0
    std: float = 1.0


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The column to predict; class numbers are positions in ``classes``."""

    column: str
    classes: tuple[str, ...]


class Columns(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What every agent of a federation agrees on about its rows."""

    target: Target
    numeric: dict[str, Scale] = {}
    categorical: dict[str, tuple[str, ...]] = {}

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the feature vector's entries, in order."""
        hot = (f"{name}={value}" for name, values in self.categorical.items() for value in values)
        return (*self.numeric, *hot)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Rows as numbers: x (n, features) float64, y (n,) int64 class numbers."""

    x: Array
    y: Array
    classes: tuple[str, ...]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.y)

    def take(self, rows: Array) -> "Dataset":
        """Return the rows with these numbers."""
        return Dataset(self.x[rows], self.y[rows], self.classes)


def load_columns(path: str | Path) -> Columns:
    """Read a column specification.

    Raises:
        ConfigError: missing, not TOML, an unknown key, fewer than two classes, a category twice, or a std
            that is not above 0.
    """
    columns = settings.load(Path(path), Columns)
    _check(columns, path)
    return columns


def _check(columns: Columns, path: str | Path) -> None:
    lists = {**columns.categorical, columns.target.column: columns.target.classes}
    for name, values in lists.items():
        if len(set(values)) < max(len(values), 1):
            raise ConfigError(f'{path}: the list for column "{name}" is empty or names a value twice')
    if len(columns.target.classes) < 2:
        raise ConfigError(f"{path}: the target needs at least two classes")
    for name, scale in columns.numeric.items():
        if not (scale.std > 0 and math.isfinite(scale.std) and math.isfinite(scale.mean)):
            raise ConfigError(f'{path}: column "{name}" needs a finite mean and a std above 0')


def read_csv(path: str | Path, columns: Columns) -> Dataset:
    """Read a CSV file with a header line.

    Raises:
        ConfigError: the file or a column is missing, a number does not read or is not finite, or a category
            is not in its list; names row (1 is the first after the header), column and value.
    """
    reader = csv.DictReader(io.StringIO(_text(path), newline=""))
    wanted = [*columns.numeric, *columns.categorical, columns.target.column]
    missing = [name for name in wanted if name not in (reader.fieldnames or ())]
    if missing:
        raise ConfigError(f'{path} has no column "{missing[0]}"; it has {", ".join(reader.fieldnames or ())}')
    return encode_rows(reader, columns, str(path))


def encode_rows(rows: Iterable[Mapping[str, str | None]], columns: Columns, where: str) -> Dataset:
    """Turn rows of text into a feature matrix and class numbers; ``where`` names the source in errors.

    Raises:
        ConfigError: as `read_csv`.
    """
    places = {
        name: {value: number for number, value in enumerate(values)}
        for name, values in columns.categorical.items()
    }
    classes = {value: number for number, value in enumerate(columns.target.classes)}
    features: list[list[float]] = []
    labels: list[int] = []
    for number, row in enumerate(rows, start=1):
        vector = [_scaled(row[name], scale, (where, number, name)) for name, scale in columns.numeric.items()]
        for name, place in places.items():
            hot = [0.0] * len(place)
            hot[_place(row[name], place, (where, number, name))] = 1.0
            vector += hot
        features.append(vector)
        labels.append(_place(row[columns.target.column], classes, (where, number, columns.target.column)))
    x = np.array(features, dtype=np.float64).reshape(len(labels), len(columns.features))
    return Dataset(x, np.array(labels, dtype=np.int64), columns.target.classes)


def _scaled(text: str | None, scale: Scale, at: tuple[str, int, str]) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(f'{_at(at)}: "{text or ""}" is not a finite number')
    return (value - scale.mean) / scale.std


def _place(text: str | None, places: Mapping[str, int], at: tuple[str, int, str]) -> int:
    value = (text or "").strip()
    if value not in places:
        known = ", ".join(f'"{name}"' for name in places)
        raise ConfigError(f'{_at(at)}: "{value}" is not in the column specification, which has {known}')
    return places[value]


def _at(at: tuple[str, int, str]) -> str:
    where, row, column = at
    return f'{where}, row {row}, column "{column}"'


def read_npz(path: str | Path) -> Dataset:
    """Read ``x`` (n, features) numbers and ``y`` (n,) class numbers; optionally ``classes``, their names.

    Without ``classes`` there are as many as the highest number says: an agent that lacks the last
    class needs the names.

    Raises:
        ConfigError: not such a file, other shapes, a number that is not finite, a class number out of range.
    """
    arrays = _npz_arrays(path)
    x, y = arrays["x"], arrays["y"]
    if x.ndim != 2 or y.shape != x.shape[:1] or x.dtype.kind not in "fiub" or y.dtype.kind not in "iu":
        raise ConfigError(
            f"{path}: x must be (n, features) numbers and y (n,) whole numbers; "
            f"they are {x.dtype}{x.shape} and {y.dtype}{y.shape}"
        )
    names: Sequence[Any] = arrays.get("classes", np.arange(int(y.max(initial=0)) + 1)).tolist()
    if not np.isfinite(x).all():
        raise ConfigError(f"{path}: x holds a number that is not finite")
    if y.size and (y.min() < 0 or y.max() >= len(names)):
        raise ConfigError(f"{path}: y must be 0 to {len(names) - 1}, it is {y.min()} to {y.max()}")
    return Dataset(x.astype(np.float64), y.astype(np.int64), tuple(str(name) for name in names))


def _npz_arrays(path: str | Path) -> dict[str, Array]:
    try:
        # allow_pickle stays off: a data file must not be able to run code
        with np.load(path, allow_pickle=False) as archive:
            arrays: dict[str, Array] = {
                name: archive[name] for name in ("x", "y", "classes") if name in archive
            }
    except (OSError, ValueError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        raise ConfigError(f"{path} does not read as an .npz file: {error}") from None
    if not {"x", "y"} <= set(arrays):
        raise ConfigError(f"{path} must hold the arrays x and y")
    return arrays


def open_rows(data: str | Path, columns: str | Path) -> Dataset:
    """Read ``data``: an .npz file, or a CSV file with the column specification in ``columns``.

    Raises:
        ConfigError: as `load_columns`, `read_csv` and `read_npz`; or CSV without a column specification.
    """
    if Path(data).suffix == ".npz":
        return read_npz(data)
    if not str(columns):
        raise ConfigError(f"{data} needs a column specification: add --set columns=columns.toml")
    return read_csv(data, load_columns(columns))


def split(rows: Dataset, held_out: float, seed: int) -> tuple[Dataset, Dataset]:
    """Split into training and held-out rows, ``held_out`` being the share (0 <= share < 1) of the latter.

    Raises:
        ConfigError: a share out of range.
    """
    if not 0 <= held_out < 1:
        raise ConfigError(f"held_out is {held_out}, it must be at least 0 and below 1")
    order = np.random.default_rng(seed).permutation(len(rows))
    cut = round(len(rows) * held_out)
    return rows.take(np.sort(order[cut:])), rows.take(np.sort(order[:cut]))


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} does not read: {error}") from None
