"""Scikit-learn's digits as eight sites, each of which sees some digits often and others hardly ever."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from antiphon.agents.trainers.data import Dataset
from antiphon.agents.trainers.descent import Descent
from antiphon.agents.trainers.gradient_trainer import GradientTrainer
from antiphon.agents.trainers.mlp import mlp_model
from antiphon.codecs.errors import ConfigError
from antiphon.demo.problem import Bank, Problem, halves

SITES = 8
CONCENTRATION = 0.3
"""Of the Dirichlet distribution that deals each digit out to the sites: small is uneven."""

DATA = "digits.npz"

HIDDEN, L2 = 32, 0.0005
LOCAL_STEPS, LOCAL_RATE = 5, 0.5


def all_rows() -> Dataset:
    """Return all images: 1,797 rows of 64 pixels (0 to 1), ten classes.

    Raises:
        ConfigError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits  # pyright: ignore
    except ImportError:
        raise ConfigError("the digits need scikit-learn: pip install 'antiphon[sklearn]'") from None
    bunch = cast("Any", load_digits())
    pixels: npt.NDArray[np.float64] = bunch.data / 16.0
    return Dataset(pixels, bunch.target.astype(np.int64), tuple(str(digit) for digit in range(10)))


def digits(seed: int) -> Problem:
    """Split the digits: a quarter held out, the rest dealt out unevenly by label.

    Args:
        seed: Decides which quarter is held out, and who sees which digits.

    Raises:
        ConfigError: scikit-learn is not installed.
    """
    everything = all_rows()
    training, held_out = halves(len(everything), seed)
    owners = _deal(everything.y[training], seed)
    banks = tuple(
        Bank(f"site-{place + 1}", f"site {place + 1}", everything.take(training[owners == place]))
        for place in range(SITES)
    )

    def write(place: int, folder: Path) -> None:
        rows = banks[place].rows
        np.savez(folder / DATA, x=rows.x.astype(np.float32), y=rows.y, classes=np.array(rows.classes))

    return Problem(
        name="digits",
        title="Handwritten digits (8 x 8 pixels): which one is it?",
        holder="site",
        score="accuracy",
        banks=banks,
        test=everything.take(held_out),
        make=_trainer,
        trainer="antiphon.demo.bank:mlp",
        arguments={
            "hidden": str(HIDDEN),
            "l2": str(L2),
            "steps": str(LOCAL_STEPS),
            "rate": str(LOCAL_RATE),
            "batch": "0",
        },
        # Both: by rate alone the slow site's answers, dozens of versions old, count eight times, too much for
        # sites that know different digits (the accuracy fell by up to a half for a while).
        weighting='fairness = "inverse-rate"\nstaleness = "polynomial"',
        data=DATA,
        write=write,
    )


def _trainer(rows: Dataset) -> GradientTrainer:
    model = mlp_model(rows.x.shape[1], len(rows.classes), HIDDEN, L2)
    nothing = rows.take(np.arange(0))
    return GradientTrainer(model, rows, nothing, Descent(steps=600, rate=1.0))


def _deal(labels: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    """Return the owner of each row; every site gets at least ten rows, whatever the draw."""
    rng = np.random.default_rng([seed, SITES])
    owners = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        owners[places] = rng.choice(SITES, len(places), p=rng.dirichlet([CONCENTRATION] * SITES))
    for site in range(SITES):
        while (owners == site).sum() < 10:
            owners[rng.choice(np.flatnonzero(owners == np.bincount(owners).argmax()))] = site
    return owners
