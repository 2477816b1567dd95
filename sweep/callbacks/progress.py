"""The progress bar of a run."""

from __future__ import annotations

import sys
import time
from typing import Any

import pytorch_lightning as pl
from tqdm import tqdm


class ProgressLine(pl.Callback):
    """One bar over the whole run, with the loss, the accuracy, and the dead and linear units of the last epoch.

    Refreshed a few times a second at most, so that thousands of short epochs cost nothing; to a file rather than a
    terminal it writes a line every half minute.
    """

    def __init__(self) -> None:
        self._bar: Any = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar."""
        if trainer.is_global_zero:
            self._bar = tqdm(
                total=trainer.max_epochs,
                initial=trainer.current_epoch,
                unit="epoch",
                file=sys.stderr,
                mininterval=0.2 if sys.stderr.isatty() else 30.0,
                dynamic_ncols=True,
            )

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Long epochs advance in parts."""
        batches = trainer.num_training_batches
        if self._bar is not None and batches > 100:
            self._bar.n = trainer.current_epoch + (batch_idx + 1) / batches
            self._bar.update(0)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Advance by one epoch. The figures shown are those of the epoch before, known by now."""
        if self._bar is None:
            return
        self._bar.n = trainer.current_epoch
        row = getattr(pl_module, "row", {})
        stage = "val" if "val/acc" in row else "train"
        if row and time.time() - self._bar.last_print_t >= self._bar.mininterval:
            self._bar.set_postfix_str(
                f"loss {row['train/loss']:.3g}, {stage} acc {row[f'{stage}/acc']:.1%}, dead units "
                f"{row[f'{stage}/unit_dead_ratio']:.1%}, linear {row[f'{stage}/unit_linear_ratio']:.1%}",
                refresh=False,
            )
        self._bar.update(1)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar."""
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Close the bar."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
