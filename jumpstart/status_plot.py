"""The Lightning callback that plots, logs and stores the status of units and points."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TypedDict, TypeGuard

import pytorch_lightning as pl
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn

from jumpstart.capture.passive import NothingCapturedError
from jumpstart.capture.recorder import Recorder
from jumpstart.capture.targets import CaptureLike, small_model
from jumpstart.choices import Capture, Part, choose
from jumpstart.files import UserPath, user_path
from jumpstart.history import HistoryFile, history_name
from jumpstart.monitor import StatusMonitor
from jumpstart.plots.status_drawer import StatusDrawer

logger = logging.getLogger(__name__)


class _Options(TypedDict):
    """Options that are passed on to the monitor."""

    num_points: int
    seed: int
    skip_last: bool
    unit_dim: int | None
    batch_first: bool | None


class NetworkStatusPlot(pl.Callback):
    """Plots the status of every unit, and of a sample of points, over the validation data or another part.

    The status of a unit follows from its extrema over the whole validation epoch; the sample has the same points in
    every epoch. Without validation data, the callback monitors the training epoch. The module may have its own
    regularizer, the callback :class:`~jumpstart.callbacks.Jumpstart`, or with neither.

    ``part`` chooses the part of the data; for several parts, add one callback for each. The training part is monitored
    in the steps that train, while the weights change. The test part is monitored in ``trainer.test()``, and never
    before. With a part, the names of files and logged values contain it: ``unit_status-train-epoch000010.png``,
    ``status/train/...``.

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
        history: The file of the status history; by default ``status.npz`` in the trainer's root directory, or
            ``status-train.npz`` and ``status-test.npz`` for these parts.
        seed: Seed of the private generator that draws the points.
        scalars: Whether the metrics are sent to the loggers.
        module: Name of the monitored part, such as ``"model.encoder"``; by default the whole module. With a name,
            metrics and plots are sent to the loggers as ``status/<module>/...``.
        capture: Which preactivations are read, as for :class:`~jumpstart.monitor.StatusMonitor`. This option and the
            next three can be given only if no regularizer is attached: a regularizer determines what is read.
        skip_last: With ``capture="weights"``, leave out the layer that is called last.
        unit_dim: The dimension of the units in tensors of 3 dimensions and more, as for the regularizer.
        batch_first: Whether dimension 0 holds the samples in tensors of 3 dimensions and more, as for the regularizer.
        part: The part of the data that is plotted: ``"train"``, ``"val"`` or ``"test"``; by default the validation
            part, or the training part if there is no validation.

    Raises:
        ValueError: If ``epoch_freq`` or ``num_points`` is below 1, ``seed`` below 0, or ``capture``, ``unit_dim``,
            ``batch_first`` or ``part`` wrong. Before training, if there is no module of that name, nothing to capture,
            no validation data for ``part="val"``, or a regularizer that determines what is read.
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
        batch_first: bool | None = None,
        part: Part | str | None = None,
    ) -> None:
        if epoch_freq < 1:
            raise ValueError(f"epoch_freq must be >= 1, got {epoch_freq}.")
        # Wrong options are refused before there is a model. Names of modules can only be checked with the model.
        mode = capture if isinstance(capture, str) else Capture.ACTIVATIONS
        options: _Options = {
            "num_points": num_points,
            "seed": seed,
            "skip_last": skip_last,
            "unit_dim": unit_dim,
            "batch_first": batch_first,
        }
        StatusMonitor(small_model(), capture=mode, **options).remove()
        self.module = module
        self.part = None if part is None else choose(Part, part, "part")
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
        epoch = trainer.current_epoch
        self._counted_epoch, self._plotted_epoch = None, epoch - 1 if epoch else None
        if self.part == Part.TEST:
            return
        if self.part == Part.VAL and not trainer.enable_validation:
            raise ValueError(
                "part='val' needs validation data, and there are none. Leave out part, or use part='train'."
            )
        self._attach(pl_module)
        self._by_training = self.part == Part.TRAIN or not trainer.enable_validation
        self._open_history(trainer, resume=epoch > 0)

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

    def evaluated_epoch(self, trainer: pl.Trainer) -> int:
        """The epoch of the weights in ``trainer.validate()`` and ``trainer.test()``. Can be overridden."""
        return trainer.current_epoch

    def test_loader(self, trainer: pl.Trainer) -> int:
        """The index of the data loader that holds the test part in ``trainer.test()``. Can be overridden."""
        return 0

    def _open_history(self, trainer: pl.Trainer, *, resume: bool) -> None:
        path = self.history or Path(trainer.default_root_dir) / history_name(self.part)
        self._history_file = HistoryFile(path, resume=resume) if trainer.is_global_zero else None

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
        if trainer.state.fn == TrainerFn.VALIDATING and self.part in (None, Part.VAL):
            self._by_training = False
            self._attach(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Plot ``trainer.validate()``, and detach the monitor."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._end_evaluation(trainer)

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Attach the monitor in ``trainer.test()``, if the test part is plotted."""
        if self.part == Part.TEST:
            self._attach(pl_module)
            self._open_history(trainer, resume=False)

    def on_test_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Start to count a batch of the test part."""
        if self.part == Part.TEST and dataloader_idx == self.test_loader(trainer):
            self._begin_batch(pl_module)

    def on_test_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: object, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Count a batch of the test part."""
        if self.part == Part.TEST and dataloader_idx == self.test_loader(trainer):
            self._end_batch(batch)

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Send the metrics of the test part to the loggers."""
        if self.part == Part.TEST:
            self._end_epoch(trainer, pl_module)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Plot the test part, and detach the monitor."""
        if self.part == Part.TEST:
            self._end_evaluation(trainer)

    def _end_evaluation(self, trainer: pl.Trainer) -> None:
        if self._counted_epoch is not None and self._monitor is not None:
            self._draw(trainer, self._counted_epoch)
            self._detach()

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start a new epoch of validation."""
        if self._by_validation:
            self._begin_epoch()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start a new epoch of training, if there is no validation."""
        if self._by_training:
            self._begin_epoch()

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Send the metrics of the validation to the loggers."""
        if self._by_validation and not trainer.sanity_checking:
            self._end_epoch(trainer, pl_module)

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Start to count a batch of the first validation set."""
        if self._by_validation and dataloader_idx == 0:
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
        if self._by_validation and dataloader_idx == 0:
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

    @property
    def _by_validation(self) -> bool:
        return not self._by_training and self.part != Part.TEST

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
            fitting = trainer.state.fn == TrainerFn.FITTING
            self._counted_epoch = trainer.current_epoch if fitting else self.evaluated_epoch(trainer)
            self._logged_at = self.logging_step(trainer)
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
        return "/".join(["status", *filter(None, (self.part, self.module))])

    # Plots -------------------------------------------------------------------------------------------------------

    def _draw(self, trainer: pl.Trainer, epoch: int) -> None:
        monitor = self._monitor
        assert monitor is not None
        self._plotted_epoch = epoch
        folder = self.directory or Path(trainer.default_root_dir) / "plots"
        drawer = StatusDrawer(folder, part=self.part, module=self.module, history=self._history_file)
        drawer.draw(monitor, epoch, self._logged_at, trainer.loggers, writes=trainer.is_global_zero)


class _Monitor(StatusMonitor):
    """A monitor whose errors do not stop the training: the callback asks for them before it reads a metric."""

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
            self._try_to_count(recorder)

    def _count(self, recorder: Recorder) -> None:
        with suppress(NothingCapturedError):  # a step need not run a captured layer
            super()._count(recorder)


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


def _are_classes(labels: object, points: int) -> TypeGuard[Tensor]:
    """Whether something is a tensor of one integer for each of the points."""
    return (
        isinstance(labels, Tensor)
        and labels.shape == (points,)
        and not (labels.is_floating_point() or labels.is_complex())
    )
