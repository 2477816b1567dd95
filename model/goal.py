"""The goals at which training ends before its last epoch."""

from __future__ import annotations

from collections.abc import Mapping

from model.config.optimization import OptimizationConfig


def has_reached_goal(config: OptimizationConfig, row: Mapping[str, float]) -> bool:
    """Whether training ends after an epoch because it is good enough.

    Args:
        config: Sets ``early_stopping``, ``stop_train_acc`` and ``stop_train_loss``.
        row: The metrics of the epoch; empty before the first.

    Example:
        >>> from model.config.rectangular import RectangularConfig
        >>> config = RectangularConfig(stop_train_acc=1.0, stop_train_loss=0.001)
        >>> [has_reached_goal(config, {"train/acc": 1.0, "train/loss": loss}) for loss in (0.1, 0.001)]
        [False, True]
    """
    if not row:
        return False
    if config.early_stopping and row.get("val/acc") == 1.0:
        return True
    goals = []
    if config.stop_train_acc is not None:
        goals.append(row["train/acc"] >= config.stop_train_acc)
    if config.stop_train_loss is not None:
        goals.append(row["train/loss"] <= config.stop_train_loss)
    return bool(goals) and all(goals)
