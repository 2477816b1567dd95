"""Options of ``run_rectangular_sweep.py``."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from jumpstart.words import counted
from model.choices import EngineChoice, Head, Layer, RectangularInit, SkipKind
from model.config.checks import ACTIVATIONS, check_activation
from model.config.experiment import ExperimentConfig
from model.config.optimization import check_increasing
from model.config.options import option, redefine
from model.errors import ConfigError

_network = functools.partial(option, group="network")
_run = functools.partial(option, group="run")


MOST_LAYERS = 100_000


@dataclass(frozen=True, kw_only=True)
class RectangularConfig(ExperimentConfig):
    """One run of a rectangular network: every hidden layer has the same width.

    Example:
        >>> RectangularConfig(dataset="iris", depth=20).label
        'iris-20x4-lambda0.01-seed42'
    """

    launcher: ClassVar[str] = "run_rectangular_sweep.py"

    depth: int = _network(50, "Number of hidden layers.", minimum=1)
    width: int = _network(4, "Units (channels, if layers are convolutions) of each hidden layer.", minimum=1)
    activation: str = _network("relu", "Activation.", words=ACTIVATIONS, check=check_activation)
    use_batchnorm: bool = _network(False, "Whether batch normalization precedes each activation.")
    dropout: float = _network(0.0, "Share of the units dropped after each activation.", minimum=0, below=1)
    skip_connections: int | None = _network(
        None, "Layers that each skip connection spans; None: no skip connections.", minimum=1
    )
    skip_kind: str = _network(
        "preactivation",
        "Where a skip connection is added: before the activation, or, as in the published code, after it.",
        choices=SkipKind,
    )
    init: str = _network(
        "torch",
        "Initial weights: torch's own, He's (kaiming), Xavier's (glorot), 0 (zero), init_value (constant), or the "
        "identity plus noise (identity; Xavier's in the first hidden layer and the output layer).",
        choices=RectangularInit,
    )
    init_noise: float = _network(
        0.01, "Standard deviation of the noise that init=identity adds to each weight.", minimum=0
    )
    init_value: float = _network(0.01, "Value of every weight with init=constant.")
    layer: str = _network(
        "auto", "Kind of layer: dense (fully connected) or, for images, conv; auto: dense.", choices=("auto", *Layer)
    )
    kernel_size: int = _network(3, "Height and width of the convolution kernels.", minimum=1)
    pool_at: tuple[int, ...] = _network(
        (), "Convolution layers, counted from 1, that are followed by 2x2 max pooling, such as 2,4.", minimum=1
    )
    head: str = _network(
        "flatten",
        "Input of the output layer after convolutions: all pixels, or the mean of each channel.",
        choices=Head,
    )

    engine: str = _run(
        "auto",
        "What trains the network; auto: the compiled engine where this engine covers the run, else Lightning.",
        choices=EngineChoice,
    )

    lr: float = redefine(ExperimentConfig, "lr", 0.01)
    batch_size: int | None = redefine(ExperimentConfig, "batch_size", 256)
    epochs: int = redefine(ExperimentConfig, "epochs", 4000)
    scheduler: str = redefine(ExperimentConfig, "scheduler", "cosine")
    gradient_clip: float | None = redefine(ExperimentConfig, "gradient_clip", 1.0)
    lambda_: float = redefine(ExperimentConfig, "lambda_", 0.01)
    # Operations on thin layers are too small to be divided between threads.
    threads: int | None = redefine(ExperimentConfig, "threads", 1)
    dataset: str = redefine(ExperimentConfig, "dataset", "moons")
    val_size: float | None = redefine(ExperimentConfig, "val_size", 0.15)

    def check_together(self) -> None:
        """Raise :class:`ConfigError` if options contradict each other."""
        super().check_together()
        if self.depth > MOST_LAYERS:
            raise ConfigError(f"depth must be <= {MOST_LAYERS}, got {self.depth}: no machine holds such a network.")
        if self.skip_connections is not None and self.skip_connections >= self.depth:
            raise ConfigError(
                f"skip_connections must be < depth = {self.depth}, because none bypasses the first layer, got "
                f"{self.skip_connections}."
            )
        if self.skip_kind == SkipKind.PUBLISHED and self.skip_connections is None:
            raise ConfigError("skip_kind='published' needs skip_connections, got skip_connections=None.")
        check_increasing("pool_at", self.pool_at)
        if self.pool_at and self.pool_at[-1] > self.depth:
            raise ConfigError(f"pool_at must stay <= depth = {self.depth}, got {self.pool_at[-1]}.")
        if self.pool_at and self.layer != Layer.CONV:
            raise ConfigError(f"pool_at needs layer='conv', got layer={self.layer!r}.")

    @property
    def label(self) -> str:
        """Data set, depth, width, lambda and seed, for the name of a run directory."""
        return f"{self.dataset_name}-{self.depth}x{self.width}-lambda{self.lambda_:g}-seed{self.seed}"

    @property
    def network(self) -> str:
        """The network in words, for the report."""
        layers = f"{self.depth} layers of {self.width} units"
        if self.skip_connections is None:
            return layers
        where = "before" if self.skip_kind == SkipKind.PREACTIVATION else "after"
        return f"{layers}, skip connections over {counted(self.skip_connections, 'layer')} added {where} the activation"

    @property
    def has_skips(self) -> bool:
        """Whether the network has skip connections."""
        return self.skip_connections is not None

    def normalized_positions(self, input_shape: Sequence[int]) -> int | None:
        """Positions of one sample over which the last batch normalization averages; None without normalization.

        Args:
            input_shape: Shape of one sample.

        Example:
            >>> config = RectangularConfig(use_batchnorm=True, layer="conv", pool_at=(1,))
            >>> config.normalized_positions((3, 8, 8))
            16
        """
        if not self.use_batchnorm:
            return None
        if self.layer != Layer.CONV:
            return 1
        return math.prod(side >> len(self.pool_at) for side in input_shape[1:])
