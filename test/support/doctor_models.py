"""Models with faults for the doctor to find."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Functional(nn.Module):
    """One ReLU of every way to call it, and a module."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.act = nn.Linear(3, 8), nn.Linear(8, 8), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x))
        x = torch.relu(self.b(x)) + self.b(x).relu() + F.gelu(x) + F.relu(self.b(x), inplace=True) + x.clamp_min(0)
        return self.act(self.b(x)).clamp_min(-1)


def made_to_die() -> nn.Sequential:
    """The second ReLU has one dead and one linear unit of three, and kills every point in the third."""
    model = nn.Sequential(
        nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1), nn.ReLU(), nn.Linear(1, 2)
    )
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(2))
        model[2].weight.copy_(torch.tensor([[1.0, 1.0], [1.0, 1.0], [1.0, -1.0]]))
        model[2].bias.copy_(torch.tensor([-100.0, 100.0, 0.0]))
        model[4].weight.zero_()
        model[4].bias.fill_(-1.0)
    return model
