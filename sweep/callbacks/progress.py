"""The progress bar of a run that Lightning trains."""

from __future__ import annotations

from collections.abc import Mapping

import pytorch_lightning as pl
import torch

from model.config.optimization import ENDLESS
from sweep.watchers.progress_bar import ProgressBar


class ProgressLine(ProgressBar, pl.Callback):
    """:class:`~sweep.watchers.progress_bar.ProgressBar` for a Lightning trainer."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar."""
        if trainer.is_global_zero:
            self.begin(trainer.current_epoch, trainer.max_epochs if trainer.max_epochs != ENDLESS else None)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: torch.Tensor | Mapping[str, object] | None,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Advance within an epoch of more than 100 batches."""
        batches = trainer.num_training_batches
        if batches > 100:
            self.within_epoch(trainer.current_epoch + (batch_idx + 1) / batches)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Advance by one epoch, and show the latest row that the experiment has computed."""
        row: dict[str, float] = getattr(pl_module, "row", {})
        self.end_epoch(trainer.current_epoch, row)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar."""
        self.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Close the bar."""
        self.close()
