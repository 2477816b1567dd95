"""The Lightning callback that draws, logs and remembers the status of units and points."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn

from jumpstart.capture.passive import NothingCapturedError
from jumpstart.capture.recorder import Recorder
from jumpstart.capture.targets import CaptureLike, small_model
from jumpstart.choices import Capture
from jumpstart.history import HistoryFile
from jumpstart.monitor import StatusMonitor
from jumpstart.plots.canvas import save_figure
from jumpstart.plots.maps import plot_point_status, plot_unit_status
from jumpstart.status.sample import PointSample

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)


class NetworkStatusPlot(pl.Callback):
    """Draws the status of every unit, and of a sample of points, over the validation part of the data.

    Units are judged by their extrema over the whole validation epoch; the points are a sample of it, the same ones
    every time. Without a validation part, the epoch of training itself is watched. Works with any module: with a
    regularizer of its own, with the callback :class:`~jumpstart.callbacks.Jumpstart`, or with neither.

    Pictures go to files, and to the loggers that take them (Weights & Biases, TensorBoard); the figures of
    :meth:`~jumpstart.metrics.NetworkStatus.compute` go to every logger after every validation, as ``status/...``, at
    the step at which Lightning logs that validation's own figures, with the epoch as a column; and what is drawn is
    remembered in ``status.npz``, a :class:`~jumpstart.history.StatusHistory` that is whole at any moment and goes on
    when a run is resumed. Nothing here draws global random numbers or touches the network: training is the same, bit
    for bit, with and without it. In a distributed run the figures are those of all processes, and the first one writes.

    A step in which no captured layer runs counts as no pass. What can't be counted, such as layers that see unequal
    numbers of samples in one step, ends the watching with one warning, and training goes on.

    Args:
        epoch_freq: Epochs between two pictures; the last epoch is drawn too, also when training stops early.
        num_points: Points in the picture of points.
        directory: Folder of the pictures; by default ``plots`` in the trainer's root directory.
        history: The file that remembers; by default ``status.npz`` in the trainer's root directory.
        seed: Chooses the points, by a private generator.
        scalars: Whether the figures are sent to the loggers.
        module: Name of the part that is watched, such as ``"model.encoder"``; by default all that the module holds.
            Figures and pictures then go to the loggers as ``status/<module>/...``.
        capture: What is read, as for :class:`~jumpstart.monitor.StatusMonitor`. As the next two, only where no
            regularizer is attached, which has options of its own.
        skip_last: With ``capture="weights"``, leave out the layer that is called last.
        unit_dim: The dimension of the units in tensors of 3 dimensions and more; by default found out.

    Raises:
        ValueError: If ``epoch_freq`` or ``num_points`` is below 1, ``seed`` below 0, or ``capture`` or ``unit_dim``
            wrong. Before training, if there is no part of that name, nothing to capture, or a regularizer that decides
            what is read.
        RuntimeError: Before training, if several regularizers are attached to parts of what is watched.

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
        module: str | None = None,
        capture: CaptureLike = Capture.ACTIVATIONS,
        skip_last: bool = True,
        unit_dim: int | None = None,
    ) -> None:
        if epoch_freq < 1:
            raise ValueError(f"epoch_freq must be >= 1, got {epoch_freq}.")
        named = capture if isinstance(capture, str) else Capture.ACTIVATIONS  # names are those of a model
        StatusMonitor(small_model(), capture=named, skip_last=skip_last, unit_dim=unit_dim).remove()
        self.module = module
        self._capture: dict[str, Any] = {"capture": capture, "skip_last": skip_last, "unit_dim": unit_dim}
        self._labels = PointSample(num_points, seed)
        self.epoch_freq, self.num_points, self.seed = epoch_freq, num_points, seed
        self.directory, self.history, self.scalars = directory, history, scalars
        self._monitor: _Monitor | None = None
        self._step = ExitStack()
        self._noted = False
        self._logged_at = 0
        self._by_training = False
        self._labeled = True
        self._before = 0
        self._watched: int | None = None
        self._drawn: int | None = None
        self._memory: HistoryFile | None = None

    # The run -----------------------------------------------------------------------------------------------------

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Attach, after the sanity check and after what else is attached."""
        self._attach(pl_module)
        self._by_training = not trainer.enable_validation
        epoch = trainer.current_epoch
        self._watched, self._drawn = None, epoch - 1 if epoch else None
        path = Path(self.history or Path(trainer.default_root_dir) / "status.npz")
        self._memory = HistoryFile(path, resume=epoch > 0) if trainer.is_global_zero else None

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw, if it is time."""
        if self._by_training:
            self._end_epoch(trainer, pl_module)
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

    def logging_step(self, trainer: pl.Trainer) -> int:
        """The step at which loggers get figures and pictures: that of Lightning's own. A subclass may have others."""
        steps = trainer.fit_loop.epoch_loop._batches_that_stepped
        return max(0, steps - 1) if self._by_training else steps  # an epoch of training is logged at its last step

    def _attach(self, pl_module: pl.LightningModule) -> None:
        self._detach()
        self._noted = False
        part = part_of(pl_module, self.module)
        self._monitor = _Monitor(part, num_points=self.num_points, seed=self.seed, enabled=False, **self._capture)

    def _detach(self) -> None:
        if self._monitor is not None:
            self._monitor.enabled = False  # a step that has failed does not count
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
            self._end_epoch(trainer, pl_module)

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
            self._labeled = True

    def _begin_batch(self, pl_module: pl.LightningModule) -> None:
        monitor = self._monitor
        if monitor is None or not monitor.able():  # the sanity check, or what can't be counted
            return
        monitor.enabled = True
        self._before = monitor.points
        if monitor.alone or monitor.root is pl_module:  # a step need not call the module as a whole
            self._step.enter_context(monitor.recording())

    def _end_batch(self, batch: Any) -> None:
        monitor = self._monitor
        if monitor is None:
            return
        self._step.close()
        monitor.catch_up()
        monitor.enabled = False
        if monitor.points == self._before:
            return
        labels = batch[1] if isinstance(batch, Sequence) and len(batch) > 1 else None
        if (
            isinstance(labels, Tensor)
            and labels.shape == (monitor.points - self._before,)
            and not (labels.is_floating_point() or labels.is_complex())
        ):
            self._labels.update(labels.long().unsqueeze(1))
        else:
            self._labeled = False

    def _end_epoch(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        monitor = self._monitor
        if monitor is None:
            return
        self._watched = None
        name = type(pl_module).__name__
        if not monitor.able():
            instead = " With validation data, those are watched instead of the training." if self._by_training else ""
            logger.warning(
                "NetworkStatusPlot stops watching %s, and training goes on. The reason: %s Let capture (that of "
                "NetworkStatusPlot, or of the regularizer if there is one) name layers that every step runs alike.%s",
                name,
                monitor.failure,
                instead,
            )
        # What follows talks to the other processes, so that all of them must go the same way.
        if trainer.strategy.reduce_boolean_decision(not monitor.able(), all=False):
            self._detach()
        elif trainer.strategy.reduce_boolean_decision(monitor.points > 0):
            self._watched, self._logged_at = trainer.current_epoch, self.logging_step(trainer)
            if self.scalars and trainer.loggers:
                figures = {f"{self._tag}/{name}": value for name, value in monitor.numbers().items()}
                for target in trainer.loggers:
                    target.log_metrics({**figures, "epoch": self._watched}, step=self._logged_at)
        elif not self._noted:
            self._noted = True
            logger.warning(
                "NetworkStatusPlot has nothing to draw of epoch %d of %s: no captured layer ran. Does a part run that "
                "it does not watch, or was the model compiled, which leaves out hooks that come later? Name other "
                "layers with module and capture, or do not compile.",
                trainer.current_epoch,
                name,
            )

    @property
    def _tag(self) -> str:
        return "status" if self.module is None else f"status/{self.module}"

    # Pictures ----------------------------------------------------------------------------------------------------

    def _draw(self, trainer: pl.Trainer, epoch: int) -> None:
        monitor = self._monitor
        assert monitor is not None
        self._drawn = epoch
        # Every process takes part in these, the first one in the rest.
        tables = (monitor.unit_status, monitor.unit_max, monitor.unit_min)
        units, largest, smallest = (_arrays(table) for table in tables)
        points = torch.stack(list(monitor.point_status.values()), 1).cpu().numpy()
        labels = self._labels.rows[:, 0].cpu().numpy() if self._labeled else None
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
        log_figures(trainer, figures, self._logged_at, self._tag)
        if self._memory is not None:
            self._memory.append(names, epoch, largest, smallest, points, labels)


class _Monitor(StatusMonitor):
    """One that stops nobody: the first thing that it can't count is kept in ``failure``, and it counts no more."""

    failure: Exception | None = None

    @property
    def alone(self) -> bool:
        """Whether no regularizer makes the records."""
        return self._own is not None

    def able(self) -> bool:
        """Whether it counts still; otherwise its hooks are off."""
        if self.failure is None and self._recorder() is None:
            self.failure = RuntimeError("the regularizer whose records it reads was removed.")
        if self.failure is None:
            return True
        self.remove()
        return False

    def catch_up(self) -> None:
        """Count the latest pass, if nobody did: a compiled network calls no hook that comes later."""
        self.settle()
        recorder = self._recorder()
        if recorder is not None and recorder.ran and not recorder.active:
            self._take(recorder)

    def _take(self, recorder: Recorder) -> None:
        if self.failure is not None:
            return
        try:
            super()._take(recorder)
        except NothingCapturedError:  # a step may well do something else
            pass
        except (RuntimeError, TypeError, ValueError) as error:
            self.failure = error


def part_of(pl_module: pl.LightningModule, name: str | None) -> nn.Module:
    """The part of that name, or else the module itself.

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
    """Send pictures to every logger that takes them: Weights & Biases, TensorBoard."""
    for target in trainer.loggers:
        writer: Any = getattr(target, "experiment", None)
        for name, figure in figures.items():
            if hasattr(target, "log_image"):
                target.log_image(f"{tag}/{name}", [_pixels(figure)], step=step)
            elif hasattr(writer, "add_image"):
                writer.add_image(f"{tag}/{name}", _pixels(figure), step, dataformats="HWC")


def _pixels(figure: Figure) -> np.ndarray[Any, Any]:
    """(height, width, 4) uint8, of a figure that has been saved: what was rendered for that is there still."""
    canvas: Any = figure.canvas
    return np.array(canvas.buffer_rgba())


def _arrays(parts: Mapping[str, Tensor]) -> list[np.ndarray[Any, Any]]:
    return [part.cpu().numpy() for part in parts.values()]
