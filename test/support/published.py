"""The published definition, written out plainly: networks as functions of their weights, the loss, its options.

Everything here follows the documents: ``docs/from-the-published-code.md`` and the pseudocode of the README. Nothing of
the project is imported, so that a comparison with the project is one with the documents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

Weights = Mapping[str, Tensor]
Outputs = tuple[Tensor, list[Tensor]]
"""Logits, and the outputs of all layers with weights, the output layer included."""

SIGN_BALANCE = 0.5
"""Weight of each hinge."""


def rectangular(weights: Weights, x: Tensor, depth: int, span: int | None = None) -> Outputs:
    """A dense network of constant width; a skip connection is added after the activation.

    Args:
        weights: By name, as in ``RectangularNetwork.state_dict()``.
        x: (N, features).
        depth: Number of hidden layers.
        span: Layers that a skip connection spans; None for no skip connections.
    """
    read: list[Tensor] = []
    outputs: list[Tensor] = []
    h = x
    for number in range(1, depth + 1):
        name = f"layers.{number - 1}.linear"
        z = F.linear(h, weights[f"{name}.weight"], weights[f"{name}.bias"])
        read.append(z)
        h = F.relu(z)
        if span is not None and number > span and (number - 1) % span == 0:
            h = h + outputs[number - span - 1]
        outputs.append(h)
    logits = F.linear(h, weights["output.weight"], weights["output.bias"])
    return logits, [*read, logits]


def plain_resnet(weights: Weights, x: Tensor, blocks: tuple[int, ...], layers_per_block: int) -> Outputs:
    """A ResNet of convolutions with the small stem, without normalization and skip connections.

    Args:
        weights: By name, as in ``ResNet.state_dict()``.
        x: (N, channels, height, width).
        blocks: Number of blocks in each stage.
        layers_per_block: 2, or 3 for bottlenecks, in which the second layer has the stride.
    """
    read: list[Tensor] = []

    def layer(h: Tensor, name: str, stride: int) -> Tensor:
        weight = weights[f"{name}.weight"]
        read.append(F.conv2d(h, weight, weights.get(f"{name}.bias"), stride, padding=weight.shape[-1] // 2))
        return F.relu(read[-1])

    h = layer(x, "conv1", 1)
    for stage, count in enumerate(blocks, 1):
        for block in range(count):
            for number in range(1, layers_per_block + 1):
                halves = stage > 1 and block == 0 and number == layers_per_block - 1
                h = layer(h, f"layer{stage}.{block}.conv{number}", 2 if halves else 1)
    logits = F.linear(h.mean((2, 3)), weights["fc.weight"], weights["fc.bias"])
    return logits, [*read, logits]


def mean_of_means(units: Tensor, points: Tensor) -> Tensor:
    """The aggregate of the pseudocode."""
    return units.mean() + points.mean()


def sum_of_squares(units: Tensor, points: Tensor) -> Tensor:
    """The aggregate of the 2022 paper's grids."""
    return units.square().sum() + points.square().sum()


def loss(read: list[Tensor], aggregate: Callable[[Tensor, Tensor], Tensor] = mean_of_means) -> Tensor:
    """The Jumpstart loss of preactivations (N, C, ...)."""
    losses: dict[int, list[Tensor]] = {0: [], 1: []}
    for z in read:
        for mode, kept in losses.items():
            rows = z.movedim(1 - mode, 0).flatten(1)
            positive, negative = F.relu(1 - rows.max(1).values), F.relu(1 + rows.min(1).values)
            kept.append(SIGN_BALANCE * positive + SIGN_BALANCE * negative)
    units, points = (torch.cat(kept) for kept in losses.values())
    return aggregate(units, points)
