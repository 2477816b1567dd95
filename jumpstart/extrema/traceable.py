"""The extrema once more, in plain differentiable operations: what torch.func and torch.compile can see through.

Slower than ``extrema.py`` in eager mode; a compiler fuses it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from jumpstart.choices import PointMode, Ties
from jumpstart.extrema.rule import Rule


def record_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of a record: float64 stays, everything else is float32, under autocast too."""
    return dtype if dtype == torch.float64 else torch.float32


def reduce_plainly(stacked: Tensor, rule: Rule, unit_dim: int) -> tuple[Tensor, Tensor]:
    """What the hand-written reduction does, in operations that torch.func and torch.compile see through."""
    z = stacked.to(record_dtype(stacked.dtype)).movedim(unit_dim + 1, 1)
    z = z.reshape(*z.shape[:3], -1)  # (L, C, N, S)
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
            at = any_of((side == values.unsqueeze(2)).to(rows.dtype), 2)
        sides.append(side.gather(2, at.unsqueeze(2)).squeeze(2))
    return torch.stack(sides)


def any_of(attained: Tensor, dim: int) -> Tensor:
    """A random one along ``dim`` of a tensor of zeros and ones."""
    return ((torch.rand_like(attained) + 1) * attained).argmax(dim)
