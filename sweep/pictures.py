"""The pictures of a run besides those that are drawn while it trains: curves, lives, ranges, decision regions."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from jumpstart.history import StatusHistory
from jumpstart.plotting import (
    animate_decision_regions,
    plot_curves,
    plot_decision_regions,
    plot_ranges,
    plot_status_shares,
    plot_unit_life,
    save_figure,
)
from jumpstart.regions import DecisionRegions
from jumpstart.status_plot import log_figures
from sweep.metrics_csv import MetricsCsv

logger = logging.getLogger(__name__)


def draw_curves(metrics: MetricsCsv, folder: Path) -> None:
    """The curves of a run, from its CSV file: losses, accuracies, status of units."""
    table = metrics.read()
    if len(table) < 2:
        return
    epochs = table["epoch"].to_numpy()
    for name, key, logy in (
        ("loss", "loss", True),
        ("accuracy", "acc", False),
        ("jumpstart_loss", "jumpstart_loss", True),
    ):
        curves = {
            stage: table[f"{stage}/{key}"].to_numpy() for stage in ("train", "val") if f"{stage}/{key}" in table.columns
        }
        save_figure(
            plot_curves(epochs, curves, logy=logy, title=name.replace("_", " ")),
            folder / f"{name}.png",
        )
    stage = "val" if "val/unit_dead_ratio" in table.columns else "train"
    dead, linear, nonlinear = (
        table[f"{stage}/unit_{status}_ratio"].to_numpy() for status in ("dead", "linear", "nonlinear")
    )
    figure = plot_status_shares(epochs, dead, linear, nonlinear, title=f"Units over training ({stage})")
    save_figure(figure, folder / "unit_shares.png")


def draw_units(history: StatusHistory, margin: float, folder: Path) -> None:
    """The life of every unit over the epochs that were drawn, and how far each reaches in the latest of them.

    Args:
        history: What the run remembers.
        margin: That of the loss.
        folder: Where the pictures go.
    """
    if len(history) > 1:
        figure = plot_unit_life(history.unit_status, history.epochs, history.units, history.layers)
        save_figure(figure, folder / "unit_life.png")
    parts, place = [], 0
    for count in history.units:
        parts.append(slice(place, place + count))
        place += count
    largest, smallest = history.unit_max[-1], history.unit_min[-1]
    figure = plot_ranges(
        [largest[part] for part in parts],
        [smallest[part] for part in parts],
        history.layers,
        margin,
        f"Preactivations, epoch {history.epochs[-1]}",
    )
    save_figure(figure, folder / "unit_ranges.png")


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
