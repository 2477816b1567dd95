"""Epochs from one row of the metrics to the next, and from one plot to the next."""

from __future__ import annotations

import math

from model.config.experiment import ExperimentConfig

PLOTS = 20
"""Number of epochs that are plotted when ``plot_every`` is not given."""

ENDLESS_PLOTS_EVERY = 100
"""Epochs from one plot to the next when neither ``plot_every`` nor the number of epochs is given."""


def rows_every(config: ExperimentConfig) -> int:
    """Epochs from one row of the metrics to the next."""
    return 1 if config.is_endless else max(1, config.epochs // config.curve_points)


def plots_every(config: ExperimentConfig) -> int:
    """Epochs from one plot to the next."""
    usual = ENDLESS_PLOTS_EVERY if config.is_endless else max(1, math.ceil(config.epochs / PLOTS))
    return config.plot_every or usual
