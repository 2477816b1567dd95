"""ResNets of fully connected layers, for vectors."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Unpack

from torch import Tensor, nn

from model.checks import check_count
from model.choices import Stem
from model.resnet import Layers, ResNet, ResNetOptions

__all__ = ["DENSE", "resnet_dense"]


def _dense(inputs: int, outputs: int, kernel_size: int, stride: int, groups: int, bias: bool) -> nn.Module:
    return nn.Linear(inputs, outputs, bias=bias)


class Vectors(nn.Module):
    """Flattens each sample to a vector of the length that the network expects.

    Args:
        features: Number of values of one sample.

    Shape:
        - Input: (N, ...), ``features`` values each.
        - Output: (N, ``features``).

    Raises:
        ValueError: On a call, if a sample has another number of values.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features

    def forward(self, x: Tensor) -> Tensor:
        """One vector per sample."""
        if x.dim() < 2 or math.prod(x.shape[1:]) != self.features:
            raise ValueError(
                f"the input must have shape (N, {self.features}), or (N, ...) with as many values per sample, got "
                f"{tuple(x.shape)}. Set in_channels to the number of values, or give the network such samples."
            )
        return x.flatten(1)

    def extra_repr(self) -> str:
        """The length of the vectors, for ``repr``."""
        return f"features={self.features}"


DENSE = Layers(
    weighted=_dense,
    norm=nn.BatchNorm1d,
    # Without pixels there is nothing to stride over, so only a change of width needs weights in a skip connection.
    strides=(1, 1, 1, 1),
    entry=Vectors,
    stems={Stem.STANDARD: (1, 1, nn.Identity)},
    exit=nn.Identity,
    has_groups=False,
)


def resnet_dense(depth: int, num_classes: int = 10, in_channels: int = 64, **options: Unpack[ResNetOptions]) -> ResNet:
    """A ResNet whose layers are all fully connected. Its weights have the same names as those of :func:`resnet_conv`.

    Args:
        depth: 18, 34, 50, 101 or 152.
        num_classes: Number of outputs.
        in_channels: Number of values of one sample: features of a vector, or channels times pixels of an image.
        **options: Keyword arguments of :class:`ResNet`; the only ``stem`` is ``"standard"``, and ``groups`` must be 1.

    Shape:
        - Input: (N, ``in_channels``), or (N, ...) with as many values.
        - Output: (N, ``num_classes``), logits.

    Raises:
        ValueError: If an argument is out of range or unknown.
        TypeError: If an argument is of the wrong type.

    Example:
        >>> import torch
        >>> resnet_dense(18, 3, 5, width_multiplier=0.5)(torch.zeros(2, 5)).shape
        torch.Size([2, 3])
    """
    check_count("in_channels", in_channels)
    return ResNet(DENSE, depth, in_channels, num_classes, **options)


resnet18_dense: Callable[..., ResNet] = partial(resnet_dense, 18)
resnet34_dense: Callable[..., ResNet] = partial(resnet_dense, 34)
resnet50_dense: Callable[..., ResNet] = partial(resnet_dense, 50)
resnet101_dense: Callable[..., ResNet] = partial(resnet_dense, 101)
resnet152_dense: Callable[..., ResNet] = partial(resnet_dense, 152)

wide_resnet50_2_dense: Callable[..., ResNet] = partial(resnet_dense, 50, width_per_group=128)
wide_resnet101_2_dense: Callable[..., ResNet] = partial(resnet_dense, 101, width_per_group=128)
