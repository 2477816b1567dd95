"""Options of ``run_resnet_experiment_sweep.py``."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from jumpstart.words import counted
from model.choices import BOTTLENECK_FROM, DEPTHS, Layer, Optimizer, ResnetInit, Stem
from model.config.checks import ACTIVATIONS, check_activation
from model.config.experiment import ExperimentConfig, TrainerOptions
from model.config.options import option, redefine
from model.errors import ConfigError

SMALL = 64
"""Up to this height and width in pixels, ``stem="auto"`` is the small stem."""

_HALVINGS = {Stem.STANDARD: 5, Stem.SMALL: 3}
"""Number of times that a ResNet of convolutions halves height and width."""

_network = functools.partial(option, group="network")
_optimization = functools.partial(option, group="optimization")
_jumpstart = functools.partial(option, group="jumpstart")
_data = functools.partial(option, group="data")
_run = functools.partial(option, group="run")


@dataclass(frozen=True, kw_only=True)
class ResnetConfig(ExperimentConfig):
    """One run of a ResNet, with or without batch normalization and skip connections.

    Example:
        >>> ResnetConfig(dataset="digits", depth=18, use_batchnorm=True).label
        'digits-resnet18-norm-lambda1e-05-seed42'
    """

    launcher: ClassVar[str] = "run_resnet_experiment_sweep.py"

    depth: int = _network(50, "ResNet variant: number of layers.", choices=DEPTHS)
    layer: str = _network("conv", "Kind of layer: conv or dense (fully connected).", choices=(Layer.CONV, Layer.DENSE))
    use_batchnorm: bool = _network(False, "Whether batch normalization precedes each activation.")
    use_skip_connections: bool = _network(False, "Whether a skip connection bypasses each block.")
    width_multiplier: float = _network(
        2.0,
        "Width of each stage, divided by that of the stage before; the first has 64 units; 2: the standard network.",
        above=0,
    )
    groups: int = _network(
        1, "Groups of the 3x3 convolution of each bottleneck (depth 50 and more); 32: a ResNeXt.", minimum=1
    )
    width_per_group: int = _network(
        64, "Units of each group in a stage of 64 units; 4 with 32 groups: a ResNeXt; 128: a wide ResNet.", minimum=1
    )
    use_bias: bool | None = _network(
        None,
        "Whether layers have biases; None: only if there is no batch normalization. The output layer always has them.",
    )
    activation: str = _network("relu", "Activation.", words=ACTIVATIONS, check=check_activation)
    dropout: float = _network(0.0, "Share of the units dropped before the output layer.", minimum=0, below=1)
    stem: str = _network(
        "auto",
        "First layer: 7x7 with stride 2 and pooling, or 3x3 without; auto: small up to 64 pixels.",
        choices=("auto", *Stem),
    )
    init: str = _network(
        "he", "Initial weights; looks_linear suits networks without skip connections.", choices=ResnetInit
    )

    lr: float = redefine(ExperimentConfig, "lr", 0.1)
    batch_size: int | None = redefine(ExperimentConfig, "batch_size", 128)
    epochs: int = redefine(ExperimentConfig, "epochs", 90)
    optimizer: str = redefine(ExperimentConfig, "optimizer", "sgd")
    weight_decay: float = redefine(ExperimentConfig, "weight_decay", 1e-4)
    scheduler: str = redefine(ExperimentConfig, "scheduler", "cosine")
    gradient_clip: float | None = redefine(ExperimentConfig, "gradient_clip", 1.0)
    label_smoothing: float = _optimization(
        0.0, "Share of each training label that is spread evenly over all classes.", minimum=0, below=1
    )
    lambda_: float = redefine(ExperimentConfig, "lambda_", 1e-5)
    lambda_clip: float | None = _jumpstart(
        None, "Largest ratio of the Jumpstart term to the task loss in a step; None: no limit.", above=0
    )

    dataset: str = redefine(ExperimentConfig, "dataset", "imagenet")
    val_size: float | None = redefine(ExperimentConfig, "val_size", None)
    image_size: int | None = _data(
        None, "Height and width of the images in pixels; None: the default of the data set.", minimum=4
    )
    augment: bool = _data(
        True, "Whether training images are augmented as is usual for the data set; the images of digits never are."
    )
    num_workers: int | None = _data(
        None,
        "Processes that decode images from folders; None: chosen by the number of CPU cores.",
        minimum=0,
        resumable=True,
    )
    corrupt: str = _data(
        "skip",
        "Image files that can't be decoded: use the next one of the class instead (skip), or end the run (refuse).",
        choices=("skip", "refuse"),
    )

    precision: str = _run("32", "Number format of the layers.", choices=("32", "bf16-mixed", "16-mixed"))
    channels_last: bool = _run(
        False, "Whether images are stored with the channels last, which is faster on newer GPUs."
    )
    use_compile: bool = _run(False, "Whether torch.compile compiles the network.")
    float32_matmul_precision: str = _run(
        "high", "Precision of products of float32 matrices on a GPU.", choices=("highest", "high", "medium")
    )
    strategy: str = _run(
        "auto",
        "How several GPUs share the work; with fsdp, each holds a part of the weights.",
        choices=("auto", "ddp", "fsdp"),
    )
    num_nodes: int = _run(1, "Machines that train together.", minimum=1, resumable=True)

    def check_together(self) -> None:
        """Raise :class:`ConfigError` if options contradict each other."""
        super().check_together()
        if self.lambda_clip is not None and not self.use_loss:
            raise ConfigError(
                f"lambda_clip needs use_loss=True: it is a share of the task loss, got {self.lambda_clip}."
            )
        self._check_groups()
        if self.layer == Layer.DENSE and self.stem == Stem.SMALL:
            raise ConfigError("stem='small' needs layer='conv': vectors have no pixels. Use stem='auto'.")
        if self.layer == Layer.DENSE and self.channels_last:
            raise ConfigError("channels_last=True needs layer='conv': vectors have no channels.")
        if self.strategy == "fsdp" and self.precision == "16-mixed":
            raise ConfigError("precision must be 32 or bf16-mixed with strategy='fsdp', got '16-mixed'.")
        if self.strategy == "fsdp" and self.optimizer == Optimizer.MUON:
            raise ConfigError(
                "optimizer must be adam, adamw or sgd with strategy='fsdp', got 'muon', which needs whole matrices. "
                "Use strategy='ddp'."
            )
        if self.strategy == "fsdp" and self.fresh_starts > 1:
            raise ConfigError(
                f"fresh_starts must be 1 with strategy='fsdp', which divides the weights, got {self.fresh_starts}. Use "
                "strategy='ddp'."
            )
        if self.num_nodes > 1 and self.gpus == 0:
            raise ConfigError(f"num_nodes > 1 needs GPUs, got num_nodes={self.num_nodes} and gpus=0.")

    def _check_groups(self) -> None:
        if (self.groups, self.width_per_group) != (1, 64) and self.depth < BOTTLENECK_FROM:
            raise ConfigError(
                f"groups and width_per_group need depth >= {BOTTLENECK_FROM}, which has bottlenecks, got "
                f"depth={self.depth}, groups={self.groups} and width_per_group={self.width_per_group}."
            )
        if self.groups > 1 and self.layer == Layer.DENSE:
            raise ConfigError(f"groups > 1 needs layer='conv', got layer='dense' and groups={self.groups}.")
        if self.groups > 1 and self.init == ResnetInit.LOOKS_LINEAR:
            raise ConfigError(
                f"init='looks_linear' needs groups=1: its pairs of units span all groups, got {self.groups}."
            )

    @property
    def trainer_options(self) -> TrainerOptions:
        """Further arguments of the Lightning trainer."""
        # The gradient of the Jumpstart loss alone never reaches the output layer: DistributedDataParallel would wait
        # for it forever.
        ddp = "ddp" if self.use_loss else "ddp_find_unused_parameters_true"
        precision = "32-true" if self.precision == "32" else self.precision
        strategy = ddp if self.strategy == "ddp" else self.strategy
        arguments: TrainerOptions = {"precision": precision, "strategy": strategy, "num_nodes": self.num_nodes}
        return {**arguments, **super().trainer_options}

    @property
    def label(self) -> str:
        """Data set, depth, variant, lambda and seed, for the name of a run directory."""
        groups = f"-{self.groups}x{self.width_per_group}d" * self._has_other_groups
        variant = groups + "-norm" * self.use_batchnorm + "-skip" * self.use_skip_connections
        return f"{self.dataset_name}-resnet{self.depth}{variant}-lambda{self.lambda_:g}-seed{self.seed}"

    @property
    def network(self) -> str:
        """The network in words, for the report."""
        kind = "dense ResNet" if self.layer == Layer.DENSE else "ResNet"
        parts = [f"{kind}-{self.depth}", f"width x{self.width_multiplier}"]
        if self._has_other_groups:
            parts.append(f"{counted(self.groups, 'group')} of width {self.width_per_group}")
        parts.append(f"{'with' if self.use_skip_connections else 'without'} skip connections")
        parts.append(f"{'with' if self.use_batchnorm else 'without'} batch normalization")
        if self.use_bias is not None:
            parts.append(f"{'with' if self.use_bias else 'without'} biases")
        return ", ".join(parts)

    @property
    def _has_other_groups(self) -> bool:
        """Whether the bottlenecks differ from those of the standard network."""
        return (self.groups, self.width_per_group) != (1, 64)

    @property
    def has_skips(self) -> bool:
        """Whether the network has skip connections."""
        return self.use_skip_connections

    def stem_for(self, input_shape: Sequence[int]) -> Stem:
        """The stem of the network for samples of a shape.

        Args:
            input_shape: Shape of one sample.

        Raises:
            ConfigError: If the layers are convolutions and the samples no images.

        Example:
            >>> ResnetConfig().stem_for((3, 224, 224)).value, ResnetConfig().stem_for((3, 32, 32)).value
            ('standard', 'small')
        """
        if self.layer == Layer.DENSE:
            return Stem.STANDARD
        if len(input_shape) != 3:
            raise ConfigError(
                f"layer='conv' needs images, got samples of shape {tuple(input_shape)}. Use layer='dense'."
            )
        if self.stem != "auto":
            return Stem(self.stem)
        return Stem.SMALL if max(input_shape[1:]) <= SMALL else Stem.STANDARD

    def normalized_positions(self, input_shape: Sequence[int]) -> int | None:
        """Positions of one sample over which the last batch normalization averages; None without normalization.

        Args:
            input_shape: Shape of one sample.

        Raises:
            ConfigError: If the layers are convolutions and the samples no images.

        Example:
            >>> ResnetConfig(use_batchnorm=True).normalized_positions((3, 16, 16))
            4
        """
        halvings = _HALVINGS[self.stem_for(input_shape)]
        if not self.use_batchnorm:
            return None
        if self.layer == Layer.DENSE:
            return 1
        return math.prod(math.ceil(side / (1 << halvings)) for side in input_shape[1:])
