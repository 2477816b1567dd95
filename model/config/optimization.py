"""Options of the optimization: steps, schedules of the learning rate, and the end of training."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from dataclasses import dataclass

from model.choices import BestBy, CycleMode, Monitor, Optimizer, Scheduler
from model.config.options import Config, option
from model.errors import ConfigError

ENDLESS = -1
"""The value of ``epochs`` for training without a last epoch."""

_EPOCHS = "an integer >= 1, or -1"
_LENGTHS = {
    Scheduler.COSINE: "cosine_epochs",
    Scheduler.COSINE_RESTARTS: "cycle_epochs",
    Scheduler.CYCLIC: "cycle_epochs",
}
"""Schedule -> the option that gives its length; without it, the length follows from the number of epochs."""

_optimization = functools.partial(option, group="optimization")


def check_increasing(name: str, values: tuple[int, ...]) -> None:
    """Raise :class:`ConfigError` unless every value is greater than the one before."""
    if any(later <= earlier for earlier, later in itertools.pairwise(values)):
        raise ConfigError(f"{name} must increase, got {','.join(map(str, values))}.")


@dataclass(frozen=True, kw_only=True)
class OptimizationConfig(Config):
    """Options of the optimization of any network. A subclass gives the defaults that are missing here.

    Raises:
        ConfigError: If a value is of the wrong type, out of range, or in contradiction with another.
    """

    lr: float = _optimization(dataclasses.MISSING, "Learning rate.", above=0)
    batch_size: int | None = _optimization(
        dataclasses.MISSING, "Rows in a training batch; None: all rows in one batch.", minimum=1
    )
    epochs: int = _optimization(
        dataclasses.MISSING,
        "Number of passes over the training data; -1: until early_stopping or patience ends training.",
        words=_EPOCHS,
        resumable=True,
    )
    optimizer: str = _optimization(
        "adam",
        "Optimizer; muon updates all weights but those of the first and of the last layer, and adamw the rest.",
        choices=Optimizer,
    )
    momentum: float = _optimization(0.9, "Momentum of sgd and muon.", minimum=0, below=1)
    adam_betas: tuple[float, ...] = _optimization(
        (0.9, 0.999),
        "Decay rates of the first and of the second moment of adam, adamw and the adamw inside muon, such as 0.9,0.95.",
        minimum=0,
        below=1,
    )
    adam_eps: float = _optimization(
        1e-8, "Number that adam, adamw and the adamw inside muon add to the root of the second moment.", above=0
    )
    weight_decay: float = _optimization(
        0.0, "Weight decay; biases and batch normalization are never decayed.", minimum=0
    )
    scheduler: str = _optimization(
        "none", "Schedule of the learning rate, which is set once per epoch.", choices=Scheduler
    )
    milestones: tuple[int, ...] = _optimization(
        (), "Epochs at which multistep multiplies the learning rate by gamma, such as 30,60.", minimum=1
    )
    gamma: float = _optimization(0.1, "Factor by which multistep and plateau lower the rate.", above=0, maximum=1)
    min_lr: float = _optimization(0.0, "Smallest learning rate that a schedule can reach.", minimum=0)
    plateau_patience: int = _optimization(
        10, "Epochs without a lower validation loss that plateau tolerates before it lowers the rate.", minimum=0
    )
    cosine_epochs: int | None = _optimization(
        None,
        "Epochs in which cosine lowers the rate to min_lr; the rate then rises over as many epochs, and so on. None: "
        "it falls once, until the last epoch.",
        minimum=1,
    )
    cycle_epochs: int | None = _optimization(
        None,
        "Epochs in one cycle of cosine_restarts and cyclic; None: a tenth of the epochs of each start (fresh_starts).",
        minimum=1,
    )
    cycle_growth: int = _optimization(
        1, "Length of each cycle of cosine_restarts, divided by that of the cycle before.", minimum=1
    )
    cycle_mode: str = _optimization(
        "triangular",
        "Height of the triangles of cyclic: constant; halved in each cycle; times cycle_gamma in each epoch.",
        choices=CycleMode,
    )
    cycle_gamma: float = _optimization(
        0.99, "Factor per epoch by which the triangles of cycle_mode=exp_range shrink.", above=0, maximum=1
    )
    warmup_epochs: int = _optimization(
        0, "Epochs at the start over which the learning rate grows linearly to lr.", minimum=0
    )
    gradient_clip: float | None = _optimization(
        0.0, "L2 norm to which a larger gradient is scaled down; 0 or None: no clipping.", minimum=0
    )
    gradient_clip_value: float | None = _optimization(
        None,
        "Bound on the absolute value of each entry of the gradient, applied before gradient_clip; 0 or None: no bound.",
        minimum=0,
    )
    fresh_starts: int = _optimization(
        1,
        "Number of times that training starts, each time with other initial weights and for an equal share of the "
        "epochs; the best epoch of all starts is kept.",
        minimum=1,
    )
    best_by: str = _optimization(
        "val",
        "Part of the data whose accuracy decides which epoch is the best; if accuracies are equal, its loss decides.",
        choices=BestBy,
    )
    early_stopping: bool = _optimization(False, "Whether to stop as soon as validation accuracy is 1.")
    stop_train_acc: float | None = _optimization(
        None,
        "Training stops when the training accuracy is at least this; with stop_train_loss, both goals are needed. "
        "None: no such goal.",
        above=0,
        maximum=1,
    )
    stop_train_loss: float | None = _optimization(
        None,
        "Training stops when the training loss is at most this; with stop_train_acc, both goals are needed. None: no "
        "such goal.",
        above=0,
    )
    patience: int | None = _optimization(
        None,
        "Epochs without an improvement of the monitored metric after which training stops; None: no limit.",
        minimum=1,
    )
    monitor: str = _optimization(
        "val/loss", "Metric that patience watches; lower losses and higher accuracies are better.", choices=Monitor
    )
    min_delta: float = _optimization(0.0, "Change of the monitored metric that an improvement must exceed.", minimum=0)

    def check_together(self) -> None:
        """Raise :class:`ConfigError` if options contradict each other."""
        self._check_end()
        self._check_starts()
        if len(self.adam_betas) != 2:
            raise ConfigError(f"adam_betas must be two numbers, such as 0.9,0.999, got {len(self.adam_betas)}.")
        check_increasing("milestones", self.milestones)
        self._check_scheduler()
        if self.is_endless:
            self._refuse_last_epoch()
        triangle = self.cycle_length if self.scheduler == Scheduler.CYCLIC else None
        self._check_length("warmup_epochs", self.warmup_epochs)
        self._check_length("cosine_epochs", self.cosine_epochs)
        self._check_length("cycle_epochs", self.cycle_epochs or triangle)

    def _check_end(self) -> None:
        """Refuse a number of epochs that is none, and training that nothing would end."""
        if self.epochs < 1 and not self.is_endless:
            raise ConfigError(f"epochs must be {_EPOCHS}, got {self.epochs}.")
        if self.is_endless and not self._ends_early:
            raise ConfigError(
                "epochs=-1 needs something that ends training: set patience, early_stopping=True, stop_train_acc or "
                "stop_train_loss, or a number of epochs."
            )
        if self.patience is None:
            return
        if self.patience >= self.epochs and not self.is_endless:
            raise ConfigError(
                f"patience must be < epochs = {self.epochs}, got {self.patience}: it would never stop training."
            )
        same_metric = self.scheduler == Scheduler.PLATEAU and self.monitor == Monitor.VAL_LOSS
        if same_metric and self.patience <= self.plateau_patience:
            raise ConfigError(
                f"patience must be > plateau_patience = {self.plateau_patience} with scheduler='plateau', got "
                f"{self.patience}: training would stop before the learning rate falls. The patience of the scheduler "
                "is plateau_patience."
            )

    def _check_starts(self) -> None:
        """Refuse fresh starts that can't share the epochs, and what counts epochs over several starts."""
        starts = self.fresh_starts
        if starts == 1:
            return
        reason = "each start has an equal share of the epochs"
        if self.is_endless:
            raise ConfigError(f"fresh_starts={starts} needs a number of epochs, because {reason}, got epochs=-1.")
        if self.epochs % starts:
            nearest = max(1, round(self.epochs / starts)) * starts
            raise ConfigError(
                f"epochs must be a multiple of fresh_starts = {starts}, because {reason}, got {self.epochs}. Use "
                f"{nearest}."
            )
        if self.patience is not None:
            raise ConfigError(f"patience must be None with fresh_starts={starts}, got {self.patience}.")
        if self.scheduler == Scheduler.PLATEAU:
            raise ConfigError(f"scheduler='plateau' needs fresh_starts=1, got {starts}. Use another schedule.")

    def _check_scheduler(self) -> None:
        if (self.scheduler == Scheduler.MULTISTEP) != bool(self.milestones):
            raise ConfigError(
                "scheduler='multistep' and milestones need each other, got "
                f"scheduler={self.scheduler!r} and milestones={list(self.milestones)}."
            )
        if self.scheduler == Scheduler.PLATEAU and self.gamma == 1:
            raise ConfigError("gamma must be < 1 with scheduler='plateau', got 1.0.")
        if self.scheduler != Scheduler.NONE and self.min_lr > self.lr:
            raise ConfigError(f"min_lr must be <= lr = {self.lr}, got {self.min_lr}.")
        if self.scheduler == Scheduler.CYCLIC and self.cycle_epochs == 1:
            raise ConfigError("cycle_epochs must be >= 2 with scheduler='cyclic', got 1: a cycle rises and falls.")

    def _refuse_last_epoch(self) -> None:
        """Refuse a schedule that depends on the last epoch, which training with ``epochs=-1`` lacks."""
        length = _LENGTHS.get(Scheduler(self.scheduler))
        if self.scheduler == Scheduler.LINEAR or (length and getattr(self, length) is None):
            remedy = f"Set {length}, or scheduler='none'." if length else "Use scheduler='none'."
            raise ConfigError(f"scheduler={self.scheduler!r} depends on the number of epochs, got epochs=-1. {remedy}")

    def _check_length(self, name: str, length: int | None) -> None:
        """Refuse a part of a schedule that is longer than a start."""
        if length is not None and length > self.epochs_per_start and not self.is_endless:
            shared = f" / fresh_starts = {self.epochs_per_start}" if self.fresh_starts > 1 else ""
            raise ConfigError(f"{name} must be <= epochs = {self.epochs}{shared}, got {length}.")

    @property
    def _ends_early(self) -> bool:
        """Whether anything can end training before its last epoch."""
        stops = (self.patience, self.stop_train_acc, self.stop_train_loss)
        return self.early_stopping or any(stop is not None for stop in stops)

    @property
    def is_endless(self) -> bool:
        """Whether training has no last epoch, so that early stopping ends it."""
        return self.epochs == ENDLESS

    @property
    def epochs_per_start(self) -> int:
        """Epochs of each start; -1 if training is endless."""
        return self.epochs // self.fresh_starts

    @property
    def last_epoch(self) -> int:
        """Index of the last epoch of a start, from 0. Schedules of endless training don't depend on it."""
        return self.epochs_per_start - 1

    @property
    def cycle_length(self) -> int:
        """Epochs in one cycle of the schedule: ``cycle_epochs``, or a tenth of a start; a triangle needs 2."""
        least = 2 if self.scheduler == Scheduler.CYCLIC else 1
        return self.cycle_epochs or max(least, self.epochs_per_start // 10)
