"""Images as a ``LightningDataModule``."""

from __future__ import annotations

from data.batches import OrderedBatches
from data.images.image_data import ImageData
from data.split_module import SplitDataModule


class ImageModule(ImageData, SplitDataModule[OrderedBatches]):
    """Images in three parts, on the trainer's device.

    Only training images are augmented, and only while the trainer trains: a training loader that is read while the
    trainer tests or validates serves images without augmentation.

    Args:
        **options: Arguments of :class:`~data.split_data.SplitData`.

    Raises:
        ValueError: If an argument is out of range.
    """

    def augments_now(self) -> bool:
        """Whether a training loader that is read now serves augmented images."""
        return self.trainer is None or bool(self.trainer.training)
