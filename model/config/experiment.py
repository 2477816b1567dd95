"""Options of every experiment: optimization, Jumpstart, data and run.

One run is one frozen dataclass; :mod:`model.config.options` makes flags of its fields. Nothing here imports torch until
an activation is checked, so that ``--help`` and most errors are shown without the seconds that torch takes to import.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import ClassVar, TypedDict

from jumpstart.choices import MARGIN, Aggregate, Capture, Margins, Part, PointMode, Ties, check_margins
from model.choices import BestBy, LambdaSchedule, Scaling, Scheduler
from model.config.checks import (
    AUTO_MARGIN,
    GPUS,
    NEGATIVE_MARGIN,
    PART_LIST,
    TERMS,
    check_dataset,
    check_file,
    check_gpus,
    check_name,
    check_negative_margin,
    check_parts,
    check_path,
    check_tags,
    check_terms,
)
from model.config.optimization import OptimizationConfig
from model.config.options import Several, option
from model.errors import ConfigError


class TrainerOptions(TypedDict, total=False):
    """Arguments of the Lightning trainer that depend on the options of a network."""

    precision: str
    strategy: str
    num_nodes: int
    max_epochs: int
    limit_train_batches: int
    limit_val_batches: int
    limit_test_batches: int


TRIAL_EPOCHS = 2
"""Largest number of epochs with ``fast_dev_run``."""

_LEAST_AUTO_MARGIN = 0.1

_TRIAL: TrainerOptions = {"limit_train_batches": 2, "limit_val_batches": 2, "limit_test_batches": 2}

_jumpstart = functools.partial(option, group="jumpstart")
_data = functools.partial(option, group="data")
_run = functools.partial(option, group="run")


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig(OptimizationConfig):
    """Options of one run of any network. A subclass adds the options of the network, and the defaults missing here.

    The help text of each field gives its meaning; ``to_dict`` and ``from_dict`` convert to plain values and back.

    Attributes:
        launcher: File name of the launcher, for the commands in the report; empty if there is none, which leaves out
            the description of the network and the commands.

    Raises:
        ConfigError: If a value is of the wrong type, out of range, or in contradiction with another.
    """

    launcher: ClassVar[str] = ""

    lambda_: float = _jumpstart(dataclasses.MISSING, "Weight of the Jumpstart loss; 0: no Jumpstart.", minimum=0)
    lambda_schedule: str = _jumpstart(
        "constant", "Schedule of lambda_, from lambda_ down to lambda_min.", choices=LambdaSchedule
    )
    lambda_min: float = _jumpstart(0.0, "Least value of lambda_ in its schedule.", minimum=0)
    lambda_cosine_epochs: int | None = _jumpstart(
        None,
        "Epochs in which lambda_schedule=cosine lowers lambda_ to lambda_min; lambda_ then rises over as many epochs, "
        "and so on. None: it falls once, until the last epoch.",
        minimum=1,
    )
    use_loss: bool = _jumpstart(True, "Whether the task loss is minimized; False: the Jumpstart loss alone.")
    capture: str = _jumpstart(
        "activations",
        "Preactivations that are read: the inputs of activations, or the outputs of weighted layers.",
        choices=Capture,
    )
    skip_last: bool = _jumpstart(
        True, "Whether capture=weights leaves out the output layer; the published code reads this layer."
    )
    terms: str = _jumpstart(
        "all",
        "Hinges (penalties) that the Jumpstart loss contains.",
        words=f"all or a comma-separated list of {', '.join(TERMS)}",
        check=check_terms,
        several=Several.BRACKETS,
    )
    aggregate: str = _jumpstart(
        "balanced", "How the losses of units and points are combined into one number.", choices=Aggregate
    )
    margin: float = _jumpstart(
        MARGIN, "Distance from 0 that each unit and each point must reach on the positive side.", above=0
    )
    negative_margin: float | str | None = _jumpstart(
        None,
        "The same on the negative side; None: the value of margin; auto: 1 / depth, but at least 0.1.",
        words=NEGATIVE_MARGIN,
        above=0,
        check=check_negative_margin,
    )
    positive_weight: float = _jumpstart(1.0, "Weight of the positive hinges.", minimum=0)
    negative_weight: float = _jumpstart(1.0, "Weight of the negative hinges.", minimum=0)
    ties: str = _jumpstart("single", "Which of several equal extrema gets the gradient.", choices=Ties)
    unit_dim: int | None = _jumpstart(
        None, "Dimension of the units in tensors of 3 or more dimensions; None: inferred from the layers."
    )
    point: str = _jumpstart("sample", "What one point is: a sample, or one position of a sample.", choices=PointMode)
    sync: bool = _jumpstart(
        False, "Whether all processes share one Jumpstart loss, that of the whole batch, instead of one per process."
    )

    dataset: str = _data(
        dataclasses.MISSING,
        "Name of a data set, or path of your own table or folder of images.",
        check=check_dataset,
    )
    target: str | None = _data(
        None,
        "Column of the classes in a file of your own: its name, or its position; 0 is the first column, -1 the last.",
        several=Several.NEVER,
    )
    drop_columns: str | None = _data(
        None, "Columns of a file of your own that are left out, separated by commas.", several=Several.BRACKETS
    )
    category_columns: str | None = _data(
        None,
        "Columns of a file of your own whose numbers are categories, separated by commas.",
        several=Several.BRACKETS,
    )
    val_dataset: str | None = _data(
        None,
        "Path of a validation part of your own; None: split from the dataset.",
        check=check_file,
        several=Several.NEVER,
    )
    test_dataset: str | None = _data(
        None, "Path of a test part of your own; None: split from the dataset.", check=check_file, several=Several.NEVER
    )
    val_size: float | None = _data(
        None,
        "Share of the rows used for validation; None: the default of the data set; 0: the test part of a table takes "
        "the place of the validation part, which needs best_by=train.",
        minimum=0,
        below=1,
    )
    test_size: float = _data(0.15, "Share of the rows used for the test.", above=0, below=1)
    data_dir: str | None = _data(
        None,
        "Folder of the data files; None: JUMPSTART_DATA_DIR, or the cache folder of the user.",
        check=check_path,
        resumable=True,
        several=Several.NEVER,
    )
    num_points: int = _data(1000, "Number of rows of a generated data set.", minimum=10)
    noise: float = _data(0.1, "Noise of a generated data set.", minimum=0)
    scaling: str = _data(
        "standard",
        "How the numbers of a table are scaled, by statistics of the training part: to mean 0 and standard deviation "
        "1, or divided by the range of each column.",
        choices=Scaling,
    )

    split_seed: int | None = _data(
        None, "Seed of generated points and of the split; None: the value of seed.", minimum=0, maximum=2**32 - 1
    )

    seed: int = _run(
        42, "Seed of the split, the initial weights and the order of batches.", minimum=0, maximum=2**32 - 1
    )
    gpus: int | str = _run(
        "auto",
        "GPUs to use: their number or their indices; auto: all of them; 0: the CPU.",
        words=GPUS,
        minimum=0,
        check=check_gpus,
        resumable=True,
        several=Several.BRACKETS,
    )
    threads: int | None = _run(
        None, "CPU threads that one operation may use; None: torch's default.", minimum=1, maximum=1024
    )
    plot_status: bool = _run(True, "Whether to plot the status of units and points during training.")
    plot_every: int | None = _run(
        None, "Epochs from one plot to the next; None: chosen by the number of epochs.", minimum=1
    )
    plot_parts: str | None = _run(
        None,
        "Parts of the data whose status is plotted, the test part after training; None: the validation part, in files "
        "whose names contain no part.",
        words=PART_LIST,
        check=check_parts,
        several=Several.BRACKETS,
    )
    plot_num_points: int = _run(500, "Number of points of each part in the plots of points.", minimum=1)
    curve_points: int = _run(
        400, "Least number of epochs written to metrics.csv; shorter runs write every epoch.", minimum=1
    )
    checkpoint_seconds: float = _run(30.0, "Least time between two checkpoints, in seconds.", minimum=0)
    wandb: bool = _run(True, "Whether to log to Weights & Biases; without a key, offline.", resumable=True)
    wandb_project: str = _run("jumpstart", "Weights & Biases project.", several=Several.NEVER)
    wandb_entity: str | None = _run(
        None,
        "Weights & Biases user or team that owns the run; None: the default of the account.",
        several=Several.NEVER,
    )
    wandb_group: str | None = _run(None, "Group of the run in Weights & Biases.", several=Several.NEVER)
    wandb_tags: str | None = _run(
        None, "Tags of the run in Weights & Biases, separated by commas.", check=check_tags, several=Several.NEVER
    )
    wandb_notes: str | None = _run(None, "Notes on the run in Weights & Biases.", several=Several.NEVER)
    wandb_checkpoints: bool = _run(
        False, "Whether best.ckpt and last.ckpt are uploaded to Weights & Biases when the run ends."
    )
    wandb_charts: bool = _run(
        True,
        "Whether Weights & Biases gets interactive charts and the report of a finished run.",
        resumable=True,
        several=Several.NEVER,
    )
    progress: bool = _run(True, "Whether to show a progress bar.", resumable=True, several=Several.NEVER)
    fast_dev_run: bool = _run(
        False,
        "Whether to make a trial run: two epochs of two batches, then checkpoint, test and plots.",
        several=Several.NEVER,
    )
    output_dir: str = _run(
        "runs", "Folder in which the run directories are created.", check=check_path, several=Several.NEVER
    )
    name: str | None = _run(
        None, "Name of the run directory; None: made from the options.", check=check_name, several=Several.NEVER
    )

    def check_together(self) -> None:
        """Raise :class:`ConfigError` if options contradict each other."""
        super().check_together()
        if (self.val_size or 0.0) + self.test_size >= 1:
            raise ConfigError(
                f"val_size + test_size must be < 1, got {self.val_size} + {self.test_size}: "
                "nothing is left to train on."
            )
        if self.plot_parts is not None and not self.plot_status:
            raise ConfigError("plot_parts needs plot_status=True, got plot_status=False.")
        if self.val_size == 0:
            self._check_without_validation()
        self._check_lambda_schedule()
        self._check_jumpstart()

    def _check_without_validation(self) -> None:
        """Refuse what would let the test part decide on weights, rate or end, and what names a validation part."""
        if self.val_dataset is not None:
            raise ConfigError(
                f"val_size=0 is for data without a validation part, got val_dataset={self.val_dataset!r}. Leave one "
                "of the two out."
            )
        if self.plot_parts is not None and Part.VAL in self.plot_parts.lower():
            raise ConfigError(
                f"plot_parts must not name val with val_size=0, got {self.plot_parts!r}: name test, which is the same."
            )
        deciding = {
            "best_by": self.best_by != BestBy.TRAIN,
            "early_stopping": self.early_stopping,
            "patience": self.patience is not None,
            "scheduler": self.scheduler == Scheduler.PLATEAU,
        }
        name = next((name for name, decides in deciding.items() if decides), None)
        if name is not None:
            raise ConfigError(
                f"val_size=0 leaves no validation part for {name}={getattr(self, name)!r}: the test part must decide "
                "nothing. Use best_by='train' without early_stopping, patience and plateau, or a val_size > 0."
            )

    def _check_lambda_schedule(self) -> None:
        if self.lambda_schedule != LambdaSchedule.CONSTANT and self.lambda_min > self.lambda_:
            raise ConfigError(f"lambda_min must be <= lambda_ = {self.lambda_}, got {self.lambda_min}.")
        self._check_length("lambda_cosine_epochs", self.lambda_cosine_epochs)
        restarts = self.lambda_schedule == LambdaSchedule.COSINE_RESTARTS
        if restarts and self.scheduler == Scheduler.CYCLIC:
            raise ConfigError(
                "lambda_schedule='cosine_restarts' has the cycles of the learning rate, and scheduler='cyclic' has "
                "others: use scheduler='cosine_restarts', or another lambda_schedule."
            )
        if restarts and self.is_endless and self.cycle_epochs is None:
            raise ConfigError(
                "lambda_schedule='cosine_restarts' depends on the number of epochs, got epochs=-1. Set cycle_epochs."
            )
        falls_once = self.lambda_schedule == LambdaSchedule.COSINE and self.lambda_cosine_epochs is None
        if self.is_endless and (falls_once or self.lambda_schedule == LambdaSchedule.LINEAR):
            raise ConfigError(
                f"lambda_schedule={self.lambda_schedule!r} depends on the number of epochs, got epochs=-1. Use "
                "lambda_schedule='constant', or 'cosine' with lambda_cosine_epochs."
            )

    def _check_jumpstart(self) -> None:
        if not self.use_loss and self.lambda_ == 0:
            raise ConfigError("use_loss=False trains on the Jumpstart loss alone: lambda_ must be > 0, got 0.0.")
        if self.positive_weight == 0 and self.negative_weight == 0:
            raise ConfigError("positive_weight or negative_weight must be > 0, got 0.0 for both.")
        if self.unit_dim == 0:
            raise ConfigError("unit_dim must not be 0, the dimension of the points; 1 and -1 are usual.")

    @property
    def depth(self) -> int:
        """Number of layers, from which ``negative_margin=auto`` follows; an option of a subclass that has a depth."""
        return 1

    @property
    def margins(self) -> Margins:
        """The margins of the positive and of the negative side.

        Example:
            >>> from model.config.rectangular import RectangularConfig
            >>> for negative in (None, 0.3, "auto"):
            ...     print(RectangularConfig(depth=5, margin=2.0, negative_margin=negative).margins)
            (2.0, 2.0)
            (2.0, 0.3)
            (2.0, 0.2)
        """
        negative = self.negative_margin
        if negative == AUTO_MARGIN:
            negative = max(_LEAST_AUTO_MARGIN, 1 / self.depth)
        return check_margins(self.margin, None if negative is None else float(negative))

    @property
    def parts_plotted(self) -> tuple[Part | None, ...]:
        """The parts of the data whose status is plotted; None for the default, the validation part without a name."""
        return (None,) if self.plot_parts is None else tuple(map(Part, self.plot_parts.split(",")))

    @property
    def trainer_options(self) -> TrainerOptions:
        """Further arguments of the Lightning trainer; a subclass that has options for the trainer adds them."""
        epochs = TRIAL_EPOCHS if self.is_endless else min(self.epochs, TRIAL_EPOCHS)
        return {"max_epochs": epochs, **_TRIAL} if self.fast_dev_run else {}

    @property
    def dataset_name(self) -> str:
        """The name of the data set; of a path, the name of its file or folder."""
        return PurePath(self.dataset).name

    @property
    def label(self) -> str:
        """Data set, lambda and seed, for the name of a run directory."""
        return f"{self.dataset_name}-lambda{self.lambda_:g}-seed{self.seed}"

    @property
    def network(self) -> str:
        """The network in words, for the report; a subclass that knows more says more."""
        return "one network"

    @property
    def has_skips(self) -> bool:
        """Whether the network has skip connections, which carry gradients past dead layers."""
        return False

    def normalized_positions(self, input_shape: Sequence[int]) -> int | None:
        """Positions of one sample over which the last batch normalization averages; None without normalization.

        Args:
            input_shape: Shape of one sample.
        """
        return None
