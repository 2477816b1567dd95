"""The callbacks of a run, made from its config."""

from __future__ import annotations

import pytorch_lightning as pl

from jumpstart.callbacks import NetworkStatusPlot


class StatusPlots(NetworkStatusPlot):
    """The pictures of a run, which go to the loggers by epoch, like the rows of figures."""

    def logging_step(self, trainer: pl.Trainer) -> int:
        """The epoch."""
        return trainer.current_epoch
