"""Optimizers, learning rates and lambdas, all as functions of the epoch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from model.config.experiment import ExperimentConfig


def make_optimizer(
    config: ExperimentConfig, parameters: Iterable[nn.Parameter], *, fused: bool = True
) -> torch.optim.Optimizer:
    """The optimizer of a run. Weight decay acts on weights, not on biases and normalization.

    Args:
        config: Gives ``optimizer``, ``lr``, ``momentum`` and ``weight_decay``.
        parameters: What is trained.
        fused: One kernel for all the parameters. Not for gradients that are scaled, which the kernel would scale back
            only after they are clipped, and not for parameters that processes hold in parts.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    groups = [{"params": trained, "weight_decay": 0.0}]
    if config.weight_decay:
        groups = [
            {"params": [p for p in trained if p.dim() > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
        ]
    groups = [group for group in groups if group["params"]]
    # Six times as fast as the default on a CPU for thin networks.
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, fused=fused)
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=config.lr, fused=fused)


def clip_gradient(optimizer: torch.optim.Optimizer, largest: float) -> None:
    """Scale the whole gradient down so that its L2 norm is at most ``largest``.

    What ``torch.nn.utils.clip_grad_norm_`` does, in a third of its time for many small parameters, which it measures
    one by one.

    Args:
        optimizer: All that it trains counts.
        largest: The largest norm, above 0.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
    small = [grad.reshape(-1) for grad in grads if grad.numel() <= 4096]
    norms = [torch.cat(small).norm()] if small else []
    norms += [grad.norm() for grad in grads if grad.numel() > 4096]
    norm = torch.linalg.vector_norm(torch.stack(norms))
    torch._foreach_mul_(grads, (largest / (norm + 1e-6)).clamp(max=1.0))


def lr_factor(config: ExperimentConfig, epoch: int) -> float:
    """The learning rate of an epoch (counted from 0) as a share of ``lr``.

    Warm-up rises linearly over ``warmup_epochs``; the schedule then runs over the epochs that are left. ``plateau``
    has no formula: its share here is that of the warm-up alone.

    Example:
        >>> from model.config.rectangular import RectangularConfig
        >>> config = RectangularConfig(scheduler="cosine", epochs=100, warmup_epochs=0)
        >>> [round(lr_factor(config, epoch), 3) for epoch in (0, 50, 99)]
        [1.0, 0.5, 0.0]
    """
    if epoch < config.warmup_epochs:
        return (epoch + 1) / (config.warmup_epochs + 1)
    done, length = epoch - config.warmup_epochs, max(1, config.epochs - config.warmup_epochs)
    least = config.min_lr / config.lr
    if config.scheduler == "multistep":
        return max(config.gamma ** sum(epoch >= milestone for milestone in config.milestones), least)
    if config.scheduler == "cosine":
        return _cosine(min(1.0, done / length), least)
    if config.scheduler == "cosine_restarts":
        return _cosine(done % config.cycle_length / config.cycle_length, least)
    if config.scheduler == "cyclic":
        # A triangle: up for half a cycle, down for the other half.
        phase = (done % config.cycle_length + 1) / (config.cycle_length + 1)
        return least + (1 - least) * (1 - abs(2 * phase - 1))
    return 1.0


def lambda_at(config: ExperimentConfig, epoch: int) -> float:
    """The weight of the Jumpstart loss in an epoch (counted from 0): from ``lambda_`` down to ``lambda_min``.

    Example:
        >>> from model.config.rectangular import RectangularConfig
        >>> config = RectangularConfig(lambda_=0.02, lambda_schedule="linear", epochs=5)
        >>> [lambda_at(config, epoch) for epoch in (0, 2, 4)]
        [0.02, 0.01, 0.0]
    """
    if config.lambda_schedule == "constant":
        return config.lambda_
    share = min(1.0, epoch / max(1, config.epochs - 1))
    falling = 1 - share if config.lambda_schedule == "linear" else _cosine(share, 0.0)
    return config.lambda_min + (config.lambda_ - config.lambda_min) * falling


class LearningRate:
    """Sets the learning rate of every epoch; its state is part of a checkpoint.

    Args:
        config: Gives the schedule.
        optimizer: What is set.
    """

    def __init__(self, config: ExperimentConfig, optimizer: torch.optim.Optimizer) -> None:
        self.config = config
        self._optimizer = optimizer
        self._plateau: ReduceLROnPlateau | None = None
        if config.scheduler == "plateau":
            self._plateau = ReduceLROnPlateau(
                optimizer, factor=config.gamma, patience=config.patience, min_lr=config.min_lr
            )
        self.begin(0)

    @property
    def value(self) -> float:
        """The learning rate in force."""
        return float(self._optimizer.param_groups[0]["lr"])

    def begin(self, epoch: int) -> None:
        """Set the rate of an epoch (counted from 0), unless it has no formula.

        Also called where training goes on: a run that is given more epochs than it had follows its
        new schedule from the first of them.
        """
        if self._plateau is None or epoch <= self.config.warmup_epochs:
            for group in self._optimizer.param_groups:
                group["lr"] = self.config.lr * lr_factor(self.config, epoch)

    def step(self, epoch: int, val_loss: float) -> None:
        """The epoch (counted from 0) is over: set the rate of the next one."""
        self.begin(epoch + 1)
        if self._plateau is not None and epoch >= self.config.warmup_epochs:
            self._plateau.step(val_loss)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must hold; the rate itself is in the optimizer's state."""
        return self._plateau.state_dict() if self._plateau is not None else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        if self._plateau is not None:
            self._plateau.load_state_dict(state)


def _cosine(share: float, least: float) -> float:
    return least + (1 - least) * 0.5 * (1 + math.cos(math.pi * share))
