"""The reduction to extrema in operations that ``torch.func`` and ``torch.compile`` can trace.

Slower than :mod:`jumpstart.extrema.reduction` in eager mode; a compiler fuses it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from jumpstart.choices import PointMode, Ties
from jumpstart.extrema.rule import Rule


def record_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of a record: float64 for float64, otherwise float32, under autocast too."""
    return dtype if dtype == torch.float64 else torch.float32


def reduce_traceable(stacked: Tensor, rule: Rule, unit_dim: int) -> tuple[Tensor, Tensor]:
    """The reach of units and points, differentiable by torch itself.

    Args:
        stacked: (L, N, ...) preactivations of L layer calls.
        rule: How extrema are taken.
        unit_dim: The dimension of the units in one call, from 1.

    Returns:
        Unit reach (2, L, C) and point reach (2, L, P).
    """
    z = stacked.to(record_dtype(stacked.dtype)).movedim(unit_dim + 1, 1)  # (L, C, N, *space)
    rows = z.transpose(1, 2).flatten(2)
    if rule.point is PointMode.LOCATION:
        rows = z.flatten(2).transpose(1, 2)
    return _reach_of_rows(z.flatten(2), rule.ties), _reach_of_rows(rows, rule.ties)


def _reach_of_rows(rows: Tensor, ties: Ties) -> Tensor:
    """(L, K, B) -> (2, L, K)."""
    if ties is Ties.AVERAGE:
        return torch.stack([rows.amax(2), (-rows).amax(2)])
    sides = []
    for side in (rows, -rows):
        values, at = side.max(2)
        if ties is Ties.RANDOM:
            at = random_one((side == values.unsqueeze(2)).to(rows.dtype), 2)
        sides.append(side.gather(2, at.unsqueeze(2)).squeeze(2))
    return torch.stack(sides)


def random_one(attained: Tensor, dim: int) -> Tensor:
    """The position along ``dim`` of a randomly chosen one in a tensor of zeros and ones."""
    return ((torch.rand_like(attained) + 1) * attained).argmax(dim)
