"""Decision regions of a run that Lightning trains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytorch_lightning as pl

from model.experiment import Experiment
from sweep.watchers.decision_frames import DecisionFrames

if TYPE_CHECKING:
    from data.datamodules import TabularDataModule


class DecisionAnimation(DecisionFrames, pl.Callback):
    """:class:`~sweep.watchers.decision_frames.DecisionFrames` for a Lightning trainer.

    Checkpoints store the frames, so that the animation of a resumed run starts at epoch 0.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Prepare the grid from the training points, and restore the frames of a checkpoint."""
        data: TabularDataModule = trainer.datamodule  # type: ignore[attr-defined]
        if trainer.is_global_zero and tuple(data.input_shape) == (2,):
            self.begin(data.x_train, data.y_train, data.class_names)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record a frame every ``frequency`` epochs, and record and write after the last epoch."""
        assert isinstance(pl_module, Experiment)
        last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        self.end_epoch(trainer.current_epoch, pl_module.network, last=last, loggers=trainer.loggers)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the last frame and write, unless the last epoch was known to be the last."""
        assert isinstance(pl_module, Experiment)
        self.finish(trainer.current_epoch - 1, pl_module.network, trainer.loggers)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Write the frames so far."""
        self.write(trainer.loggers)
