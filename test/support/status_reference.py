"""The slow reference of the network status, from all preactivations of an epoch."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn


def mixed(seed: int) -> nn.Module:
    """A network with layers of unequal width, and units and points of every status."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(3, 6),
        nn.ReLU(),
        nn.Linear(6, 4),
        nn.ReLU(),
        nn.Linear(4, 6),
        nn.ReLU(),
        nn.Linear(6, 2),
        nn.ReLU(),
    ).double()
    with torch.no_grad():
        model[0].bias += torch.tensor([-9.0, 9.0, 0.0, 0.0, 0.0, 0.0])
        model[2].bias += torch.tensor([1.0, 0.5, 0.0, -0.5])
        model[4].bias += torch.tensor([0.3, 0.3, 0.3, 0.3, 0.3, -9.0])
    return model


def reference(
    batches: list[list[np.ndarray]], margin: float = 1.0, negative_margin: float | None = None
) -> dict[str, float]:
    """The metrics of an epoch.

    Args:
        batches: ``batches[b][l]`` has the preactivations (N, C, *space) of layer l in batch b.
        margin: Of the positive penalties.
        negative_margin: Of the negative penalties; None for that of ``margin``.
    """
    opposite = margin if negative_margin is None else negative_margin
    layers = [np.concatenate([batch[layer] for batch in batches]) for layer in range(len(batches[0]))]
    units = []
    points = []
    for z in layers:
        by_unit = np.moveaxis(z, 1, 0).reshape(z.shape[1], -1)
        units += [(row.max(), row.min()) for row in by_unit]
        by_point = z.reshape(len(z), -1)
        points.append([(row.max(), row.min()) for row in by_point])

    def status(pair: tuple[float, float]) -> int:
        return 0 if pair[0] <= 0 else 1 if pair[1] > 0 else 2

    def loss(pairs: list[tuple[float, float]]) -> tuple[float, float]:
        return (
            float(np.mean([max(margin - high, 0) for high, _ in pairs])),
            float(np.mean([max(opposite + low, 0) for _, low in pairs])),
        )

    unit = np.array([status(pair) for pair in units])
    point = np.array([[status(pair) for pair in layer] for layer in points])  # (L, N)
    efficient = np.array(
        [[(point[layer:, n] != 0).all() for n in range(point.shape[1])] for layer in range(len(point))]
    )
    unit_loss, point_loss = loss(units), loss([pair for layer in points for pair in layer])
    return {
        "unit_dead_ratio": (unit == 0).mean(),
        "unit_linear_ratio": (unit == 1).mean(),
        "unit_nonlinear_ratio": (unit == 2).mean(),
        "point_dead_ratio": (point == 0).any(0).mean(),
        "point_linear_ratio": (point == 1).all(0).mean(),
        "point_nonlinear_ratio": (point == 2).all(0).mean(),
        "deadness": (point == 0).mean(),
        "linearity": (point == 1).mean(),
        "nonlinearity": (point == 2).mean(),
        "point_efficiency": efficient.mean(),
        "unit_loss": sum(unit_loss),
        "positive_unit_loss": unit_loss[0],
        "negative_unit_loss": unit_loss[1],
        "point_loss": sum(point_loss),
        "positive_point_loss": point_loss[0],
        "negative_point_loss": point_loss[1],
    }
