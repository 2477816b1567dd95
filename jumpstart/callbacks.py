"""Lightning callbacks: draw the status of units and points while a network trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from jumpstart.jumpstart import JumpstartRegularization
from jumpstart.metrics import NetworkStatus, layer_names, point_status
from jumpstart.plotting import plot_point_status, plot_unit_status, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class NetworkStatusPlot(pl.Callback):
    """Plots the status of every unit, and of a sample of points, over the validation part.

    Units are judged by their extrema over the whole validation epoch; points by the first ``num_points`` of it, the
    same ones every time. Pictures go to files, and to Weights & Biases where that is a logger. Nothing here draws
    random numbers or touches the network: training is the same, bit for bit, with and without it.

    Args:
        epoch_freq: Epochs between two pictures; the last epoch is drawn too.
        num_points: Points in the picture of points.
        directory: Folder of the pictures; by default ``plots`` in the trainer's root directory.

    Raises:
        ValueError: If ``epoch_freq`` or ``num_points`` is below 1.

    Example:
        >>> callback = NetworkStatusPlot(epoch_freq=10, num_points=200)
        >>> trainer = pl.Trainer(callbacks=[callback])  # doctest: +SKIP
    """

    def __init__(self, epoch_freq: int = 100, num_points: int = 500, directory: str | Path | None = None) -> None:
        for name, value in (("epoch_freq", epoch_freq), ("num_points", num_points)):
            if value < 1:
                raise ValueError(f"{name} must be >= 1, got {value}.")
        self.epoch_freq, self.num_points, self.directory = epoch_freq, num_points, directory
        self._status = NetworkStatus()
        self._points: list[Tensor] = []
        self._labels: list[Tensor] = []
        self._names: list[str] = []

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the epoch before."""
        self._status.reset()
        self._points, self._labels, self._names = [], [], []

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Take in one batch, in an epoch that will be drawn."""
        if dataloader_idx or not self._due(trainer):
            return
        records = _handle(pl_module).extrema
        self._status.to(records[0].unit.device).update(records)
        missing = self.num_points - sum(map(len, self._points))
        if missing > 0:
            self._points.append(point_status(records)[:missing].cpu())
            self._names = layer_names(records)
            labels = batch[1] if isinstance(batch, Sequence) and len(batch) > 1 else None
            if isinstance(labels, Tensor) and labels.dim() == 1:
                self._labels.append(labels[:missing].cpu())

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw."""
        if not self._points or not trainer.is_global_zero:
            return
        epoch = trainer.current_epoch
        points = torch.cat(self._points)
        labels = torch.cat(self._labels) if sum(map(len, self._labels)) == len(points) else None
        units = [codes.cpu().numpy() for codes in self._status.unit_status.values()]
        figures = {
            "unit_status": plot_unit_status(units, self._names, f"Units, epoch {epoch}"),
            "point_status": plot_point_status(
                points.numpy(),
                None if labels is None else labels.numpy(),
                self._names,
                f"Points, epoch {epoch}",
            ),
        }
        folder = Path(self.directory or Path(trainer.default_root_dir) / "plots")
        for name, figure in figures.items():
            save_figure(figure, folder / f"{name}-epoch{epoch:06d}.png")
        log_figures(trainer, figures, epoch)

    def _due(self, trainer: pl.Trainer) -> bool:
        if trainer.sanity_checking:
            return False
        epoch = trainer.current_epoch
        return epoch % self.epoch_freq == 0 or epoch + 1 == trainer.max_epochs


def log_figures(trainer: pl.Trainer, figures: Mapping[str, Figure], epoch: int) -> None:
    """Send pictures to every logger that takes images: Weights & Biases."""
    for logger in trainer.loggers:
        if hasattr(logger, "log_image"):
            for name, figure in figures.items():
                logger.log_image(f"status/{name}", [_pixels(figure)], step=epoch)


def _pixels(figure: Figure) -> Any:
    """(height, width, 4) uint8."""
    import numpy as np

    canvas: Any = figure.canvas
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def _handle(module: pl.LightningModule) -> JumpstartRegularization:
    handle = getattr(module, "jumpstart", None)
    if not isinstance(handle, JumpstartRegularization):
        raise TypeError(
            f"{type(module).__name__} has no regulariser to read: set self.jumpstart = "
            "JumpstartRegularization(self.model) in its __init__."
        )
    return handle
