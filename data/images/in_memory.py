"""Sets of images that fit in memory, served as bytes in batches that are augmented on the device."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Unpack

import numpy as np
import torch
from torch import Tensor

from data.batches import Batch, OrderedBatches, TensorBatches
from data.images.arrays import Bytes, ImageArrays
from data.images.augment import Normalize, ShiftAndFlip, channel_statistics
from data.images.module import ImageDescription, ImageModule
from data.split_module import ModuleOptions
from data.splitting import PARTS, holdout
from data.tables import Integers

logger = logging.getLogger(__name__)


class ImageBatches(OrderedBatches):
    """Bytes in memory, served as batches of float images, augmented and normalized on their device.

    Args:
        images: ``(rows, channels, height, width)`` bytes.
        order: Batches of row numbers and classes, on the device of the images; holds the seed and the epoch.
        normalize: Conversion from bytes to floats.
        augment: Augmentation; ``None`` for none.
        active: Function that is called at the start of each pass and returns whether to augment.

    Shape:
        - Each item: ``(N, channels, height, width)`` float32, ``(N,)`` int64.
    """

    def __init__(
        self,
        images: Tensor,
        order: TensorBatches,
        normalize: Normalize,
        augment: ShiftAndFlip | None = None,
        active: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__(order)
        self.images, self.normalize = images, normalize
        self.augment, self._active = augment, active

    def __iter__(self) -> Iterator[Batch]:
        crops = None
        if self.augment is not None and self._active():
            crops = self.augment.draw(len(self.images), self.order.seed, self.order.epoch).to(self.images.device)
        for rows, labels in self.order:
            images = self.images.index_select(0, rows)
            if crops is not None and self.augment is not None:
                images = self.augment(images, crops.index_select(0, rows))
            yield self.normalize(images), labels


class MemoryImages(ImageModule):
    """Images that fit in memory, in three parts.

    Equal images are never in two parts, except for those that both published parts contain. Mean and standard
    deviation of the pixels are learned from the training part alone. The bytes are copied to the trainer's device
    once.

    Args:
        load: Function that returns the images, and the published test part or ``None``; called once, by
            :meth:`setup`.
        class_names: One name for each class.
        augment: Augmentation of training images; ``None`` for none.
        image_size: Height and width to which images are resized; ``None`` for no resizing.
        **options: Arguments of :class:`~data.split_module.SplitDataModule`.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> from data.images.arrays import make_fake
        >>> load = lambda: (make_fake(100, 4, (3, 8, 8)), None)
        >>> module = MemoryImages(load, class_names=tuple("abcd"), name="fake", batch_size=32)
        >>> module.setup()
        >>> x, y = next(iter(module.train_dataloader()))
        >>> x.shape, x.dtype, module.input_shape, module.num_rows("test")
        (torch.Size([32, 3, 8, 8]), torch.float32, (3, 8, 8), 15)
    """

    def __init__(
        self,
        load: Callable[[], tuple[ImageArrays, ImageArrays | None]],
        *,
        class_names: tuple[str, ...],
        augment: ShiftAndFlip | None = None,
        image_size: int | None = None,
        **options: Unpack[ModuleOptions],
    ) -> None:
        super().__init__(**options)
        self._load, self._class_names = load, class_names
        self.augment, self.image_size = augment, image_size
        self._parts: dict[str, tuple[Tensor, Tensor]] = {}
        self._normalize: Normalize | None = None

    def _load_parts(self) -> None:
        arrays, published = self._load()
        groups = equal_images(arrays.images)
        parts = self._split(arrays, published, groups)
        self._parts = {
            part: (resize(torch.from_numpy(parts[part].images), self.image_size), torch.from_numpy(parts[part].labels))
            for part in PARTS
        }
        self._normalize = Normalize(*channel_statistics(self._parts["train"][0]))
        repeated = len(groups) - int(groups.max()) - 1
        if repeated:
            logger.info("%s: %d of %d images are duplicates.", self.name, repeated, len(groups))

    def _split(self, arrays: ImageArrays, published: ImageArrays | None, groups: Integers) -> dict[str, ImageArrays]:
        """The three parts: the test part first, unless it is published, then validation from the other rows."""
        rest, val_size = np.arange(len(arrays)), self.val_size
        test = published
        if test is None:
            rest, held = holdout(arrays.labels, size=self.test_size, seed=self.seed, groups=groups)
            test, val_size = arrays.select(held), self.val_size / (1 - self.test_size)
        inner = np.unique(groups[rest], return_inverse=True)[1]
        kept, held = holdout(arrays.labels[rest], size=val_size, seed=self.seed, groups=inner)
        return {"train": arrays.select(rest[kept]), "val": arrays.select(rest[held]), "test": test}

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        channels, height, width = self.images("train").shape[1:]
        return channels, height, width

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name for each class."""
        return self._class_names

    def labels(self, part: str) -> Integers:
        """Class numbers of a part (``"train"``, ``"val"`` or ``"test"``), in its fixed order: ``(rows,)``."""
        labels: Integers = self._part(part)[1].numpy()
        return labels

    def images(self, part: str) -> Tensor:
        """Images of a part as bytes, in its fixed order: ``(rows, channels, height, width)``."""
        return self._part(part)[0]

    def describe(self) -> ImageDescription:
        """A description of the data: images and classes of each part, normalization and augmentation."""
        normalize = self._fitted_normalize()
        return {
            **super().describe(),
            "mean": list(normalize.mean),
            "std": list(normalize.std),
            "augment": repr(self.augment),
        }

    def _batches(self, part: str, *, shuffle: bool) -> ImageBatches:
        images, labels = self._part(part)
        order = self.order(torch.arange(len(labels)), labels, shuffle=shuffle).to(self.device)
        augment = self.augment if part == "train" else None
        return ImageBatches(images.to(self.device), order, self._fitted_normalize(), augment, self.augments_now)

    def _part(self, part: str) -> tuple[Tensor, Tensor]:
        self._check_set_up()
        return self._parts[part]

    def _fitted_normalize(self) -> Normalize:
        self._check_set_up()
        assert self._normalize is not None
        return self._normalize


def equal_images(images: Bytes) -> Integers:
    """A number for each image, ``(rows,)``: the same for equal images.

    Example:
        >>> equal_images(np.array([[7], [8], [7]], dtype=np.uint8)).tolist()
        [0, 1, 0]
    """
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(image.tobytes(), len(numbers)) for image in images], dtype=np.int64)


def resize(images: Tensor, size: int | None, chunk: int = 1024) -> Tensor:
    """Images resized to squares; the same tensor if they already have that size.

    Args:
        images: ``(rows, channels, height, width)`` bytes.
        size: New height and width; ``None`` for no resizing.
        chunk: Number of images that are resized at a time, which bounds the memory.
    """
    if size is None or tuple(images.shape[-2:]) == (size, size):
        return images
    from torchvision.transforms.v2 import functional

    return torch.cat([functional.resize(some, [size, size], antialias=True) for some in images.split(chunk)])
