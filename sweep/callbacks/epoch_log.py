"""The log of a run: metrics by epoch, in the CSV file and the loggers."""

from __future__ import annotations

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from model.experiment import Experiment
from sweep.metrics_csv import MetricsCsv


class EpochLog(Checkpoint):
    """Writes the metrics of every n-th epoch, and of the last one, to a CSV file and to the trainer's loggers.

    A subclass of ``Checkpoint``, because Lightning calls such callbacks after the experiment has computed the row of
    the epoch.

    Args:
        metrics: The CSV file.
        every: Number of epochs between two rows.
    """

    def __init__(self, metrics: MetricsCsv, every: int) -> None:
        self.metrics, self.every = metrics, every
        self._pending: dict[str, float] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Drop the rows after the checkpoint, because a resumed run repeats their epochs."""
        if trainer.is_global_zero:
            self.metrics.truncate_after(trainer.current_epoch - 1)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the row of the epoch, or store it in case no other epoch follows."""
        assert isinstance(pl_module, Experiment)
        self._pending = pl_module.row
        # The last row is written before the last checkpoint, because a run resumed from it trains no further epoch.
        last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        if last or trainer.current_epoch % self.every == 0:
            self._write(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the last row, whatever its epoch."""
        self._write(trainer)
        self.metrics.flush()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Write the last measured row."""
        self._write(trainer)
        self.metrics.flush()

    def _write(self, trainer: pl.Trainer) -> None:
        if not self._pending or not trainer.is_global_zero:
            return
        row = dict(self._pending)
        epoch = int(row.pop("epoch"))
        self._pending = {}
        self.metrics.append(epoch, row)
        for logger in trainer.loggers:
            logger.log_metrics({"epoch": epoch, **row}, step=epoch)
