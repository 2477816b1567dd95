"""torchvision's ResNets."""

from __future__ import annotations

import torch
from torch import nn
from torchvision import models


def published(depth: int, num_classes: int = 7, name: str | None = None, **options: object) -> nn.Module:
    """torchvision's network with seeded weights and with statistics other than the initial ones."""
    torch.manual_seed(depth)
    with torch.device("meta"):  # its own initial weights would take most of the time
        network: nn.Module = getattr(models, name or f"resnet{depth}")(weights=None, num_classes=num_classes, **options)
    network.to_empty(device="cpu")
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, 0, 0.1)
            assert module.num_batches_tracked is not None
            module.num_batches_tracked.zero_()
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_uniform_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear | nn.GroupNorm):
            module.reset_parameters()
    return network.eval()
