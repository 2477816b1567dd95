"""Schedules: where a value stands between its greatest and its least, by epoch.

The learning rate and the weight of the Jumpstart loss share these functions, so that both stand at the same place
in every epoch of the same schedule. Each function returns a share: 1 for the greatest value, 0 for the least. Imports
no torch.
"""

from __future__ import annotations

import math

from model.choices import CycleMode


def linear(epoch: int, length: int) -> float:
    """Down along a line, then constant.

    Args:
        epoch: Index of the epoch, from 0, where the share is 1.
        length: Index of the epoch that reaches 0; 0 for a schedule of a single epoch, which stays at 1.

    Example:
        >>> [linear(epoch, 4) for epoch in range(6)]
        [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """
    return 1.0 - min(1.0, epoch / length) if length else 1.0


def cosine(epoch: int, length: int) -> float:
    """Down along half a cosine, then up again, and so on: the schedule of torch's ``CosineAnnealingLR``.

    Args:
        epoch: Index of the epoch, from 0, where the share is 1.
        length: Index of the epoch that reaches 0, ``T_max`` in torch; 0 for a schedule of a single epoch, which stays
            at 1.

    Example:
        >>> [round(cosine(epoch, 2), 6) for epoch in range(5)]
        [1.0, 0.5, 0.0, 0.5, 1.0]
    """
    return 0.5 * (1.0 + math.cos(math.pi * epoch / length)) if length else 1.0


def cosine_restarts(epoch: int, length: int, growth: int = 1) -> float:
    """Down along half a cosine in each cycle: the schedule of torch's ``CosineAnnealingWarmRestarts``.

    A cycle ends with the epoch before it would reach 0, because the next cycle starts there.

    Args:
        epoch: Index of the epoch, from 0.
        length: Epochs in the first cycle, at least 1; ``T_0`` in torch.
        growth: Length of each cycle, divided by that of the cycle before, at least 1; ``T_mult`` in torch.

    Example:
        >>> [round(cosine_restarts(epoch, 2, 2), 3) for epoch in range(7)]
        [1.0, 0.5, 1.0, 0.854, 0.5, 0.146, 1.0]
    """
    if growth == 1:
        return cosine(epoch % length, length)
    while epoch >= length:
        epoch, length = epoch - length, length * growth
    return cosine(epoch, length)


def cyclic(epoch: int, length: int, mode: CycleMode = CycleMode.TRIANGULAR, gamma: float = 1.0) -> float:
    """Up and down along a triangle in each cycle: the schedule of torch's ``CyclicLR``, with the same modes.

    A cycle starts at 0, and reaches the top of the triangle in its middle epoch. In a cycle with an odd number of
    epochs, the way up is one epoch shorter than the way down, so that one epoch is the top.

    Args:
        epoch: Index of the epoch, from 0, where the share is 0.
        length: Epochs in a cycle, at least 2.
        mode: Height of the triangles.
        gamma: Factor per epoch by which the height falls with ``exp_range``.

    Example:
        >>> [cyclic(epoch, 4) for epoch in range(6)]
        [0.0, 0.5, 1.0, 0.5, 0.0, 0.5]
        >>> [cyclic(epoch, 2, CycleMode.TRIANGULAR2) for epoch in range(6)]
        [0.0, 1.0, 0.0, 0.5, 0.0, 0.25]
    """
    cycle, place = divmod(epoch, length)
    rise = length // 2
    height = place / rise if place <= rise else (length - place) / (length - rise)
    if mode is CycleMode.TRIANGULAR2:
        return height * 0.5**cycle
    return height * gamma**epoch if mode is CycleMode.EXP_RANGE else height
