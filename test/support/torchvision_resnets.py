"""torchvision's ResNets."""

from __future__ import annotations

import torch
from torch import nn
from torchvision import models


def published(depth: int, num_classes: int = 7, name: str | None = None, **options: object) -> nn.Module:
    """torchvision's network with seeded weights and with statistics other than the initial ones."""
    torch.manual_seed(depth)
    make = getattr(models, name or f"resnet{depth}")
    network: nn.Module = make(weights=None, num_classes=num_classes, **options)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, 0, 0.1)
    return network.eval()
