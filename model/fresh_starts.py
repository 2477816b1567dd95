"""Fresh starts: training that begins anew, with other initial weights, after an equal share of the epochs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from model.config.experiment import ExperimentConfig

Network = TypeVar("Network", bound=nn.Module)


def begins_anew(config: ExperimentConfig, epoch: int) -> bool:
    """Whether training begins anew with an epoch; the first start is none.

    Args:
        config: Sets ``epochs`` and ``fresh_starts``.
        epoch: Index of the epoch, from 0.

    Example:
        >>> from model.config.rectangular import RectangularConfig
        >>> config = RectangularConfig(epochs=6, fresh_starts=3)
        >>> [epoch for epoch in range(6) if begins_anew(config, epoch)]
        [2, 4]
    """
    return config.fresh_starts > 1 and epoch > 0 and epoch % config.epochs_per_start == 0


def fresh_network(config: ExperimentConfig, epoch: int, build: Callable[[], Network]) -> Network:
    """A network with the initial weights of the start to which an epoch belongs.

    The weights depend on the seed of the run and on the number of the start alone. Torch's random generators are left
    as they were, those of GPUs too.

    Args:
        config: Sets the seed and the starts.
        epoch: Index of the epoch, from 0.
        build: Builds the network with weights from torch's generator.
    """
    start = epoch // config.epochs_per_start
    (seed,) = np.random.SeedSequence((config.seed, start)).generate_state(1, np.uint64)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(seed >> np.uint64(1)))  # torch.manual_seed seeds the GPUs too
        return build()
