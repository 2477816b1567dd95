"""The Lightning module that trains a rectangular network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from model.config.rectangular import RectangularConfig
from model.experiment import Experiment
from model.rectangular_network import make_network


class RectangularExperiment(Experiment):
    """A :class:`RectangularNetwork` and its training.

    Args:
        config: The run, or its plain dictionary (as in a checkpoint).
        input_shape: Shape of one sample: (features,) or (channels, height, width).
        num_classes: Number of classes.

    Raises:
        ConfigError: If a plain dictionary is no valid config.
        ValueError: If the network can't be built for such samples, or can't be captured.

    Example:
        >>> import torch
        >>> experiment = RectangularExperiment(RectangularConfig(depth=3), input_shape=(2,), num_classes=2)
        >>> experiment(torch.zeros(5, 2)).shape
        torch.Size([5, 2])
    """

    config: RectangularConfig

    def __init__(
        self, config: RectangularConfig | Mapping[str, object], input_shape: Sequence[int], num_classes: int
    ) -> None:
        if not isinstance(config, RectangularConfig):
            config = RectangularConfig.from_dict(config)
        super().__init__(config, partial(make_network, config, input_shape, num_classes))
        self._finish(input_shape, num_classes)
