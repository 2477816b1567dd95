"""What every experiment shares: optimization, Jumpstart, data and run options.

One run is one frozen dataclass; ``options.py`` beside this file makes flags of its fields. Nothing
here imports torch until an activation is checked, so that ``--help`` and most errors come at once.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import itertools
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model.config.options import Config, option, redefine, show, unknown_value, validate
from model.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "TERMS",
    "Config",
    "ConfigError",
    "ExperimentConfig",
    "activation_classes",
    "check_activation",
    "option",
    "redefine",
    "validate",
]

TERMS = ("unit", "point", "unit_positive", "unit_negative", "point_positive", "point_negative")

_GPUS = 'auto, a number >= 0, or indices such as "0,1"'


@functools.cache
def activation_classes() -> Mapping[str, type[nn.Module]]:
    """The ``torch.nn`` activations that need no argument and keep the shape, by lower-case name.

    Softmax and its kin are no activations of single units, GLU halves the width: neither is here.
    """
    from torch.nn.modules import activation

    left_out = {"GLU", "MultiheadAttention", "Softmax", "Softmax2d", "Softmin", "LogSoftmax"}
    classes = {name: getattr(activation, name) for name in activation.__all__ if name not in left_out}
    return types.MappingProxyType(
        {name.lower(): found for name, found in classes.items() if not _needs_arguments(found)}
    )


def _needs_arguments(callable_: type) -> bool:
    parameters = inspect.signature(callable_).parameters.values()
    return any(p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)


def check_activation(name: str, value: str) -> str:
    """The activation in lower case without underscores, as :func:`activation_classes` has it.

    Example:
        >>> check_activation("activation", "Leaky_ReLU")
        'leakyrelu'
    """
    word = value.replace("_", "").replace("-", "").lower()
    known = activation_classes()
    if word not in known:
        raise unknown_value(name, f"one of {', '.join(sorted(known))}", value, known)
    return word


def check_terms(name: str, value: str) -> str:
    """The terms in lower case, each once, without blanks.

    Example:
        >>> check_terms("terms", "unit, Point_Positive")
        'unit,point_positive'
    """
    words = list(dict.fromkeys(word.strip().lower() for word in value.split(",")))
    if words == ["all"]:
        return "all"
    for word in words:
        if word not in TERMS:
            raise unknown_value(name, f"all or a comma-separated list of {', '.join(TERMS)}", word, ("all", *TERMS))
    return ",".join(words)


def check_gpus(name: str, value: int | str) -> int | str:
    """``auto``, a number of GPUs, or the indices of those to use."""
    if isinstance(value, int):
        return value
    word = value.replace(" ", "").lower()
    if word == "auto":
        return word
    indices = word.rstrip(",").split(",")
    numeric = all(index.isascii() and index.isdigit() for index in indices)
    if not numeric or len(set(indices)) < len(indices):
        raise ConfigError(f"{name} must be {_GPUS}, got {show(value)}.")
    return word if "," in word else int(word)


def check_name(name: str, value: str) -> str:
    """A name that can be that of one folder."""
    if value in (".", "..") or any(mark in "/\\" or not mark.isprintable() for mark in value) or len(value) > 150:
        raise ConfigError(f"{name} must be a plain folder name of at most 150 characters, got {show(value)}.")
    return value


_optimization = functools.partial(option, group="optimization")
_jumpstart = functools.partial(option, group="jumpstart")
_data = functools.partial(option, group="data")
_run = functools.partial(option, group="run")


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig(Config):
    """One run, whatever its network; a subclass adds the network and the defaults missing here.

    The help text of each field says what it means; ``to_dict`` and ``from_dict`` make plain
    values of them and back.

    Raises:
        ConfigError: If a value is of the wrong type, out of range, or at odds with another.
    """

    lr: float = _optimization(dataclasses.MISSING, "Learning rate.", above=0)
    batch_size: int | None = _optimization(
        dataclasses.MISSING, "Rows in a training batch; None: all of them.", minimum=1
    )
    epochs: int = _optimization(dataclasses.MISSING, "Passes over the training data.", minimum=1, resumable=True)
    optimizer: str = _optimization("adam", "Optimizer.", choices=("adam", "adamw", "sgd"))
    momentum: float = _optimization(0.9, "Momentum of sgd.", minimum=0, below=1)
    weight_decay: float = _optimization(0.0, "Weight decay of the optimizer.", minimum=0)
    scheduler: str = _optimization(
        "none",
        "How the learning rate changes from epoch to epoch.",
        choices=("none", "multistep", "cosine", "cosine_restarts", "cyclic", "plateau"),
    )
    milestones: tuple[int, ...] = _optimization(
        (), "Epochs at which multistep multiplies the rate by gamma, such as 30,60.", minimum=1
    )
    gamma: float = _optimization(0.1, "Factor of multistep and plateau.", above=0, maximum=1)
    min_lr: float = _optimization(0.0, "Least learning rate of a schedule.", minimum=0)
    cycle_epochs: int | None = _optimization(
        None,
        "Length of a cycle of cosine_restarts and cyclic; None: a tenth of the epochs.",
        minimum=1,
    )
    patience: int = _optimization(10, "Epochs without progress that plateau waits.", minimum=0)
    warmup_epochs: int = _optimization(0, "Epochs over which the learning rate first grows from 0.", minimum=0)
    gradient_clip: float | None = _optimization(0.0, "Largest norm of the gradient; 0 or None: not clipped.", minimum=0)

    lambda_: float = _jumpstart(dataclasses.MISSING, "Weight of the Jumpstart loss; 0: plain training.", minimum=0)
    lambda_schedule: str = _jumpstart(
        "constant",
        "How lambda_ changes over the run, down to lambda_min.",
        choices=("constant", "cosine", "linear"),
    )
    lambda_min: float = _jumpstart(0.0, "Where the schedule of lambda_ ends.", minimum=0)
    use_loss: bool = _jumpstart(True, "Whether the task loss is trained on; False: Jumpstart alone.")
    capture: str = _jumpstart(
        "activations",
        "What is read: inputs of activations, or outputs of weighted layers.",
        choices=("activations", "weights"),
    )
    terms: str = _jumpstart(
        "all",
        "Hinges that count.",
        words=f"all or a comma-separated list of {', '.join(TERMS)}",
        check=check_terms,
    )
    aggregate: str = _jumpstart(
        "balanced",
        "How the penalties of units and points become one number.",
        choices=("balanced", "mean", "norm", "sum_of_squares"),
    )
    margin: float = _jumpstart(1.0, "How far either side of 0 each unit and point must reach.", above=0)
    positive_weight: float = _jumpstart(1.0, "Weight of the positive hinges.", minimum=0)
    negative_weight: float = _jumpstart(1.0, "Weight of the negative hinges.", minimum=0)
    ties: str = _jumpstart(
        "single",
        "Which of several equal extrema gets the gradient.",
        choices=("single", "average", "random"),
    )
    unit_dim: int | None = _jumpstart(None, "Dimension of the units in 3-D activations; None: found out.")
    point: str = _jumpstart(
        "sample",
        "What a point is: a sample, or each position of it.",
        choices=("sample", "location"),
    )
    sync: bool = _jumpstart(
        False, "Whether several processes share one Jumpstart loss, that of the whole batch, instead of one each."
    )

    dataset: str = _data(dataclasses.MISSING, "Name of the data set.")
    val_size: float | None = _data(None, "Share of the rows for validation; None: that of the set.", above=0, below=1)
    test_size: float = _data(0.15, "Share of the rows for the test.", above=0, below=1)
    data_dir: str | None = _data(
        None, "Folder of the data files; None: JUMPSTART_DATA_DIR or the user's cache.", resumable=True
    )

    seed: int = _run(42, "Seed of the split, the weights and the order of batches.", minimum=0, maximum=2**32 - 1)
    gpus: int | str = _run(
        "auto",
        "GPUs to use; 0: the CPU.",
        words=_GPUS,
        minimum=0,
        check=check_gpus,
        resumable=True,
    )
    threads: int | None = _run(None, "Threads of the CPU that one operation may use; None: torch's choice.", minimum=1)
    early_stopping: bool = _run(False, "Whether to stop when validation accuracy is perfect.")
    plot_status: bool = _run(True, "Whether to plot the status of units and points.")
    plot_every: int | None = _run(None, "Epochs between two plots; None: chosen from the epochs.", minimum=1)
    curve_points: int = _run(400, "Least number of epochs written to each curve, if there are so many.", minimum=1)
    checkpoint_seconds: float = _run(30.0, "Least time between two checkpoints, in seconds.", minimum=0)
    wandb: bool = _run(True, "Whether to log to Weights & Biases, offline without a key.", resumable=True)
    wandb_project: str = _run("jumpstart", "Weights & Biases project.")
    progress: bool = _run(True, "Whether to show a progress bar.", resumable=True)
    output_dir: str = _run("runs", "Folder of the run directories.")
    name: str | None = _run(None, "Name of the run directory; None: made from the options.", check=check_name)

    def check_together(self) -> None:
        """Refuse options that contradict each other."""
        if (self.val_size or 0.0) + self.test_size >= 1:
            raise ConfigError(
                f"val_size + test_size must be < 1, got {self.val_size} + {self.test_size}: "
                "nothing is left to train on."
            )
        check_increasing("milestones", self.milestones)
        if (self.scheduler == "multistep") != bool(self.milestones):
            raise ConfigError(
                'scheduler "multistep" and milestones need each other, got '
                f"scheduler={show(self.scheduler)} and milestones={list(self.milestones)}."
            )
        if self.scheduler == "plateau" and self.gamma == 1:
            raise ConfigError('gamma must be < 1 with scheduler="plateau", got 1.0.')
        if self.scheduler != "none" and self.min_lr > self.lr:
            raise ConfigError(f"min_lr must be <= lr = {self.lr}, got {self.min_lr}.")
        if self.warmup_epochs > self.epochs:
            raise ConfigError(f"warmup_epochs must be <= epochs = {self.epochs}, got {self.warmup_epochs}.")
        if not self.use_loss and self.lambda_ == 0:
            raise ConfigError("use_loss=False trains on the Jumpstart loss alone: lambda_ must be > 0, got 0.0.")
        if self.lambda_schedule != "constant" and self.lambda_min > self.lambda_:
            raise ConfigError(f"lambda_min must be <= lambda_ = {self.lambda_}, got {self.lambda_min}.")
        if self.positive_weight == 0 and self.negative_weight == 0:
            raise ConfigError("positive_weight or negative_weight must be > 0, got 0.0 for both.")
        if self.unit_dim == 0:
            raise ConfigError("unit_dim must not be 0, the dimension of the points; 1 and -1 are usual.")

    @property
    def cycle_length(self) -> int:
        """Epochs in one cycle of the schedule: ``cycle_epochs``, or a tenth of the epochs."""
        return self.cycle_epochs or max(1, self.epochs // 10)

    @property
    def trainer_options(self) -> dict[str, Any]:
        """What the Lightning trainer is told besides; a subclass with options for it says so here."""
        return {}

    @property
    def label(self) -> str:
        """Data set, lambda and seed, for the name of a run directory."""
        return f"{self.dataset}-lambda{self.lambda_:g}-seed{self.seed}"


def check_increasing(name: str, values: tuple[int, ...]) -> None:
    """Raise :class:`ConfigError` unless every value is greater than the one before."""
    if any(later <= earlier for earlier, later in itertools.pairwise(values)):
        raise ConfigError(f"{name} must increase, got {','.join(map(str, values))}.")
