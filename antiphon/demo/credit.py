"""The German credit data as eight banks, one for each kind of loan.

A kind of loan is a real border: who borrows for a radio is not who borrows for a car. So the rows of a bank
are few, and unlike those of the others.
"""

import csv
import shutil
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np

from antiphon.agents.trainers.data import Columns, Dataset, encode_rows, load_columns
from antiphon.agents.trainers.descent import Descent
from antiphon.agents.trainers.gradient_trainer import GradientTrainer
from antiphon.agents.trainers.logistic import logistic_model
from antiphon.demo.problem import Bank, Problem, halves

BANKS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("radio-tv", "radio, television", ("radio/television",)),
    ("new-car", "new cars", ("car (new)",)),
    ("furniture", "furniture", ("furniture/equipment",)),
    ("used-car", "used cars", ("car (used)",)),
    ("business", "business", ("business",)),
    ("education", "education", ("education", "retraining")),
    ("repairs", "repairs", ("repairs",)),
    ("appliances", "appliances, other", ("domestic appliances", "others")),
)
"""Agent id, title, and the loan purposes of its customers."""

DATA = "customers.csv"

SOURCE = "german_credit.csv"

L2 = 0.01
"""The penalty of every model in the comparison: federated, alone, pooled."""

LOCAL_STEPS, LOCAL_RATE = 5, 0.1
"""Short trainings keep the banks' answers near the common model; see ``docs/demo.md``."""


def all_rows() -> Dataset:
    """Return all customers: 1,000 rows of 57 features, two classes."""
    return encode_rows(*_load(), SOURCE)


def credit(seed: int) -> Problem:
    """Split the bundled data: a quarter held out, the rest to the banks by loan purpose.

    Args:
        seed: Decides which quarter is held out.
    """
    texts, columns = _load()
    everything = encode_rows(texts, columns, SOURCE)
    training, held_out = halves(len(everything), seed)
    purposes = np.array([row["purpose"] for row in texts])
    places = [training[np.isin(purposes[training], kinds)] for _, _, kinds in BANKS]
    banks = tuple(
        Bank(id, title, everything.take(rows)) for (id, title, _), rows in zip(BANKS, places, strict=True)
    )

    def write(place: int, folder: Path) -> None:
        with as_file(_resource("credit_columns.toml")) as source:
            shutil.copyfile(source, folder / "columns.toml")
        with (folder / DATA).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(texts[0]))
            writer.writeheader()
            own: list[int] = places[place].tolist()
            writer.writerows(texts[row] for row in own)

    return Problem(
        name="credit",
        title="German credit data: will a loan be paid back?",
        holder="bank",
        score="AUC",
        banks=banks,
        test=everything.take(held_out),
        make=_trainer,
        trainer="antiphon.demo.bank:logistic",
        arguments={
            "columns": "columns.toml",
            "l2": str(L2),
            "steps": str(LOCAL_STEPS),
            "rate": str(LOCAL_RATE),
        },
        weighting='fairness = "inverse-rate"',
        data=DATA,
        write=write,
    )


def _trainer(rows: Dataset) -> GradientTrainer:
    model = logistic_model(rows.x.shape[1], len(rows.classes), L2)
    nothing = rows.take(np.arange(0))
    return GradientTrainer(model, rows, nothing, Descent(steps=3000, rate=0.5))


def _load() -> tuple[list[dict[str, str]], Columns]:
    with as_file(_resource("credit_columns.toml")) as path:
        columns = load_columns(path)
    text = _resource(SOURCE).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines())), columns


def _resource(name: str) -> Traversable:
    return files("antiphon.demo") / "data" / name
