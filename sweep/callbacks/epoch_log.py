"""The log of a run that Lightning trains."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from model.experiment import Experiment
from sweep.metrics_csv import Mark
from sweep.watchers.epoch_rows import EpochRows


class EpochLog(EpochRows, Checkpoint):
    """:class:`~sweep.watchers.epoch_rows.EpochRows` for a Lightning trainer and its loggers.

    A subclass of ``Checkpoint``, because Lightning calls such callbacks after the experiment has computed the row of
    the epoch.
    """

    _mark: Mark | None = None

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Note which rows the checkpoint was written after."""
        self._mark = checkpoint["callbacks"]["BestAndLast"]["metrics"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Drop the rows after the checkpoint, because a resumed run repeats their epochs."""
        if trainer.is_global_zero:
            self.begin(self._mark)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the row of the epoch, or store it in case no other epoch follows."""
        assert isinstance(pl_module, Experiment)
        # The last row is written before the last checkpoint, because a run resumed from it trains no further epoch.
        last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        if trainer.is_global_zero:
            self.end_epoch(pl_module.row, last=last, loggers=trainer.loggers)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the last row, whatever its epoch."""
        self.finish(trainer.loggers)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Write the last measured row."""
        self.finish(trainer.loggers)
