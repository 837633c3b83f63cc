"""Trainers in numpy, usable from the command line: ``--trainer antiphon.agents.trainers:logistic``."""

from antiphon.agents.trainers.logistic import logistic
from antiphon.agents.trainers.mlp import mlp

__all__ = ["logistic", "mlp"]
