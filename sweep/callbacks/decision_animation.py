"""Decision regions of a run over the epochs, as a plot and an animation."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl

from jumpstart.plots.canvas import save_figure
from jumpstart.plots.loggers import log_figures
from jumpstart.plotting import animate_decision_regions, plot_decision_regions
from jumpstart.regions import DecisionRegions
from jumpstart.words import counted
from model.experiment import Experiment

if TYPE_CHECKING:
    from data.datamodules import TabularDataModule

logger = logging.getLogger(__name__)

MOST_CLASSES = 10
"""The most classes that the palette of decision regions has colors for."""


class DecisionAnimation(pl.Callback):
    """Records the decision regions of a network with two inputs, and plots them when training ends or fails.

    The plot ``decision_regions.png`` shows the latest recorded epoch, the animation ``decision_regions.gif`` all of
    them. Checkpoints store the frames, so that the animation of a resumed run starts at epoch 0. Training is the same,
    bit for bit, with and without this callback. If the network does not have two inputs, or has more than ten classes,
    nothing is recorded.

    Args:
        frequency: Number of epochs between two frames; the last epoch is a frame too.
        folder: Receives both files.
    """

    def __init__(self, frequency: int, folder: Path) -> None:
        self.frequency, self.folder = frequency, folder
        self._regions: DecisionRegions | None = None
        self._resumed: dict[str, object] = {}
        self._written = False
        self._class_names: tuple[str, ...] | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Prepare the grid from the training points, and restore the frames of a checkpoint."""
        data: TabularDataModule = trainer.datamodule  # type: ignore[attr-defined]
        self._regions, self._written = None, False
        if trainer.is_global_zero and tuple(data.input_shape) == (2,) and data.num_classes <= MOST_CLASSES:
            self._regions = DecisionRegions(data.x_train, data.y_train)
            self._class_names = data.class_names
            if self._resumed:
                self._regions.load_state_dict(self._resumed)
        self._resumed = {}

    def state_dict(self) -> dict[str, object]:
        """The frames, which Lightning stores in a checkpoint."""
        return self._regions.state_dict() if self._regions is not None else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Store the frames of a checkpoint until training starts."""
        self._resumed = state_dict

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record a frame every ``frequency`` epochs, and record and write after the last epoch.

        If Lightning announces that the epoch is the last, it is handled here, before the last checkpoint is written,
        because a run that is resumed from the last checkpoint trains no further epoch.
        """
        if self._regions is None:
            return
        last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        if last or trainer.current_epoch % self.frequency == 0:
            self._record(trainer.current_epoch, pl_module)
        if last:
            self._write(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the last frame and write, unless the last epoch was known to be the last."""
        regions, last = self._regions, trainer.current_epoch - 1
        if regions is not None and regions.frames and regions.frames[-1][0] < last:
            self._record(last, pl_module)
        self._write(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Write the frames so far."""
        self._write(trainer)

    def _record(self, epoch: int, pl_module: pl.LightningModule) -> None:
        assert self._regions is not None
        assert isinstance(pl_module, Experiment)
        try:
            self._regions.add(epoch, pl_module.network)
        except ValueError as error:  # the network has diverged; the experiment reports where
            logger.warning("epoch %d has no decision regions: %s", epoch, error)

    def _write(self, trainer: pl.Trainer) -> None:
        recorded = self._regions
        if recorded is None or not recorded.frames or self._written:
            return
        self._written = True
        epoch, regions = recorded.frames[-1]
        title = f"Epoch {epoch}, {counted(regions.count, 'linear region')}"
        figure = plot_decision_regions(regions, recorded.points, recorded.labels, self._class_names, title)
        save_figure(figure, self.folder / "decision_regions.png")
        log_figures(trainer, {"decision_regions": figure}, epoch)
        if len(recorded) > 1:
            path = self.folder / "decision_regions.gif"
            animate_decision_regions(recorded.frames, path, recorded.points, recorded.labels, self._class_names)
