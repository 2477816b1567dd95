"""The rectangular network of a config. Needs no Lightning."""

from __future__ import annotations

from collections.abc import Sequence

from model.choices import Layer
from model.config.rectangular import RectangularConfig
from model.rectangular import RectangularNetwork


def make_network(config: RectangularConfig, input_shape: Sequence[int], num_classes: int) -> RectangularNetwork:
    """The network of a run.

    Args:
        config: The run.
        input_shape: Shape of one sample.
        num_classes: Number of classes.

    Raises:
        ValueError: If the network can't be built for such samples.
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
        skip_kind=config.skip_kind,
        init=config.init,
        init_value=config.init_value,
        init_noise=config.init_noise,
        layer=Layer.CONV if config.layer == Layer.CONV else Layer.DENSE,
        kernel_size=config.kernel_size,
        pool_at=config.pool_at,
        head=config.head,
    )
