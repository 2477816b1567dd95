"""Counts of dead, linear and non-linear points of one batch, and the sums of their penalties."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from jumpstart.choices import Margins
from jumpstart.status.codes import dead_and_linear, status_of

COUNTS = (
    "points",
    "pairs",
    "dead_pairs",
    "linear_pairs",
    "efficient_pairs",
    "points_dead",
    "points_linear",
    "points_nonlinear",
    "positive_loss",
    "negative_loss",
)
"""The counts of :func:`count_points`, in order. A pair is a point in a layer."""


def count_points(reach: Tensor, margins: Margins) -> Tensor:
    r"""Count the points of one batch by their status, and add up their penalties.

    Args:
        reach: (2, L, N), :math:`(\max z, -\min z)` of every point in every layer, in call order, without a graph.
        margins: Margins of the positive and of the negative penalties.

    Returns:
        The numbers that :data:`COUNTS` names, float64, in which counts are exact up to 2^53.

    Example:
        >>> reach = torch.tensor([[[2.0, -1.0]], [[0.5, 3.0]]])  # one layer, two points
        >>> dict(zip(COUNTS, count_points(reach, (1.0, 1.0)).tolist(), strict=True))["points_dead"]
        1.0
    """
    return _on_cpu(reach, margins) if reach.device.type == "cpu" else _on_device(reach, margins)


def status_at(reach: Tensor, points: Tensor) -> Tensor:
    """The status of some points of a batch.

    Args:
        reach: (2, L, N), as for :func:`count_points`.
        points: (P,) positions of the points in the batch.

    Returns:
        (P, L) codes of :class:`~jumpstart.status.Status`.
    """
    part = reach if len(points) == reach.shape[2] else reach.index_select(2, points)
    return status_of(part[0], -part[1], check=False).T


def _on_cpu(reach: Tensor, margins: Margins) -> Tensor:
    """The counts in NumPy, which has less overhead than torch; in small networks, overhead is most of the time."""
    _, layers, points = reach.shape
    pairs = layers * points
    array = reach.numpy()
    dead, linear = dead_and_linear(array)
    dead_pairs = np.count_nonzero(dead)
    below_dead, points_dead, points_linear = 0, 0, 0
    ever_dead: npt.NDArray[np.bool_] = np.zeros(points, dtype=bool)
    if dead_pairs:
        # The last layer in which a point is dead, from 1: in all layers up to that one, it is dead in the network.
        ramp = np.arange(1, layers + 1, dtype=np.uint16 if layers < 2**16 else np.int64)
        last_dead = np.multiply(dead, ramp[:, None]).max(0)
        below_dead = int(last_dead.sum())
        ever_dead = np.greater(last_dead, 0)
        points_dead = int(np.count_nonzero(ever_dead))
    linear_pairs = np.count_nonzero(linear)
    ever_linear: npt.NDArray[np.bool_] = np.zeros(points, dtype=bool)
    if linear_pairs:
        points_linear, ever_linear = int(np.count_nonzero(linear.all(0))), np.logical_or.reduce(linear)
    hinges = (np.array(margins, array.dtype).reshape(2, 1, 1) - array).reshape(2, pairs)
    torch.relu_(torch.from_numpy(hinges))  # a third of NumPy's time
    counts = (
        points,
        pairs,
        dead_pairs,
        linear_pairs,
        pairs - below_dead,
        points_dead,
        points_linear,
        points - np.count_nonzero(ever_dead | ever_linear),
        *hinges.sum(1, dtype=np.float64),
    )
    return torch.from_numpy(np.array(counts))


def _on_device(reach: Tensor, margins: Margins) -> Tensor:
    """The counts in torch, without waiting for the device."""
    _, layers, points = reach.shape
    pairs = layers * points
    dead, linear = dead_and_linear(reach)
    ramp = torch.arange(1, layers + 1, device=reach.device).unsqueeze(1)
    last_dead = (dead * ramp).amax(0)
    points_nonlinear = points - (dead | linear).any(0).sum()
    size = torch.tensor([points, pairs], device=reach.device)
    counted = [
        dead.sum(),
        linear.sum(),
        pairs - last_dead.sum(),
        (last_dead > 0).sum(),
        linear.all(0).sum(),
        points_nonlinear,
    ]
    short = torch.stack([margin - side for margin, side in zip(margins, reach, strict=True)])
    hinges = torch.relu_(short).sum((1, 2), dtype=torch.float64)
    return torch.cat([size, torch.stack(counted).double(), hinges])
