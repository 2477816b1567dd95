"""Decision regions of a run over the epochs, as plots and an animation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from jumpstart.plots.canvas import save_figure
from jumpstart.plotting import (
    animate_decision_regions,
    plot_decision_regions,
)
from jumpstart.regions import DecisionRegions
from jumpstart.status_plot import log_figures
from sweep.final_plots import logger


class DecisionFilm(pl.Callback):
    """For data of two features: what the network makes of the plane, at the end and, as a film, over training.

    The picture ``decision_regions.png`` and the film ``decision_regions.gif`` are written when training ends, however
    it does. Checkpoints hold the frames, so that a resumed run has a whole film. Training is the same, bit for bit,
    with and without it.

    Args:
        frequency: Epochs between two frames; the last epoch is one, too.
        folder: Where the files go.
    """

    def __init__(self, frequency: int, folder: Path) -> None:
        self.frequency, self.folder = frequency, folder
        self._film: DecisionRegions | None = None
        self._resumed: dict[str, Any] = {}
        self._written = False
        self._class_names: tuple[str, ...] | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Find the points, if there are some in the plane."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        self._film, self._written = None, False
        if trainer.is_global_zero and tuple(data.input_shape) == (2,) and data.num_classes <= 10:
            self._film = DecisionRegions(data.x_train, data.y_train)
            self._class_names = data.class_names
            if self._resumed:
                self._film.load_state_dict(self._resumed)
        self._resumed = {}

    def state_dict(self) -> dict[str, Any]:
        """The frames, for a checkpoint."""
        return self._film.state_dict() if self._film is not None else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The frames of a checkpoint; training will begin where it was written."""
        self._resumed = state_dict

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take a frame, if it is time; after the last epoch, write.

        Before the last checkpoint is written, where that can be known: a run that is resumed from it has nothing left
        to train.
        """
        if self._film is None:
            return
        last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        if last or trainer.current_epoch % self.frequency == 0:
            self._take(trainer.current_epoch, pl_module)
        if last:
            self._write(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the last frame, and write, unless that is done."""
        film, last = self._film, trainer.current_epoch - 1
        if film is not None and film.frames and film.frames[-1][0] < last:
            self._take(last, pl_module)
        self._write(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Write what there is."""
        self._write(trainer)

    def _take(self, epoch: int, pl_module: pl.LightningModule) -> None:
        assert self._film is not None
        try:
            self._film.add(epoch, pl_module.network)  # type: ignore[arg-type]
        except ValueError as error:  # the network has diverged, of which the experiment tells more
            logger.warning("No decision regions of epoch %d: %s", epoch, error)

    def _write(self, trainer: pl.Trainer) -> None:
        film = self._film
        if film is None or not film.frames or self._written:
            return
        self._written = True
        epoch, regions = film.frames[-1]
        title = f"Epoch {epoch}, {regions.count} linear region{'s' * (regions.count != 1)}"
        figure = plot_decision_regions(regions, film.points, film.labels, self._class_names, title)
        save_figure(figure, self.folder / "decision_regions.png")
        log_figures(trainer, {"decision_regions": figure}, epoch)
        if len(film) > 1:
            path = self.folder / "decision_regions.gif"
            animate_decision_regions(film.frames, path, film.points, film.labels, self._class_names)
