"""The Lightning callback that plots, logs and stores the status of units and points."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypedDict, TypeGuard, cast

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn

from jumpstart.capture.passive import NothingCapturedError
from jumpstart.capture.recorder import Recorder
from jumpstart.capture.targets import CaptureLike, small_model
from jumpstart.choices import Capture
from jumpstart.files import UserPath, user_path
from jumpstart.history import HistoryFile
from jumpstart.monitor import StatusMonitor
from jumpstart.plots.canvas import save_figure
from jumpstart.plots.maps import plot_point_status, plot_unit_status

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)


class _Options(TypedDict):
    """Options that are passed on to the monitor."""

    num_points: int
    seed: int
    skip_last: bool
    unit_dim: int | None


class NetworkStatusPlot(pl.Callback):
    """Plots the status of every unit, and of a sample of points, over the validation data.

    The status of a unit follows from its extrema over the whole validation epoch; the sample has the same points in
    every epoch. Without validation data, the callback monitors the training epoch. It works with any module: with its
    own regularizer, with the callback :class:`~jumpstart.callbacks.Jumpstart`, or with neither.

    Plots are saved as files and sent to the loggers that accept images (Weights & Biases, TensorBoard). The metrics of
    :meth:`~jumpstart.metrics.NetworkStatus.compute` are sent to every logger after every validation, as ``status/...``,
    at the step at which Lightning logs the metrics of that validation, with the epoch as a column. The plotted status
    is stored in ``status.npz``, a :class:`~jumpstart.history.StatusHistory` that is written atomically and continued
    when a run is resumed. The callback draws no global random number and does not change the network: training is the
    same, bit for bit, with and without it. In a distributed run the metrics are those of all processes, and the first
    process writes.

    A step in which no captured layer runs is not counted as a pass. If a step can't be counted, for instance because
    its layers have unequal numbers of samples, the callback logs one warning and stops, and training continues.

    Args:
        epoch_freq: Epochs between two plots; the last epoch is plotted too, also when training stops early.
        num_points: The number of points in the plot of points.
        directory: Folder of the plots; by default ``plots`` in the trainer's root directory.
        history: The file of the status history; by default ``status.npz`` in the trainer's root directory.
        seed: Seed of the private generator that draws the points.
        scalars: Whether the metrics are sent to the loggers.
        module: Name of the monitored part, such as ``"model.encoder"``; by default the whole module. With a name,
            metrics and plots are sent to the loggers as ``status/<module>/...``.
        capture: Which preactivations are read, as for :class:`~jumpstart.monitor.StatusMonitor`. This and the next two
            can be given only if no regularizer is attached, which has its own options.
        skip_last: With ``capture="weights"``, leave out the layer that is called last.
        unit_dim: The dimension of the units in tensors of 3 dimensions and more; by default learned.

    Raises:
        ValueError: If ``epoch_freq`` or ``num_points`` is below 1, ``seed`` below 0, or ``capture`` or ``unit_dim``
            wrong. Before training, if there is no part of that name, nothing to capture, or a regularizer that
            determines what is read.
        RuntimeError: Before training, if several regularizers are attached to parts of the monitored module.

    Example:
        >>> callback = NetworkStatusPlot(epoch_freq=10, num_points=200)
        >>> trainer = pl.Trainer(callbacks=[callback])  # doctest: +SKIP
    """

    def __init__(
        self,
        epoch_freq: int = 100,
        num_points: int = 500,
        directory: UserPath | None = None,
        *,
        history: UserPath | None = None,
        seed: int = 0,
        scalars: bool = True,
        module: str | None = None,
        capture: CaptureLike = Capture.ACTIVATIONS,
        skip_last: bool = True,
        unit_dim: int | None = None,
    ) -> None:
        if epoch_freq < 1:
            raise ValueError(f"epoch_freq must be >= 1, got {epoch_freq}.")
        # Wrong options are refused before there is a model. Names of modules can only be checked with the model.
        mode = capture if isinstance(capture, str) else Capture.ACTIVATIONS
        options: _Options = {"num_points": num_points, "seed": seed, "skip_last": skip_last, "unit_dim": unit_dim}
        StatusMonitor(small_model(), capture=mode, **options).remove()
        self.module = module
        self._capture, self._options = capture, options
        self.epoch_freq, self.num_points, self.seed = epoch_freq, num_points, seed
        self.directory = None if directory is None else user_path(directory, "directory", "folder")
        self.history = None if history is None else user_path(history, "history", "file")
        self.scalars = scalars
        self._monitor: _Monitor | None = None
        self._step = ExitStack()
        self._warned = False  # whether an epoch without a pass has been reported
        self._logged_at = 0  # the step of the latest metrics
        self._by_training = False  # whether training epochs are monitored, not validation
        self._points_before = 0  # points counted before the batch
        self._counted_epoch: int | None = None  # the latest epoch that was counted
        self._plotted_epoch: int | None = None  # the latest epoch that was plotted
        self._history_file: HistoryFile | None = None

    # The run -----------------------------------------------------------------------------------------------------

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Attach the monitor, after the sanity check and after any regularizer."""
        self._attach(pl_module)
        self._by_training = not trainer.enable_validation
        epoch = trainer.current_epoch
        self._counted_epoch, self._plotted_epoch = None, epoch - 1 if epoch else None
        path = self.history or Path(trainer.default_root_dir) / "status.npz"
        self._history_file = HistoryFile(path, resume=epoch > 0) if trainer.is_global_zero else None

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Plot, if the epoch is due."""
        if self._by_training:
            self._end_epoch(trainer, pl_module)
        epoch = self._counted_epoch
        if epoch is None or epoch == self._plotted_epoch:
            return
        # The last epoch is plotted here if it is known to be the last: a checkpoint written later then has the plot.
        last = trainer.should_stop or trainer.current_epoch + 1 == trainer.max_epochs
        if last or self._plotted_epoch is None or epoch // self.epoch_freq > self._plotted_epoch // self.epoch_freq:
            self._draw(trainer, epoch)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Plot the last epoch, and detach the monitor."""
        if self._counted_epoch is not None and self._counted_epoch != self._plotted_epoch:
            self._draw(trainer, self._counted_epoch)
        self._detach()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Detach the monitor."""
        self._detach()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Detach the monitor."""
        self._detach()

    def logging_step(self, trainer: pl.Trainer) -> int:
        """The step at which metrics and plots are logged: that of Lightning's own metrics. Can be overridden."""
        steps = trainer.fit_loop.epoch_loop._batches_that_stepped
        return max(0, steps - 1) if self._by_training else steps  # Lightning logs a training epoch at its last step

    def _attach(self, pl_module: pl.LightningModule) -> None:
        self._detach()
        self._warned = False
        part = part_of(pl_module, self.module)
        self._monitor = _Monitor(part, capture=self._capture, enabled=False, **self._options)

    def _detach(self) -> None:
        if self._monitor is not None:
            self._monitor.enabled = False  # the step that failed does not count
        self._step.close()
        if self._monitor is not None:
            self._monitor.remove()
        if self._history_file is not None:
            self._history_file.save()
        self._monitor = self._history_file = None

    # An epoch ----------------------------------------------------------------------------------------------------

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Attach the monitor in ``trainer.validate()``, which is plotted too."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._by_training = False
            self._attach(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Plot ``trainer.validate()``, and detach the monitor."""
        if trainer.state.fn == TrainerFn.VALIDATING and self._counted_epoch is not None:
            self._draw(trainer, self._counted_epoch)
            self._detach()

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start a new epoch of validation."""
        if not self._by_training:
            self._begin_epoch()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start a new epoch of training, if there is no validation."""
        if self._by_training:
            self._begin_epoch()

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Send the metrics of the validation to the loggers."""
        if not self._by_training and not trainer.sanity_checking:
            self._end_epoch(trainer, pl_module)

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Start to count a batch of the first validation set."""
        if not self._by_training and dataloader_idx == 0:
            self._begin_batch(pl_module)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count a batch of the first validation set."""
        if not self._by_training and dataloader_idx == 0:
            self._end_batch(batch)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Start to count a training batch, if there is no validation."""
        if self._by_training:
            self._begin_batch(pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Count a training batch, if there is no validation."""
        if self._by_training:
            self._end_batch(batch)

    def _begin_epoch(self) -> None:
        if self._monitor is not None:
            self._monitor.reset()

    def _begin_batch(self, pl_module: pl.LightningModule) -> None:
        monitor = self._monitor
        if monitor is None or not monitor.able():  # in the sanity check, and after a step that can't be counted
            return
        monitor.enabled = True
        self._points_before = monitor.points
        if monitor.alone or monitor.root is pl_module:  # the step may call the module by its parts
            self._step.enter_context(monitor.recording())

    def _end_batch(self, batch: object) -> None:
        monitor = self._monitor
        if monitor is None:
            return
        self._step.close()
        monitor.catch_up()
        monitor.enabled = False
        if monitor.points == self._points_before:
            return
        labels = batch[1] if isinstance(batch, Sequence) and len(batch) > 1 else None
        monitor.label(labels if _are_classes(labels, monitor.points - self._points_before) else None)

    def _end_epoch(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        monitor = self._monitor
        if monitor is None:
            return
        self._counted_epoch = None
        name = type(pl_module).__name__
        if not monitor.able():
            instead = " With validation data, validation is monitored instead." if self._by_training else ""
            logger.warning(
                "NetworkStatusPlot stops monitoring %s, and training continues. The reason: %s Set capture (that of "
                "NetworkStatusPlot, or of the regularizer if there is one) to layers that every step runs alike.%s",
                name,
                monitor.failure,
                instead,
            )
        # The calls below are collective, so all processes must take the same branch.
        if trainer.strategy.reduce_boolean_decision(not monitor.able(), all=False):
            self._detach()
        elif trainer.strategy.reduce_boolean_decision(monitor.points > 0):
            self._counted_epoch, self._logged_at = trainer.current_epoch, self.logging_step(trainer)
            if self.scalars and trainer.loggers:
                metrics = {f"{self._tag}/{name}": value for name, value in monitor.numbers().items()}
                for target in trainer.loggers:
                    target.log_metrics({**metrics, "epoch": self._counted_epoch}, step=self._logged_at)
        elif not self._warned:
            self._warned = True
            logger.warning(
                "NetworkStatusPlot has nothing to plot for epoch %d of %s: no captured layer ran. Does another part of "
                "the module run, or was the model compiled before its hooks were attached? Name other layers with "
                "module and capture, or do not compile.",
                trainer.current_epoch,
                name,
            )

    @property
    def _tag(self) -> str:
        return "status" if self.module is None else f"status/{self.module}"

    # Plots -------------------------------------------------------------------------------------------------------

    def _draw(self, trainer: pl.Trainer, epoch: int) -> None:
        monitor = self._monitor
        assert monitor is not None
        self._plotted_epoch = epoch
        # Collective reads, by every process; the first process does the rest.
        tables = (monitor.unit_status, monitor.unit_max, monitor.unit_min)
        units, largest, smallest = (_arrays(table) for table in tables)
        points = torch.stack(list(monitor.point_status.values()), 1).cpu().numpy()
        classes = monitor.point_labels
        labels = None if classes is None else classes.cpu().numpy()
        if not trainer.is_global_zero:
            return
        names = monitor.layers
        figures = {
            "unit_status": plot_unit_status(units, names, f"Units, epoch {epoch}"),
            "point_status": plot_point_status(points, labels, names, f"Points, epoch {epoch}"),
        }
        folder = self.directory or Path(trainer.default_root_dir) / "plots"
        for name, figure in figures.items():
            save_figure(figure, folder / f"{name}-epoch{epoch:06d}.png")
        log_figures(trainer, figures, self._logged_at, self._tag)
        if self._history_file is not None:
            self._history_file.append(names, epoch, largest, smallest, points, labels)


class _Monitor(StatusMonitor):
    """A monitor whose errors do not stop the training: it keeps the first one, and counts no further pass.

    Attributes:
        failure: The first error, if any.
    """

    failure: Exception | None = None

    @property
    def alone(self) -> bool:
        """Whether the monitor has its own hooks, because no regularizer is attached."""
        return self._own is not None

    def able(self) -> bool:
        """Whether the monitor can count further passes. If not, its hooks are removed."""
        if self.failure is None and self._recorder() is None:
            self.failure = RuntimeError("the regularizer whose records it reads was removed.")
        if self.failure is None:
            return True
        self.remove()
        return False

    def catch_up(self) -> None:
        """Count the latest pass, if the hook of the monitor did not: a compiled network may not call the hook."""
        self.count_pending()
        recorder = self._recorder()
        if recorder is not None and recorder.ran and not recorder.active:
            self._count(recorder)

    def _count(self, recorder: Recorder) -> None:
        if self.failure is not None:
            return
        try:
            super()._count(recorder)
        except NothingCapturedError:  # a step need not run a captured layer
            pass
        except (RuntimeError, TypeError, ValueError) as error:
            self.failure = error


def part_of(pl_module: pl.LightningModule, name: str | None) -> nn.Module:
    """The part of a module that has the given name, or the module itself.

    Args:
        pl_module: The module.
        name: Path of the part; None for the module itself.

    Raises:
        ValueError: If there is no such part.
    """
    if name is None:
        return pl_module
    try:
        return pl_module.get_submodule(name)
    except AttributeError:
        parts = ", ".join(part for part, _ in pl_module.named_children()) or "none"
        raise ValueError(f"module must name a part of {type(pl_module).__name__} ({parts}), got {name!r}.") from None


def log_figures(trainer: pl.Trainer, figures: Mapping[str, Figure], step: int, tag: str = "status") -> None:
    """Send plots to every logger that accepts images: Weights & Biases, TensorBoard.

    Args:
        trainer: Its loggers are used.
        figures: The plots by name, saved already.
        step: The step at which they are logged.
        tag: Prefix of the names.
    """
    for target in trainer.loggers:
        writer = getattr(target, "experiment", None)
        for name, figure in figures.items():
            if hasattr(target, "log_image"):
                target.log_image(f"{tag}/{name}", [_pixels(figure)], step=step)
            elif writer is not None and hasattr(writer, "add_image"):
                writer.add_image(f"{tag}/{name}", _pixels(figure), step, dataformats="HWC")


class _Canvas(Protocol):
    """A canvas of matplotlib's Agg backend, on which a saved figure is rendered."""

    def buffer_rgba(self) -> memoryview: ...


def _pixels(figure: Figure) -> npt.NDArray[np.uint8]:
    """(height, width, 4) pixels of a figure that has been saved, as rendered for the file."""
    canvas = cast("_Canvas", figure.canvas)
    return np.array(canvas.buffer_rgba())


def _arrays(parts: Mapping[str, Tensor]) -> list[npt.NDArray[np.generic]]:
    return [part.cpu().numpy() for part in parts.values()]


def _are_classes(labels: object, points: int) -> TypeGuard[Tensor]:
    """Whether something is a tensor of one integer for each of the points."""
    return (
        isinstance(labels, Tensor)
        and labels.shape == (points,)
        and not (labels.is_floating_point() or labels.is_complex())
    )
