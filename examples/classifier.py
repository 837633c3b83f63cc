"""An agent in scikit-learn: ``antiphon agent FOLDER --trainer classifier:Classifier --data rows.npz``."""
# pyright: basic

import numpy as np
from sklearn.linear_model import SGDClassifier

from antiphon import TrainingResult


class Classifier:
    """Logistic regression on ``x`` (n, features) and ``y`` (n,) of one file; ``classes`` are everybody's."""

    def __init__(self, data, classes=2, epochs=3):
        rows = np.load(data)
        self.x, self.y, self.epochs = rows["x"], rows["y"], epochs
        self.model = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=0.01)
        self.model.partial_fit(self.x[:1], self.y[:1], classes=np.arange(classes))  # makes the arrays

    def get_model_params(self):
        return {"coef": self.model.coef_, "intercept": self.model.intercept_}

    def update_model_params(self, params):
        self.model.coef_, self.model.intercept_ = params["coef"], params["intercept"]

    def train_model(self, context):
        for _ in range(self.epochs):
            self.model.partial_fit(self.x, self.y)
        return TrainingResult(examples=len(self.y))

    def evaluate_model(self):
        return {"accuracy": self.model.score(self.x, self.y)}
