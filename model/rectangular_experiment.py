"""One run of a rectangular network: from a config to a Lightning module."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch

from model.config.experiment import ConfigError
from model.config.rectangular import RectangularConfig
from model.experiment import Experiment
from model.rectangular import Head, Init, RectangularNetwork


class RectangularExperiment(Experiment):
    """A :class:`RectangularNetwork` and how it is trained.

    Args:
        config: The run, or its plain dictionary (as in a checkpoint).
        input_shape: Shape of one sample: (features,) or (channels, height, width).
        num_classes: Classes.

    Example:
        >>> experiment = RectangularExperiment(RectangularConfig(depth=3), input_shape=(2,), num_classes=2)
        >>> experiment(torch.zeros(5, 2)).shape
        torch.Size([5, 2])
    """

    config: RectangularConfig

    def __init__(
        self, config: RectangularConfig | Mapping[str, Any], input_shape: Sequence[int], num_classes: int
    ) -> None:
        if not isinstance(config, RectangularConfig):
            config = RectangularConfig.from_dict(config)
        super().__init__(config, make_network(config, input_shape, num_classes))
        self._rehearse(torch.zeros(1, *input_shape))
        self.save_hyperparameters(
            {"config": config.to_dict(), "input_shape": list(input_shape), "num_classes": num_classes}, logger=False
        )


def check_batches(config: RectangularConfig, rows: int, input_shape: Sequence[int]) -> None:
    """Refuse batches of a single row where batch normalization would have a single value to normalize.

    Args:
        config: The run.
        rows: In the training part.
        input_shape: Shape of one sample.

    Raises:
        ConfigError: If there is such a batch: the last one counts too.
    """
    size = min(config.batch_size or rows, rows)
    pixels = math.prod(side >> len(config.pool_at) for side in input_shape[1:]) if config.layer == "conv" else 1
    if config.use_batchnorm and pixels == 1 and (size == 1 or rows % size == 1):
        raise ConfigError(
            f"batch_size must leave no batch of a single row to batch normalization, got {size} for {rows} rows. "
            "Choose another, or use_batchnorm=False."
        )


def make_network(config: RectangularConfig, input_shape: Sequence[int], num_classes: int) -> RectangularNetwork:
    """The network of a run.

    Args:
        config: The run.
        input_shape: Shape of one sample.
        num_classes: Classes.
    """
    return RectangularNetwork(
        tuple(input_shape),
        num_classes,
        depth=config.depth,
        width=config.width,
        activation=config.activation,
        use_batchnorm=config.use_batchnorm,
        dropout=config.dropout,
        skip_connections=config.skip_connections,
        init=cast(Init, config.init),
        init_value=config.init_value,
        layer="conv" if config.layer == "conv" else "dense",
        kernel_size=config.kernel_size,
        pool_at=config.pool_at,
        head=cast(Head, config.head),
    )
