"""Metrics of each epoch, written to the CSV file and the loggers."""

from __future__ import annotations

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from model.experiment import Experiment
from sweep.metrics_csv import MetricsCsv


class EpochLog(Checkpoint):
    """Writes the figures of every n-th epoch, and of the last, to a CSV file and to the trainer's loggers.

    Args:
        metrics: The file.
        every: Epochs between two rows.
    """

    def __init__(self, metrics: MetricsCsv, every: int) -> None:
        self.metrics, self.every = metrics, every
        self._pending: dict[str, float] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A resumed run writes again what came after its checkpoint."""
        if trainer.is_global_zero:
            self.metrics.truncate_after(trainer.current_epoch - 1)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the row, or keep it in case it is the last."""
        assert isinstance(pl_module, Experiment)
        self._pending = pl_module.row
        # The last row goes out before the last checkpoint: a resumed run has no last epoch to write.
        last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        if last or trainer.current_epoch % self.every == 0:
            self._write(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The last row, whatever its number."""
        self._write(trainer)
        self.metrics.flush()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Nothing that was measured is lost."""
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
