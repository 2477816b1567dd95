"""The Lightning module that trains a ResNet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from model.choices import Layer
from model.config.resnet import ResnetConfig
from model.experiment import Experiment
from model.resnet import Block, ResNet
from model.resnet_conv import resnet_conv
from model.resnet_dense import resnet_dense


class ResnetExperiment(Experiment):
    """A :class:`ResNet` and its training.

    Args:
        config: The run, or its plain dictionary (as in a checkpoint).
        input_shape: Shape of one sample: (channels, height, width), or (features,) with ``layer="dense"``.
        num_classes: Number of classes.

    Raises:
        ConfigError: If a plain dictionary is no valid config, or if the samples don't fit the kind of layer.
        ValueError: If the network can't be captured.

    Example:
        >>> config = ResnetConfig(depth=18, width_multiplier=0.5, dataset="digits")
        >>> experiment = ResnetExperiment(config, input_shape=(1, 8, 8), num_classes=10)
        >>> experiment(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """

    config: ResnetConfig

    def __init__(
        self, config: ResnetConfig | Mapping[str, object], input_shape: Sequence[int], num_classes: int
    ) -> None:
        if not isinstance(config, ResnetConfig):
            config = ResnetConfig.from_dict(config)
        super().__init__(config, partial(make_network, config, input_shape, num_classes))
        self._sharded = False
        self.fused = config.precision != "16-mixed" and config.strategy != "fsdp"
        if config.channels_last:
            self.network.to(memory_format=torch.channels_last)
        self._finish(input_shape, num_classes)
        if config.use_compile:
            # In place, so that the names of the weights stay; after Jumpstart has attached its hooks, so that they are
            # compiled too.
            self.network.compile()

    def configure_model(self) -> None:
        """With ``strategy="fsdp"``, shard the weights over the processes, once; without a trainer, do nothing."""
        if self.device_mesh is None or self._sharded:
            return
        from torch.distributed.fsdp import fully_shard

        mesh = self.device_mesh["data_parallel"]
        for block in [module for module in self.network.modules() if isinstance(module, Block)]:
            fully_shard(block, mesh=mesh)
        fully_shard(self.network, mesh=mesh)
        self._sharded = True

    def setup(self, stage: str) -> None:
        """Set the precision of matrix products."""
        torch.set_float32_matmul_precision(self.config.float32_matmul_precision)

    def forward(self, x: Tensor) -> Tensor:
        """(N, classes) logits."""
        if self.config.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        return super().forward(x)

    def clip_norm(self, optimizer: torch.optim.Optimizer, largest: float) -> None:
        """Scale the gradient down to the norm ``largest``, over all processes, if its norm is larger."""
        if self._sharded:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), largest)
        else:
            super().clip_norm(optimizer, largest)

    def task_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy; in training, with smoothed labels."""
        return F.cross_entropy(logits, labels, label_smoothing=self.config.label_smoothing if self.training else 0.0)

    def jumpstart_term(self, loss: Tensor, jumpstart_loss: Tensor) -> Tensor:
        """The term that is added to the task loss: lambda times the Jumpstart loss, limited by ``lambda_clip``.

        A larger term is scaled down together with its gradient. The scale is a constant to autograd, and is computed on
        the device.
        """
        term = super().jumpstart_term(loss, jumpstart_loss)
        if self.config.lambda_clip is None:
            return term
        task = loss.detach()
        if self.config.sync and self._trainer is not None:
            task = self.trainer.strategy.reduce(task, reduce_op="mean")
        size = term.detach().clamp(min=torch.finfo(term.dtype).tiny)
        return term * (self.config.lambda_clip * task / size).clamp(max=1.0)


def make_network(config: ResnetConfig, input_shape: Sequence[int], num_classes: int) -> ResNet:
    """The network of a run.

    Args:
        config: The run.
        input_shape: Shape of one sample.
        num_classes: Number of classes.

    Raises:
        ConfigError: If the layers are convolutions and the samples no images.
    """
    stem = config.stem_for(input_shape)
    conv = config.layer == Layer.CONV
    make, inputs = (resnet_conv, input_shape[0]) if conv else (resnet_dense, math.prod(input_shape))
    return make(
        config.depth,
        num_classes,
        inputs,
        use_batchnorm=config.use_batchnorm,
        use_skip_connections=config.use_skip_connections,
        width_multiplier=config.width_multiplier,
        groups=config.groups,
        width_per_group=config.width_per_group,
        use_bias=config.use_bias,
        activation=config.activation,
        dropout=config.dropout,
        stem=stem,
        init=config.init,
    )
