"""What all sets of images share. Needs no Lightning."""

from __future__ import annotations

import abc

from data.batches import OrderedBatches
from data.split_data import Description, SplitData


class ImageDescription(Description):
    """The description of a set of images, in values that JSON can hold.

    ``mean`` and ``std`` are those that pixels in [0, 1] are normalized with, one for each channel.
    """

    mean: list[float]
    std: list[float]
    augment: str


class ImageData(SplitData[OrderedBatches]):
    """Images in three parts, served as float images, ``(N, channels, height, width)``.

    Only training images are augmented.

    Args:
        **options: Arguments of :class:`~data.split_data.SplitData`.

    Raises:
        ValueError: If an argument is out of range.
    """

    @property
    @abc.abstractmethod
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""

    def augments_now(self) -> bool:
        """Whether batches of the training part that are read now are augmented."""
        return True
