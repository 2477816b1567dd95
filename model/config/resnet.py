"""Every option of ``run_resnet_experiment_sweep.py``."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from model.config.experiment import ConfigError, ExperimentConfig, check_activation, option, redefine

_network = functools.partial(option, group="network")
_optimization = functools.partial(option, group="optimization")
_data = functools.partial(option, group="data")
_run = functools.partial(option, group="run")

DEPTHS = (18, 34, 50, 101, 152)
TRIAL = {"max_epochs": 2, "limit_train_batches": 2, "limit_val_batches": 2, "limit_test_batches": 2}
"""What ``fast_dev_run`` leaves of a run."""


@dataclass(frozen=True, kw_only=True)
class ResnetConfig(ExperimentConfig):
    """One run of a ResNet, with its crutches or without.

    Example:
        >>> ResnetConfig(dataset="digits", depth=18, use_batchnorm=True).label
        'digits-resnet18-norm-lambda1e-05-seed42'
    """

    depth: int = _network(50, "ResNet variant.", choices=DEPTHS)
    layer: str = _network("conv", "Kind of layer: convolutions, or fully connected.", choices=("conv", "dense"))
    use_batchnorm: bool = _network(False, "Whether batch normalization precedes each activation.")
    use_skip_connections: bool = _network(False, "Whether each block is bypassed by a skip connection.")
    width_multiplier: float = _network(
        2.0, "Stage i, from 0, has 64 times the i-th power of this as its width; 2: the standard network.", above=0
    )
    activation: str = _network(
        "relu",
        "Activation.",
        words="a torch.nn activation such as relu, gelu or tanh",
        check=check_activation,
    )
    dropout: float = _network(0.0, "Share of the units dropped before the output layer.", minimum=0, below=1)
    stem: str = _network(
        "auto",
        "First layer: 7x7, stride 2 and pooling, or 3x3 alone; auto: small up to 64 pixels.",
        choices=("auto", "standard", "small"),
    )
    init: str = _network(
        "he",
        "How weights begin; looks_linear suits plain networks.",
        choices=("he", "torchvision", "torch", "looks_linear"),
    )

    lr: float = redefine(ExperimentConfig, "lr", 0.1)
    batch_size: int | None = redefine(ExperimentConfig, "batch_size", 128)
    epochs: int = redefine(ExperimentConfig, "epochs", 90)
    optimizer: str = redefine(ExperimentConfig, "optimizer", "sgd")
    weight_decay: float = redefine(ExperimentConfig, "weight_decay", 1e-4)
    scheduler: str = redefine(ExperimentConfig, "scheduler", "cosine")
    gradient_clip: float | None = redefine(ExperimentConfig, "gradient_clip", 1.0)
    label_smoothing: float = _optimization(
        0.0, "Share of the label that all classes get in training.", minimum=0, below=1
    )
    lambda_: float = redefine(ExperimentConfig, "lambda_", 1e-5)
    lambda_clip: float | None = option(
        None,
        "Largest share of the task loss that the Jumpstart term may have in a step; None: any.",
        group="jumpstart",
        above=0,
    )

    dataset: str = redefine(ExperimentConfig, "dataset", "imagenet")
    val_size: float | None = redefine(ExperimentConfig, "val_size", None)
    image_size: int | None = _data(None, "Height and width of the images; None: those of the set.", minimum=4)
    augment: bool = _data(
        True, "Whether training images are changed at random, as is usual for the set; digits never are."
    )
    num_workers: int | None = _data(
        None, "Processes that decode images from folders; None: chosen from the cores.", minimum=0, resumable=True
    )
    corrupt: str = _data("skip", "What becomes of images in folders that can't be decoded.", choices=("skip", "refuse"))
    num_points: int = _data(1000, "Rows of a generated data set.", minimum=10)
    noise: float = _data(0.1, "Noise of a generated data set.", minimum=0)

    precision: str = _run("32", "Number format of the layers.", choices=("32", "bf16-mixed", "16-mixed"))
    channels_last: bool = _run(False, "Whether images are stored with the channels last, faster on newer GPUs.")
    use_compile: bool = _run(False, "Whether torch.compile compiles the network.")
    float32_matmul_precision: str = _run(
        "high", "Precision of products of float32 matrices on a GPU.", choices=("highest", "high", "medium")
    )
    strategy: str = _run(
        "auto",
        "How several GPUs share the work; fsdp: each keeps a part of the weights.",
        choices=("auto", "ddp", "fsdp"),
    )
    num_nodes: int = _run(1, "Machines that train together.", minimum=1, resumable=True)
    fast_dev_run: bool = _run(
        False, "A trial of two epochs of two batches that goes through everything: training, checkpoint, test, plots."
    )

    def check_together(self) -> None:
        """Refuse options that contradict each other."""
        super().check_together()
        if self.lambda_clip is not None and not self.use_loss:
            raise ConfigError(
                f"lambda_clip needs use_loss=True: it is a share of the task loss, got {self.lambda_clip}."
            )
        if self.layer == "dense" and self.stem == "small":
            raise ConfigError('stem="small" needs layer="conv": vectors have no pixels. Use stem="auto".')
        if self.layer == "dense" and self.channels_last:
            raise ConfigError('channels_last=True needs layer="conv": vectors have no channels.')
        if self.strategy == "fsdp" and self.precision == "16-mixed":
            raise ConfigError('precision must be 32 or bf16-mixed with strategy="fsdp", got "16-mixed".')
        if self.num_nodes > 1 and self.gpus == 0:
            raise ConfigError(f"num_nodes > 1 needs GPUs, got num_nodes={self.num_nodes} and gpus=0.")

    @property
    def trainer_options(self) -> dict[str, Any]:
        """What the Lightning trainer is told besides."""
        # Jumpstart alone never reaches the output layer, which DistributedDataParallel would wait for.
        ddp = "ddp" if self.use_loss else "ddp_find_unused_parameters_true"
        precision = "32-true" if self.precision == "32" else self.precision
        strategy = ddp if self.strategy == "ddp" else self.strategy
        trial = TRIAL | {"max_epochs": min(self.epochs, TRIAL["max_epochs"])} if self.fast_dev_run else {}
        return {"precision": precision, "strategy": strategy, "num_nodes": self.num_nodes, **trial}

    @property
    def label(self) -> str:
        """Data set, depth, crutches, lambda and seed, for the name of a run directory."""
        crutches = "-norm" * self.use_batchnorm + "-skip" * self.use_skip_connections
        return f"{self.dataset}-resnet{self.depth}{crutches}-lambda{self.lambda_:g}-seed{self.seed}"
