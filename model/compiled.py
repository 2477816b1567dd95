"""Rectangular networks for the compiled engine: which runs it covers, and how a run becomes a member."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from jumpstart.choices import Aggregate, Capture, Terms, Ties
from jumpstart.engine.build import Build
from jumpstart.engine.layout import ACTIVATIONS
from jumpstart.engine.member import Member
from jumpstart.engine.options import Data, LossOptions, NetworkOptions, TrainingOptions
from model.activations import canonical_activation
from model.choices import Layer, Optimizer, Scheduler
from model.config.rectangular import RectangularConfig
from model.optimization import lambda_at, lr_at
from model.rectangular import RectangularNetwork

FIRST_EPOCHS = 1000
"""Epochs of an endless run for which its member has a learning rate at first."""


def not_covered(config: RectangularConfig) -> str | None:
    """The first option of a run that the compiled engine does not cover, with its value; None if it covers the run.

    Args:
        config: The run.

    Example:
        >>> not_covered(RectangularConfig()) is None, not_covered(RectangularConfig(dropout=0.1))
        (True, 'dropout=0.1')
    """
    uncovered = {
        "layer": config.layer == Layer.CONV,
        "dropout": config.dropout > 0,
        "activation": canonical_activation(config.activation) not in ACTIVATIONS,
        "optimizer": config.optimizer == Optimizer.MUON,
        "unit_dim": config.unit_dim is not None,
        "sync": config.sync,
        "scheduler": config.scheduler == Scheduler.PLATEAU,
        "fast_dev_run": config.fast_dev_run,
    }
    return next((f"{name}={getattr(config, name)!r}" for name, is_uncovered in uncovered.items() if is_uncovered), None)


def make_member(
    config: RectangularConfig, build: Build, network: RectangularNetwork, parts: Sequence[tuple[Tensor, Tensor]]
) -> Member:
    """The member of a run, with the present weights of a network.

    Args:
        config: The run.
        build: The compiled functions.
        network: The network of the run.
        parts: Inputs (rows, features) and classes (rows,) of the training and of the validation part.

    Raises:
        ValueError: If the data do not fit the network.
    """
    (x, y), (val_x, val_y) = parts
    lr, lambda_ = schedules(config, FIRST_EPOCHS if config.is_endless else config.epochs)
    return Member(
        build,
        NetworkOptions(
            features=x.shape[1],
            classes=network.output.out_features,
            depth=config.depth,
            width=config.width,
            activation=canonical_activation(config.activation),
            batchnorm=config.use_batchnorm,
            skip_connections=config.skip_connections,
            skip_kind=config.skip_kind,
        ),
        LossOptions(
            capture=Capture(config.capture),
            skip_last=config.skip_last,
            terms=Terms.parse(config.terms),
            aggregate=Aggregate(config.aggregate),
            ties=Ties(config.ties),
            margin=config.margins,
            weights=(config.positive_weight, config.negative_weight),
            use_task_loss=config.use_loss,
        ),
        TrainingOptions(
            lr=lr,
            lambda_=lambda_,
            batch=config.batch_size,
            seed=config.seed,
            optimizer=config.optimizer,
            betas=(config.adam_betas[0], config.adam_betas[1]),
            epsilon=config.adam_eps,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            clip_norm=config.gradient_clip,
            clip_value=config.gradient_clip_value,
            best_by=config.best_by,
            stop_at_perfect=config.early_stopping,
            stop_train_acc=config.stop_train_acc,
            stop_train_loss=config.stop_train_loss,
            monitor=None if config.patience is None else config.monitor,
            patience=config.patience or 0,
            min_delta=config.min_delta,
        ),
        Data(x, y, val_x, val_y),
        parameters_to_vector(network.parameters()),
    )


def schedules(config: RectangularConfig, epochs: int) -> tuple[Tensor, Tensor]:
    """The learning rate and lambda of each epoch: twice (epochs,), float64.

    Args:
        config: The run.
        epochs: Number of epochs.
    """
    lr = [lr_at(config, epoch) for epoch in range(epochs)]
    lambda_ = [lambda_at(config, epoch) for epoch in range(epochs)]
    return torch.tensor(lr, dtype=torch.float64), torch.tensor(lambda_, dtype=torch.float64)


def load_weights(member: Member, network: RectangularNetwork, *, best: bool = False) -> None:
    """Copy the weights of a member into its network, with the statistics of batch normalization.

    Args:
        member: The member.
        network: The network.
        best: Whether the weights of the best epoch are copied, instead of the present ones.
    """
    vector_to_parameters((member.best_weights if best else member.weights).clone(), network.parameters())
    running = member.best_running if best else member.running
    if running is None:
        return
    steps = member.best_batches if best else member.steps
    for norm, (mean, variance) in zip(_norms(network), running, strict=True):
        buffers = dict(norm.named_buffers())
        buffers["running_mean"].copy_(mean)
        buffers["running_var"].copy_(variance)
        buffers["num_batches_tracked"].fill_(steps)


def captured_layers(config: RectangularConfig) -> list[str]:
    """The names of the layers that Jumpstart reads, and those of the two losses, in the order of ``diverged_layer``.

    Args:
        config: The run.

    Example:
        >>> captured_layers(RectangularConfig(depth=2, capture="weights", skip_last=False))
        ['layers.0.linear', 'layers.1.linear', 'output', 'the output', 'the Jumpstart loss']
    """
    module = "linear" if config.capture == Capture.WEIGHTS else "activation"
    names = [f"layers.{index}.{module}" for index in range(config.depth)]
    if config.capture == Capture.WEIGHTS and not config.skip_last:
        names.append("output")
    return [*names, "the output", "the Jumpstart loss"]


def order_of_epoch(build: Build, seed: int, epoch: int, rows: int) -> Tensor:
    """The order of the rows in an epoch, that of :class:`data.batches.TensorBatches`: (rows,), int64.

    Args:
        build: The compiled functions.
        seed: Seed of the run.
        epoch: The epoch, from 0.
        rows: Number of rows.
    """
    order = torch.zeros(rows, dtype=torch.int32)
    build.functions.order(seed, epoch, rows, order.data_ptr())
    return order.long()


def _norms(network: RectangularNetwork) -> Iterator[nn.BatchNorm1d]:
    return (module for module in network.modules() if isinstance(module, nn.BatchNorm1d))
