"""The error that ends a run whose loss is not finite."""

from __future__ import annotations

from model.config.experiment import ExperimentConfig
from model.errors import NonFiniteLossError


def divergence(config: ExperimentConfig, epoch: int, layer: str) -> NonFiniteLossError:
    """The error, which names the epoch, the layer and the remedies.

    Args:
        config: The run.
        epoch: The epoch, from 0.
        layer: The first layer with a value that is not finite, in words.

    Example:
        >>> from model.config.rectangular import RectangularConfig
        >>> print(divergence(RectangularConfig(gradient_clip=None), 3, "layers.0.activation"))
        the loss of epoch 3 is not finite; the first layer that is not finite is layers.0.activation. Try a lower lr or gradient_clip=1.0 or warmup_epochs; the last good checkpoint is kept.
    """  # noqa: E501
    remedies = ["a lower lr"]
    remedies += ["gradient_clip=1.0"] * (not 0 < (config.gradient_clip or 0) <= 1)
    remedies += ["warmup_epochs"] * (not config.warmup_epochs)
    kept = "; the last good checkpoint is kept" if epoch else ""
    return NonFiniteLossError(
        f"the loss of epoch {epoch} is not finite; the first layer that is not finite is {layer}. Try "
        f"{' or '.join(remedies)}{kept}."
    )
