"""The progress bar of a run."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Never

import pytorch_lightning as pl
import torch
from tqdm import tqdm

from model.config.optimization import ENDLESS


class ProgressLine(pl.Callback):
    """A progress bar over all epochs, with loss, accuracy, and shares of dead and linear units of the latest epoch.

    The bar is refreshed at most five times a second, so that it costs little when epochs are short. If stderr is no
    terminal, one line is written every half minute.
    """

    def __init__(self) -> None:
        self._bar: tqdm[Never] | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar."""
        if trainer.is_global_zero:
            self._bar = tqdm(
                total=trainer.max_epochs if trainer.max_epochs != ENDLESS else None,
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
        outputs: torch.Tensor | Mapping[str, object] | None,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Advance within an epoch of more than 100 batches."""
        batches = trainer.num_training_batches
        if self._bar is not None and batches > 100:
            self._bar.n = trainer.current_epoch + (batch_idx + 1) / batches
            self._bar.update(0)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Advance by one epoch, and show the latest row that the experiment has computed."""
        if self._bar is None:
            return
        self._bar.n = trainer.current_epoch
        row: dict[str, float] = getattr(pl_module, "row", {})
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
