"""Whether the batches of a run fit its network."""

from __future__ import annotations

from collections.abc import Sequence

from model.config.experiment import ExperimentConfig
from model.errors import ConfigError


def check_batches(config: ExperimentConfig, rows: int, input_shape: Sequence[int]) -> None:
    """Refuse a batch of a single row in which batch normalization would have one value per unit to normalize.

    Args:
        config: The run.
        rows: Rows of the training part.
        input_shape: Shape of one sample.

    Raises:
        ConfigError: If there is such a batch: the last batch counts too.
    """
    size = min(config.batch_size or rows, rows)
    if config.normalized_positions(input_shape) == 1 and (size == 1 or rows % size == 1):
        raise ConfigError(
            f"batch_size must leave no batch of a single row to batch normalization, got {size} for {rows} rows. "
            "Choose another batch_size, or use_batchnorm=False."
        )
