"""Early stopping by patience."""

from __future__ import annotations

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping

from model.choices import Monitor
from model.config.experiment import ExperimentConfig


class Patience(EarlyStopping):
    """Stops training after a number of epochs in which a metric has not become better.

    Checkpoints store the best value and the number of epochs since then, so a resumed run goes on counting. If a run
    that has stopped is resumed, it takes no step.

    Args:
        config: Sets ``monitor``, ``patience`` and ``min_delta``.
    """

    def __init__(self, config: ExperimentConfig) -> None:
        assert config.patience is not None
        mode = "max" if config.monitor == Monitor.VAL_ACC else "min"
        super().__init__(config.monitor, config.min_delta, config.patience, mode=mode)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End training before its first step if the run had stopped before it was resumed."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True
