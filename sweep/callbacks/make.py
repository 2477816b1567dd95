"""The callbacks of a run, made from its config."""

from __future__ import annotations

import pytorch_lightning as pl
from pytorch_lightning.trainer.states import TrainerFn

from jumpstart.callbacks import NetworkStatusPlot
from jumpstart.choices import Part
from jumpstart.history import history_name
from model.config.experiment import ExperimentConfig
from sweep.callbacks.checkpoints import BestAndLast
from sweep.callbacks.decision_animation import DecisionAnimation
from sweep.callbacks.epoch_log import EpochLog
from sweep.callbacks.patience import Patience
from sweep.callbacks.progress import ProgressLine
from sweep.metrics_csv import MetricsCsv
from sweep.run_directory import RunDirectory
from sweep.watchers.intervals import plots_every, rows_every


class StatusPlots(NetworkStatusPlot):
    """The status plots of a run, logged at the step of their epoch like the metrics of :class:`EpochLog`.

    The test part is plotted in the evaluation after training, with the best weights.

    Args:
        checkpoints: Knows the epoch of the best weights.
        part: The part of the data; None for the validation part, under names without a part.
        frequency: Epochs from one plot to the next.
        config: Names the number of points.
        directory: Receives the plots and the history.
    """

    def __init__(
        self, checkpoints: BestAndLast, part: Part | None, frequency: int, config: ExperimentConfig,
        directory: RunDirectory,
    ) -> None:  # fmt: skip
        self._checkpoints = checkpoints
        # EpochLog sends the same metrics to the loggers, so the plots send none.
        super().__init__(
            frequency,
            config.plot_num_points,
            directory=directory.plots,
            history=directory.path / history_name(part),
            scalars=False,
            part=part,
        )

    def logging_step(self, trainer: pl.Trainer) -> int:
        """The epoch; after training, the last one, because steps can't be logged out of order."""
        return trainer.current_epoch - (trainer.state.fn != TrainerFn.FITTING)

    def evaluated_epoch(self, trainer: pl.Trainer) -> int:
        """The epoch of the best weights."""
        return int(self._checkpoints.best_row["epoch"])

    def test_loader(self, trainer: pl.Trainer) -> int:
        """The last loader: a run evaluates the training, validation and test parts in turn."""
        return len(trainer.num_test_batches) - 1


def make_checkpoints(config: ExperimentConfig, directory: RunDirectory, metrics: MetricsCsv) -> BestAndLast:
    """The callback that writes the checkpoints of a run and holds its best weights."""
    return BestAndLast(
        directory.last_checkpoint, directory.best_checkpoint, config.checkpoint_seconds, metrics, config.best_by
    )


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
    callbacks: list[pl.Callback] = [EpochLog(metrics, rows_every(config)), checkpoints]
    if config.patience is not None:
        callbacks.append(Patience(config))
    if config.progress:
        callbacks.append(ProgressLine())
    if config.plot_status:
        frequency = plots_every(config)
        callbacks += [StatusPlots(checkpoints, part, frequency, config, directory) for part in config.parts_plotted]
        callbacks.append(DecisionAnimation(frequency, directory.plots))
    return callbacks
