"""The best epoch of a run: the one whose weights are kept, and that every report names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


def rank(accuracy: float, loss: float) -> tuple[float, float]:
    """The key by which epochs are compared: the higher accuracy, and of equal accuracies the lower loss, is better.

    Args:
        accuracy: Accuracy in the validation part; NaN is worse than any number.
        loss: Loss in the same part; NaN is worse than any number.

    Example:
        >>> rank(0.9, 0.5) > rank(0.9, 0.6) > rank(0.9, float("nan")) > rank(0.8, 0.1)
        True
    """
    return -math.inf if math.isnan(accuracy) else accuracy, -math.inf if math.isnan(loss) else -loss


def rank_row(row: Mapping[str, float], part: str = "val") -> tuple[float, float]:
    """The :func:`rank` of the metrics of an epoch in a part, or in the training part if that is all.

    Args:
        row: Metrics by name, such as ``val/acc``.
        part: The part that decides: ``"val"`` or ``"train"``.
    """
    part = part if f"{part}/acc" in row else "train"
    return rank(row[f"{part}/acc"], row[f"{part}/loss"])


def best_epoch(accuracies: Sequence[float], losses: Sequence[float]) -> int:
    """The index of the best epoch; of equals in accuracy and loss, the earliest.

    Args:
        accuracies: One per epoch, at least one.
        losses: One per epoch.

    Example:
        >>> best_epoch([0.5, 0.9, 0.9, 0.9], [0.1, 0.4, 0.3, 0.3])
        2
    """
    ranks = [rank(accuracy, loss) for accuracy, loss in zip(accuracies, losses, strict=True)]
    return max(range(len(ranks)), key=ranks.__getitem__)
