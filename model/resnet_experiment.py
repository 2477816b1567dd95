"""One run of a ResNet: from a config to a Lightning module."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from model.config.experiment import ConfigError
from model.config.resnet import ResnetConfig
from model.experiment import Experiment
from model.resnet import Block, ResNet
from model.resnet_conv import resnet_conv
from model.resnet_dense import resnet_dense
from model.resnet_init import Init

SMALL = 64
"""Up to this many pixels a side, ``stem="auto"`` is the small one."""


class ResnetExperiment(Experiment):
    """A :class:`ResNet` and how it is trained.

    Args:
        config: The run, or its plain dictionary (as in a checkpoint).
        input_shape: Shape of one sample: (channels, height, width), or (features,) with ``layer="dense"``.
        num_classes: Classes.

    Raises:
        ConfigError: If the network can't read such samples.

    Example:
        >>> config = ResnetConfig(depth=18, width_multiplier=0.5, dataset="digits")
        >>> experiment = ResnetExperiment(config, input_shape=(1, 8, 8), num_classes=10)
        >>> experiment(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """

    config: ResnetConfig

    def __init__(self, config: ResnetConfig | Mapping[str, Any], input_shape: Sequence[int], num_classes: int) -> None:
        if not isinstance(config, ResnetConfig):
            config = ResnetConfig.from_dict(config)
        super().__init__(config, make_network(config, input_shape, num_classes))
        self._sharded = False
        self.fused = config.precision != "16-mixed" and config.strategy != "fsdp"
        if config.channels_last:
            self.network.to(memory_format=torch.channels_last)
        self._rehearse(torch.zeros(1, *input_shape))
        if config.use_compile:
            # In place, after Jumpstart was attached: the names of the weights stay, and the hooks are compiled too.
            self.network.compile()
        self.save_hyperparameters(
            {"config": config.to_dict(), "input_shape": list(input_shape), "num_classes": num_classes}, logger=False
        )

    def configure_model(self) -> None:
        """With ``strategy="fsdp"``, give each process its part of the weights, once; without a trainer, all of them."""
        if self.device_mesh is None or self._sharded:
            return
        from torch.distributed.fsdp import fully_shard

        mesh = self.device_mesh["data_parallel"]
        for block in [module for module in self.network.modules() if isinstance(module, Block)]:
            fully_shard(block, mesh=mesh)
        fully_shard(self.network, mesh=mesh)
        self._sharded = True

    def setup(self, stage: str) -> None:
        """Numbers as the config asks for them."""
        torch.set_float32_matmul_precision(self.config.float32_matmul_precision)

    def forward(self, x: Tensor) -> Tensor:
        """(N, classes) logits."""
        if self.config.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        return super().forward(x)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Scale the gradient down to ``gradient_clip`` if its norm, over all processes, is larger."""
        if self._sharded and self.config.gradient_clip:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.gradient_clip)
        else:
            super().configure_gradient_clipping(optimizer)

    def task_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy; in training, with smoothed labels."""
        return F.cross_entropy(logits, labels, label_smoothing=self.config.label_smoothing if self.training else 0.0)

    def jumpstart_term(self, loss: Tensor, jumpstart_loss: Tensor) -> Tensor:
        """The Jumpstart loss as it enters the sum: lambda times it, at most ``lambda_clip`` of the task loss.

        A term that is too large is scaled down, so that its gradient is, too; the scale itself has no gradient, and
        nothing waits for the device.
        """
        term = super().jumpstart_term(loss, jumpstart_loss)
        if self.config.lambda_clip is None:
            return term
        task = loss.detach()
        if self.config.sync and self._trainer is not None:
            task = self.trainer.strategy.reduce(task, reduce_op="mean")
        size = term.detach().clamp(min=torch.finfo(term.dtype).tiny)
        return term * (self.config.lambda_clip * task / size).clamp(max=1.0)


def check_batches(config: ResnetConfig, rows: int, input_shape: Sequence[int]) -> None:
    """Refuse batches of a single row where batch normalization would have a single value to normalize.

    Args:
        config: The run.
        rows: In the training part.
        input_shape: Shape of one sample.

    Raises:
        ConfigError: If there is such a batch: the last one counts too.
    """
    size = min(config.batch_size or rows, rows)
    halved = 3 if stem_of(config, input_shape) == "small" else 5
    pixels = math.prod(math.ceil(side / 2**halved) for side in input_shape[1:]) if config.layer == "conv" else 1
    if config.use_batchnorm and pixels == 1 and (size == 1 or rows % size == 1):
        raise ConfigError(
            f"batch_size must leave no batch of a single row to batch normalization, got {size} for {rows} rows. "
            "Choose another, or use_batchnorm=False."
        )


def stem_of(config: ResnetConfig, input_shape: Sequence[int]) -> str:
    """The stem that a run's samples get.

    Raises:
        ConfigError: If convolutions are to read vectors.
    """
    if config.layer == "dense":
        return "standard"
    if len(input_shape) != 3:
        raise ConfigError(f'layer="conv" needs images, got samples of shape {tuple(input_shape)}. Use layer="dense".')
    if config.stem != "auto":
        return config.stem
    return "small" if max(input_shape[1:]) <= SMALL else "standard"


def make_network(config: ResnetConfig, input_shape: Sequence[int], num_classes: int) -> ResNet:
    """The network of a run.

    Args:
        config: The run.
        input_shape: Shape of one sample.
        num_classes: Classes.

    Raises:
        ConfigError: If convolutions are to read vectors.
    """
    conv = config.layer == "conv"
    stem = stem_of(config, input_shape)
    return (resnet_conv if conv else resnet_dense)(
        config.depth,
        num_classes,
        input_shape[0] if conv else math.prod(input_shape),
        use_batchnorm=config.use_batchnorm,
        use_skip_connections=config.use_skip_connections,
        width_multiplier=config.width_multiplier,
        activation=config.activation,
        dropout=config.dropout,
        stem=stem,
        init=cast(Init, config.init),
    )
