"""An agent in numpy: ``antiphon agent FOLDER --trainer least_squares:LeastSquares --data rows.npz``."""
# pyright: basic

import numpy as np

from antiphon import TrainingResult


class LeastSquares:
    """Linear regression by gradient descent on the rows of one file: ``x`` (n, features) and ``y`` (n,)."""

    def __init__(self, data, rate=0.05, steps=10):
        rows = np.load(data)
        self.x, self.y = rows["x"], rows["y"]
        self.rate, self.steps = rate, steps
        self.weights = np.zeros(self.x.shape[1])

    def get_model_params(self):
        return {"weights": self.weights}

    def update_model_params(self, params):
        self.weights = params["weights"]

    def train_model(self, context):
        for _ in range(self.steps):
            error = self.x @ self.weights - self.y
            self.weights -= self.rate * self.x.T @ error / len(self.y)
        return TrainingResult(examples=len(self.y), metrics={"loss": float(np.mean(error**2))})
