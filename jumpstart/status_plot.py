"""The Lightning callback that draws, logs and remembers the status of units and points."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from jumpstart.history import StatusHistory
from jumpstart.monitor import StatusMonitor
from jumpstart.plotting import plot_point_status, plot_unit_status, save_figure
from jumpstart.sample import PointSample

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)


class NetworkStatusPlot(pl.Callback):
    """Draws the status of every unit, and of a sample of points, over the validation part of the data.

    Units are judged by their extrema over the whole validation epoch; the points are a sample of it, the same ones
    every time. Without a validation part, the epoch of training itself is watched. Works with any module: with a
    regulariser of its own, with the callback :class:`~jumpstart.callbacks.Jumpstart`, or with neither.

    Pictures go to files, and to the loggers that take them (Weights & Biases, TensorBoard); the figures of
    :meth:`~jumpstart.metrics.NetworkStatus.compute` go to every logger once an epoch, as ``status/...``; and what is
    drawn is remembered in ``status.npz``, a :class:`~jumpstart.history.StatusHistory` that is whole at any moment and
    goes on when a run is resumed. Nothing here draws global random numbers or touches the network: training is the
    same, bit for bit, with and without it. In a distributed run the figures are those of all processes, and the first
    one writes.

    Args:
        epoch_freq: Epochs between two pictures; the last epoch is drawn too, also when training stops early.
        num_points: Points in the picture of points.
        directory: Folder of the pictures; by default ``plots`` in the trainer's root directory.
        history: The file that remembers; by default ``status.npz`` in the trainer's root directory.
        seed: Chooses the points, by a private generator.
        scalars: Whether the figures are sent to the loggers.

    Raises:
        ValueError: If ``epoch_freq`` or ``num_points`` is below 1, or ``seed`` below 0.

    Example:
        >>> callback = NetworkStatusPlot(epoch_freq=10, num_points=200)
        >>> trainer = pl.Trainer(callbacks=[callback])  # doctest: +SKIP
    """

    def __init__(
        self,
        epoch_freq: int = 100,
        num_points: int = 500,
        directory: str | Path | None = None,
        *,
        history: str | Path | None = None,
        seed: int = 0,
        scalars: bool = True,
    ) -> None:
        if epoch_freq < 1:
            raise ValueError(f"epoch_freq must be >= 1, got {epoch_freq}.")
        self._labels = PointSample(num_points, seed)
        self.epoch_freq, self.num_points, self.seed = epoch_freq, num_points, seed
        self.directory, self.history, self.scalars = directory, history, scalars
        self._monitor: StatusMonitor | None = None
        self._step = ExitStack()
        self._by_training = False
        self._labelled = True
        self._before = 0
        self._watched: int | None = None
        self._drawn: int | None = None
        self._memory: _Memory | None = None

    # The run -----------------------------------------------------------------------------------------------------

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Attach, after the sanity check and after what else is attached."""
        self._attach(pl_module)
        self._by_training = not trainer.enable_validation
        epoch = trainer.current_epoch
        self._watched, self._drawn = None, epoch - 1 if epoch else None
        path = Path(self.history or Path(trainer.default_root_dir) / "status.npz")
        self._memory = _Memory(path, resume=epoch > 0) if trainer.is_global_zero else None

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw, if it is time."""
        if self._by_training:
            self._end_epoch(trainer)
        epoch = self._watched
        if epoch is None or epoch == self._drawn:
            return
        # Before the last checkpoint is written, where that can be known: a resumed run has no last epoch to draw.
        last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        if last or self._drawn is None or epoch // self.epoch_freq > self._drawn // self.epoch_freq:
            self._draw(trainer, epoch)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the last epoch."""
        if self._watched is not None and self._watched != self._drawn:
            self._draw(trainer, self._watched)
        self._detach()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Detach."""
        self._detach()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Detach."""
        self._detach()

    def _attach(self, pl_module: pl.LightningModule) -> None:
        self._detach()
        self._monitor = StatusMonitor(pl_module, num_points=self.num_points, seed=self.seed, enabled=False)

    def _detach(self) -> None:
        self._step.close()
        if self._monitor is not None:
            self._monitor.remove()
        if self._memory is not None:
            self._memory.save()
        self._monitor = self._memory = None

    # An epoch ----------------------------------------------------------------------------------------------------

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """``trainer.validate()`` is drawn too."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._by_training = False
            self._attach(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw and detach."""
        if trainer.state.fn == TrainerFn.VALIDATING and self._watched is not None:
            self._draw(trainer, self._watched)
            self._detach()

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the epoch before."""
        if not self._by_training:
            self._begin_epoch()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The same where there is no validation."""
        if self._by_training:
            self._begin_epoch()

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the figures."""
        if not self._by_training and not trainer.sanity_checking:
            self._end_epoch(trainer)

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Watch the first validation set."""
        if not self._by_training and dataloader_idx == 0:
            self._begin_batch(pl_module)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Take in one batch."""
        if not self._by_training and dataloader_idx == 0:
            self._end_batch(batch)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """The same where there is no validation."""
        if self._by_training:
            self._begin_batch(pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The same where there is no validation."""
        if self._by_training:
            self._end_batch(batch)

    def _begin_epoch(self) -> None:
        if self._monitor is not None:
            self._monitor.reset()
            self._labels.reset()
            self._labelled = True

    def _begin_batch(self, pl_module: pl.LightningModule) -> None:
        monitor = self._monitor
        if monitor is None:  # the sanity check
            return
        monitor.enabled = True
        self._before = monitor.points
        if monitor.root is pl_module:  # a step need not call the module as a whole
            self._step.enter_context(monitor.recording())

    def _end_batch(self, batch: Any) -> None:
        monitor = self._monitor
        if monitor is None:
            return
        self._step.close()
        monitor.enabled = False
        labels = batch[1] if isinstance(batch, Sequence) and len(batch) > 1 else None
        if (
            isinstance(labels, Tensor)
            and labels.shape == (monitor.points - self._before,)
            and not (labels.is_floating_point() or labels.is_complex())
        ):
            self._labels.update(labels.long().unsqueeze(1))
        else:
            self._labelled = False

    def _end_epoch(self, trainer: pl.Trainer) -> None:
        monitor = self._monitor
        if monitor is None or monitor.points == 0:
            return
        self._watched = epoch = trainer.current_epoch
        if self.scalars and trainer.loggers:
            figures = {f"status/{name}": value for name, value in monitor.numbers().items()}
            for target in trainer.loggers:
                target.log_metrics({**figures, "epoch": epoch}, step=epoch)

    # Pictures ----------------------------------------------------------------------------------------------------

    def _draw(self, trainer: pl.Trainer, epoch: int) -> None:
        monitor = self._monitor
        assert monitor is not None
        self._drawn = epoch
        # Every process takes part in these, the first one in the rest.
        tables = (monitor.unit_status, monitor.unit_max, monitor.unit_min)
        units, largest, smallest = (_arrays(table) for table in tables)
        points = torch.stack(list(monitor.point_status.values()), 1).cpu().numpy()
        labels = self._labels.rows[:, 0].cpu().numpy() if self._labelled else None
        if not trainer.is_global_zero:
            return
        names = monitor.layers
        figures = {
            "unit_status": plot_unit_status(units, names, f"Units, epoch {epoch}"),
            "point_status": plot_point_status(points, labels, names, f"Points, epoch {epoch}"),
        }
        folder = Path(self.directory or Path(trainer.default_root_dir) / "plots")
        for name, figure in figures.items():
            save_figure(figure, folder / f"{name}-epoch{epoch:06d}.png")
        log_figures(trainer, figures, epoch)
        if self._memory is not None:
            self._memory.append(names, epoch, largest, smallest, points, labels)


class _Memory:
    """The status history of a run and its file.

    Args:
        path: The file.
        resume: Go on with what it holds.
    """

    def __init__(self, path: Path, *, resume: bool) -> None:
        self.path = path
        self._history: StatusHistory | None = None
        self._dirty = False
        self._saved_at, self._cost = -float("inf"), 0.0
        if resume and path.is_file():
            try:
                self._history = StatusHistory.load(path)
            except ValueError as error:
                logger.warning("The status history begins anew: %s", error)

    def append(
        self,
        layers: Sequence[str],
        epoch: int,
        unit_max: Sequence[np.ndarray[Any, Any]],
        unit_min: Sequence[np.ndarray[Any, Any]],
        points: np.ndarray[Any, Any],
        labels: np.ndarray[Any, Any] | None,
    ) -> None:
        """Remember an epoch."""
        history = self._history
        sizes = tuple(len(units) for units in unit_max)
        fits = history is not None and (history.layers, history.units) == (tuple(layers), sizes)
        if history is None or not fits or history.point_status.shape[1] != len(points):
            history = StatusHistory(layers, sizes)
        if history.labels is not None and not np.array_equal(history.labels, labels if labels is not None else ()):
            # Data that are dealt anew each epoch: other points every time.
            history.labels = labels = None
        elif len(history) and history.labels is None:
            labels = None
        history.append(epoch, np.concatenate(unit_max), np.concatenate(unit_min), points, labels)
        self._history, self._dirty = history, True
        # Writing takes longer the more there is: never spend more than a twentieth of the time on it.
        if time.monotonic() - self._saved_at >= 20 * self._cost:
            self.save()

    def save(self) -> None:
        """Write what is not written yet."""
        if self._history is None or not self._dirty:
            return
        started = time.monotonic()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._history.save(self.path)
        self._saved_at = time.monotonic()
        self._cost = self._saved_at - started
        self._dirty = False


def log_figures(trainer: pl.Trainer, figures: Mapping[str, Figure], epoch: int) -> None:
    """Send pictures to every logger that takes them: Weights & Biases, TensorBoard."""
    for target in trainer.loggers:
        writer: Any = getattr(target, "experiment", None)
        for name, figure in figures.items():
            if hasattr(target, "log_image"):
                target.log_image(f"status/{name}", [_pixels(figure)], step=epoch)
            elif hasattr(writer, "add_image"):
                writer.add_image(f"status/{name}", _pixels(figure), epoch, dataformats="HWC")


def _pixels(figure: Figure) -> np.ndarray[Any, Any]:
    """(height, width, 4) uint8, of a figure that has been saved: what was rendered for that is there still."""
    canvas: Any = figure.canvas
    return np.array(canvas.buffer_rgba())


def _arrays(parts: Mapping[str, Tensor]) -> list[np.ndarray[Any, Any]]:
    return [part.cpu().numpy() for part in parts.values()]
