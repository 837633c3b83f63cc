"""Trainers that ``antiphon init`` is given."""

import sys
from collections.abc import Mapping

import numpy as np


class Small:
    """Three weights and a counter."""

    def __init__(self, size: int = 3, data: str = "") -> None:
        self.size, self.data = size, data

    def get_model_params(self) -> Mapping[str, np.ndarray]:
        """A transposed matrix, a scalar, an integer: what safetensors could trip over."""
        matrix = np.arange(self.size * 2, dtype=np.float32).reshape(self.size, 2).T
        return {"w": matrix, "b": np.asarray(len(self.data), dtype=np.float64), "seen": np.asarray([1, 2])}

    def model_roles(self) -> Mapping[str, str]:
        """The counter keeps its maximum."""
        return {"seen": "max"}

    def update_model_params(self, params: Mapping[str, np.ndarray]) -> None:
        """Nothing."""

    def train_model(self, context: object) -> None:
        """Nothing."""


class Failing(Small):
    """Has no data."""

    def get_model_params(self) -> Mapping[str, np.ndarray]:
        """Raise."""
        raise FileNotFoundError("no data.csv here")


class Text(Small):
    """No model."""

    def get_model_params(self) -> Mapping[str, np.ndarray]:
        """Strings."""
        return {"w": np.asarray(["a"])}


class Exiting(Small):
    """Ends the process."""

    def get_model_params(self) -> Mapping[str, np.ndarray]:
        """Leave."""
        sys.exit(7)
