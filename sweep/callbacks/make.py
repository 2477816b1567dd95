"""The callbacks of a run, made from its config."""

from __future__ import annotations

import math

import pytorch_lightning as pl

from jumpstart.callbacks import NetworkStatusPlot
from model.config.experiment import ExperimentConfig
from sweep.callbacks.checkpoints import BestAndLast
from sweep.callbacks.decision_animation import DecisionAnimation
from sweep.callbacks.epoch_log import EpochLog
from sweep.callbacks.patience import Patience
from sweep.callbacks.progress import ProgressLine
from sweep.metrics_csv import MetricsCsv
from sweep.run_directory import RunDirectory

PLOTS = 20
"""Number of epochs that are plotted when ``plot_every`` is not given."""

ENDLESS_PLOTS_EVERY = 100
"""Epochs from one plot to the next when neither ``plot_every`` nor the number of epochs is given."""


class StatusPlots(NetworkStatusPlot):
    """The status plots of a run, logged at the step of their epoch like the metrics of :class:`EpochLog`."""

    def logging_step(self, trainer: pl.Trainer) -> int:
        """The epoch."""
        return trainer.current_epoch


def make_checkpoints(config: ExperimentConfig, directory: RunDirectory, metrics: MetricsCsv) -> BestAndLast:
    """The callback that writes the checkpoints of a run and holds its best weights."""
    return BestAndLast(directory.last_checkpoint, directory.best_checkpoint, config.checkpoint_seconds, metrics)


def make_callbacks(
    config: ExperimentConfig, directory: RunDirectory, metrics: MetricsCsv, checkpoints: BestAndLast
) -> list[pl.Callback]:
    """The callbacks of a run, according to its options.

    Args:
        config: The run.
        directory: Receives checkpoints, plots and the status history.
        metrics: Receives a row per epoch.
        checkpoints: The callback of :func:`make_checkpoints`.
    """
    every = 1 if config.is_endless else max(1, config.epochs // config.curve_points)
    callbacks: list[pl.Callback] = [EpochLog(metrics, every), checkpoints]
    if config.patience is not None:
        callbacks.append(Patience(config))
    if config.progress:
        callbacks.append(ProgressLine())
    if config.plot_status:
        usual = ENDLESS_PLOTS_EVERY if config.is_endless else max(1, math.ceil(config.epochs / PLOTS))
        frequency = config.plot_every or usual
        # EpochLog sends the same metrics to the loggers, so the plots send none.
        plots = StatusPlots(frequency, directory=directory.plots, history=directory.status, scalars=False)
        callbacks += [plots, DecisionAnimation(frequency, directory.plots)]
    return callbacks
