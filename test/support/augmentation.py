"""A slow reference of image augmentation, which sets one pixel at a time."""

from __future__ import annotations

import torch
from torch import Tensor


def reference_augmentation(images: Tensor, crops: Tensor, padding: int) -> Tensor:
    """Cropped and mirrored images, computed in Python.

    Args:
        images: ``(N, C, H, W)``.
        crops: First row and first column of each crop, and 1 if it is mirrored: ``(N, 3)``.
        padding: Width of the margin of zeros.
    """
    out = torch.zeros_like(images)
    count, channels, height, width = images.shape
    for n in range(count):
        row, column, mirrored = crops[n].tolist()
        for c in range(channels):
            for i in range(height):
                for j in range(width):
                    y, x = i + row - padding, j + column - padding
                    x = width - 1 - x if mirrored else x
                    if 0 <= y < height and 0 <= x < width:
                        out[n, c, i, j] = images[n, c, y, x]
    return out
