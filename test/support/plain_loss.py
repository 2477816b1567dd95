"""The published pseudocode in plain autograd."""

from __future__ import annotations

import torch
from torch import Tensor


def plain_loss(tensors: list[Tensor], unit_dim: int = 1, margin: float = 1.0, negative_margin: float = 1.0) -> Tensor:
    """The loss of preactivations by the pseudocode, in float32 at least."""
    slices: list[list[Tensor]] = [[], []]
    for z in tensors:
        z = z.to(torch.promote_types(z.dtype, torch.float32)).movedim(unit_dim, 1)
        for kind, rows in zip(slices, (z.transpose(0, 1).flatten(1), z.flatten(1)), strict=True):
            highest, lowest = rows.max(1).values, rows.min(1).values  # the gradient goes to one entry
            kind.append(torch.relu(margin - highest) + torch.relu(negative_margin + lowest))
    return torch.cat(slices[0]).mean() + torch.cat(slices[1]).mean()
