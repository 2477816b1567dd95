"""Augmentation of whole batches on their device: nothing is done for one image alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def private_generator(*numbers: int) -> torch.Generator:
    """A generator on the CPU that depends on these numbers alone.

    Example:
        >>> first, again = (torch.rand(2, generator=private_generator(42, 7)) for _ in range(2))
        >>> torch.equal(first, again)
        True
    """
    state = np.random.SeedSequence(numbers).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


@dataclass(frozen=True)
class ShiftAndFlip:
    """A mirror image half of the time, and a random crop of the image with a margin of zeros.

    What happens to an image depends on seed, epoch and the image's number: not on the batch it is in, the process
    that serves it, or its device.

    Args:
        padding: Pixels of the margin; an image is shifted by so many at most.
        flip: Whether images are mirrored.

    Example:
        >>> augment = ShiftAndFlip(padding=1)
        >>> drawn = augment.draw(rows=2, seed=42, epoch=0)
        >>> augment(torch.ones(2, 1, 4, 4), drawn).shape
        torch.Size([2, 1, 4, 4])
    """

    padding: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.padding, bool) or not isinstance(self.padding, int) or self.padding < 0:
            raise ValueError(f"padding must be an integer >= 0, got {self.padding!r}.")

    def draw(self, rows: int, seed: int, epoch: int) -> Tensor:
        """What happens to each image of a set in one epoch.

        Returns:
            Row and column of the crop, and whether it is mirrored: ``(rows, 3)``, int64, on the CPU.
        """
        generator = private_generator(seed, epoch, 1)
        shifts = torch.randint(2 * self.padding + 1, (rows, 2), generator=generator)
        return torch.cat([shifts, torch.randint(2 if self.flip else 1, (rows, 1), generator=generator)], dim=1)

    def __call__(self, images: Tensor, drawn: Tensor) -> Tensor:
        """The changed images.

        Args:
            images: ``(N, C, H, W)``, any type.
            drawn: Their rows of :meth:`draw`.

        Returns:
            Images of the same shape; the given ones are not changed.
        """
        if not self.padding and not self.flip:
            return images.clone()
        row, column, mirrored = drawn.to(images.device)[..., None, None].unbind(1)
        count, channels, height, width = images.shape
        padded = F.pad(images, [self.padding] * 4)
        if self.flip:
            padded = torch.cat([padded, padded.flip(-1)])
        # Lines of an image lie behind one another in memory, so each line of a crop is one copy of bytes: many times
        # faster than choosing pixels.
        image = torch.arange(count, device=images.device).view(-1, 1, 1) + mirrored * count
        line = (image * channels + torch.arange(channels, device=images.device).view(-1, 1)) * padded.shape[2]
        line = line + row + torch.arange(height, device=images.device)
        begin = line * padded.shape[3] + column
        lines = padded.view(-1).unfold(0, width, 1)
        return lines.index_select(0, begin.view(-1)).view(images.shape)


class Normalize:
    """Bytes to numbers of mean 0 and deviation 1 in each channel.

    Args:
        mean: Of each channel, of pixels in 0..1.
        std: Standard deviation of each channel; 0 (a constant channel) counts as 1.

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
        """``(N, C, H, W)`` bytes to float32, on their device, one channel after the other in memory."""
        if self._factor.device != images.device:
            self._factor, self._shift = self._factor.to(images.device), self._shift.to(images.device)
        return images.to(torch.float32, memory_format=torch.contiguous_format).mul_(self._factor).sub_(self._shift)


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, of pixels in 0..1.

    Args:
        images: ``(N, C, H, W)`` bytes.

    Example:
        >>> channel_statistics(torch.tensor([[[[0, 255]]]], dtype=torch.uint8))
        ((0.5,), (0.5,))
    """
    values = np.arange(256) / 255
    means, stds = [], []
    for channel in images.unbind(1):
        # Counts of the 256 values: exact, and nothing of the size of the set in floating point.
        counts = torch.bincount(channel.reshape(-1), minlength=256).double().numpy()
        share = counts / counts.sum()
        mean = float(share @ values)
        means.append(mean)
        stds.append(float(np.sqrt(share @ (values - mean) ** 2)))
    return tuple(means), tuple(stds)
