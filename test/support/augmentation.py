"""Augmentation of images, one at a time: the slow reference."""

from __future__ import annotations

import torch
from torch import Tensor


def reference_augmentation(images: Tensor, drawn: Tensor, padding: int) -> Tensor:
    """Pixel by pixel, in Python."""
    out = torch.zeros_like(images)
    count, channels, height, width = images.shape
    for n in range(count):
        row, column, mirrored = drawn[n].tolist()
        for c in range(channels):
            for i in range(height):
                for j in range(width):
                    y, x = i + row - padding, j + column - padding
                    x = width - 1 - x if mirrored else x
                    if 0 <= y < height and 0 <= x < width:
                        out[n, c, i, j] = images[n, c, y, x]
    return out
