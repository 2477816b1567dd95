"""What a table allows: logistic regression and gradient boosting of scikit-learn, on the same splits and inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from data.data import make_data
from data.tabular import TabularData

if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin

    from model.config.experiment import ExperimentConfig

_NAN = float("nan")


def yardstick(name: str, config: ExperimentConfig) -> dict[str, float]:
    """The accuracies of a method of scikit-learn with its default options, in place of a run.

    Args:
        name: ``logistic`` or ``boosting``.
        config: Names the table, the split and the seed.
    """
    data = make_data(config.dataset, seed=config.seed, split_seed=config.split_seed, val_size=config.val_size)
    assert isinstance(data, TabularData)
    data.setup()
    model = _model(name, config.seed).fit(data.x_train.numpy(), data.y_train.numpy())
    accuracies = {
        f"{part}/acc": float(model.score(x.flatten(1).numpy(), y.numpy()))
        for part, x, y in (
            ("train", data.x_train, data.y_train),
            ("val", data.x_val, data.y_val),
            ("test", data.x_test, data.y_test),
        )
    }
    return accuracies | {"val/loss": _NAN, "test/unit_dead_ratio": 0.0, "test/unit_linear_ratio": 0.0, "diverged": 0}


def _model(name: str, seed: int) -> ClassifierMixin:
    if name == "logistic":
        return LogisticRegression(max_iter=10_000)
    return HistGradientBoostingClassifier(random_state=seed)


def table(name: str, configs: list[ExperimentConfig]) -> pd.DataFrame:
    """One row for each config, with its options and the accuracies.

    Args:
        name: ``logistic`` or ``boosting``.
        configs: One for each table and split.
    """
    return pd.DataFrame([{**config.to_dict(), **yardstick(name, config)} for config in configs])
