"""Augmentation and normalization of whole batches of images on their device, without any work per image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from data.batches import private_generator
from data.checks import check_integer


@dataclass(frozen=True)
class ShiftAndFlip:
    """A random crop of each image with a margin of zeros, mirrored with probability 1/2.

    The crop of an image depends on the seed, the epoch and the number of the image: not on the batch it is in, on the
    process that serves it, or on its device.

    Args:
        padding: Width of the margin in pixels, which is the largest shift.
        flip: Whether images are mirrored.

    Raises:
        ValueError: If ``padding`` is not an integer of at least 0.

    Example:
        >>> augment = ShiftAndFlip(padding=1)
        >>> crops = augment.draw(rows=2, seed=42, epoch=0)
        >>> augment(torch.ones(2, 1, 4, 4), crops).shape
        torch.Size([2, 1, 4, 4])
    """

    padding: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        check_integer("padding", self.padding, 0)

    def draw(self, rows: int, seed: int, epoch: int) -> Tensor:
        """Random crops of all images of a set in one epoch.

        Args:
            rows: Number of images.
            seed: Seed of the data module.
            epoch: Number of the epoch, at least 0.

        Returns:
            First row and first column of each crop, and 1 if it is mirrored: ``(rows, 3)``, int64, on the CPU.
        """
        generator = private_generator(seed, epoch, 1)
        shifts = torch.randint(2 * self.padding + 1, (rows, 2), generator=generator)
        return torch.cat([shifts, torch.randint(2 if self.flip else 1, (rows, 1), generator=generator)], dim=1)

    def __call__(self, images: Tensor, crops: Tensor) -> Tensor:
        """The cropped and mirrored images, in new memory.

        Args:
            images: ``(N, C, H, W)``, any type.
            crops: The rows of :meth:`draw` for these images, ``(N, 3)``.

        Returns:
            ``(N, C, H, W)``, of the type of ``images``.
        """
        if not self.padding and not self.flip:
            return images.clone()
        row, column, mirrored = crops.to(images.device)[..., None, None].unbind(1)
        count, channels, height, width = images.shape
        padded = F.pad(images, [self.padding] * 4)
        if self.flip:
            padded = torch.cat([padded, padded.flip(-1)])
        # The pixels of one line of an image are contiguous in memory, so each line of a crop is one copy of bytes: many
        # times faster than indexing pixels.
        image = torch.arange(count, device=images.device).view(-1, 1, 1) + mirrored * count
        line = (image * channels + torch.arange(channels, device=images.device).view(-1, 1)) * padded.shape[2]
        line = line + row + torch.arange(height, device=images.device)
        begin = line * padded.shape[3] + column
        lines = padded.view(-1).unfold(0, width, 1)
        return lines.index_select(0, begin.view(-1)).view(images.shape)


class Normalize:
    """Bytes to floats with mean 0 and standard deviation 1 in each channel.

    Args:
        mean: Mean of each channel, of pixels in [0, 1].
        std: Standard deviation of each channel, of pixels in [0, 1]; 0 (a constant channel) counts as 1.

    Raises:
        ValueError: If ``mean`` and ``std`` differ in length.

    Example:
        >>> Normalize((0.5,), (0.5,))(torch.tensor([[[[0, 255]]]], dtype=torch.uint8)).flatten().tolist()
        [-1.0, 1.0]
    """

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        if len(mean) != len(std):
            raise ValueError(f"mean and std must have as many channels, got {len(mean)} and {len(std)}.")
        self.mean, self.std = tuple(mean), tuple(value or 1.0 for value in std)
        self._factor = torch.tensor([1 / (255 * value) for value in self.std]).view(-1, 1, 1)
        self._shift = torch.tensor([m / s for m, s in zip(self.mean, self.std, strict=True)]).view(-1, 1, 1)

    def __call__(self, images: Tensor) -> Tensor:
        """Normalized images, contiguous in memory.

        Args:
            images: ``(N, C, H, W)`` bytes.

        Returns:
            ``(N, C, H, W)`` float32, on the device of ``images``.
        """
        if self._factor.device != images.device:
            self._factor, self._shift = self._factor.to(images.device), self._shift.to(images.device)
        return images.to(torch.float32, memory_format=torch.contiguous_format).mul_(self._factor).sub_(self._shift)


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, of pixels in [0, 1].

    Args:
        images: ``(N, C, H, W)`` bytes.

    Example:
        >>> channel_statistics(torch.tensor([[[[0, 255]]]], dtype=torch.uint8))
        ((0.5,), (0.5,))
    """
    values = np.arange(256) / 255
    means, stds = [], []
    for channel in images.unbind(1):
        # Counting the 256 values is exact, and needs no floating-point copy of the whole set.
        counts = torch.bincount(channel.reshape(-1), minlength=256).double().numpy()
        share = counts / counts.sum()
        mean = float(share @ values)
        means.append(mean)
        stds.append(float(np.sqrt(share @ (values - mean) ** 2)))
    return tuple(means), tuple(stds)
