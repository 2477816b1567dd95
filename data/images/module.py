"""The data module that all sets of images share."""

from __future__ import annotations

import abc

from data.batches import OrderedBatches
from data.split_module import Description, SplitDataModule


class ImageDescription(Description):
    """The description of a data module of images, in values that JSON can hold.

    ``mean`` and ``std`` are those that pixels in [0, 1] are normalized with, one for each channel.
    """

    mean: list[float]
    std: list[float]
    augment: str


class ImageModule(SplitDataModule[OrderedBatches]):
    """Images in three parts. Loaders serve float images, ``(N, channels, height, width)``, on the trainer's device.

    Only training images are augmented, and only while the trainer trains: a training loader that is read while the
    trainer tests or validates serves images without augmentation.

    Args:
        **options: Arguments of :class:`~data.split_module.SplitDataModule`.

    Raises:
        ValueError: If an argument is out of range.
    """

    @property
    @abc.abstractmethod
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""

    def augments_now(self) -> bool:
        """Whether a training loader that is read now serves augmented images."""
        return self.trainer is None or bool(self.trainer.training)
