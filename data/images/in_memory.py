"""Sets of images that fit in memory, served as bytes in batches that are augmented on the device."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Unpack

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from data.batches import Batch, OrderedBatches, TensorBatches, mixed_seed
from data.images.augment import Normalize, ShiftAndFlip, channel_statistics
from data.images.image_arrays import Bytes, ImageArrays
from data.images.image_data import ImageData, ImageDescription
from data.images.transforms import Transform, TransformError, Transforms, check_outputs, name_of, stacked, transformed
from data.split_data import SplitOptions
from data.splitting import PARTS, holdout
from data.tables import Integers

logger = logging.getLogger(__name__)

_NO_TRANSFORMS = Transforms()


class ImageBatches(OrderedBatches):
    """Bytes in memory, served as batches of float images, augmented and normalized on their device.

    Args:
        images: ``(rows, channels, height, width)`` bytes.
        order: Batches of row numbers and classes, on the device of the images; holds the seed and the epoch.
        normalize: Conversion from bytes to floats.
        augment: Augmentation; ``None`` for none.
        active: Function that is called at the start of each pass and returns whether to augment.
        transforms: Transforms of the user, in place of the augmentation.

    Shape:
        - Each item: ``(N, channels, height, width)`` float32, ``(N,)`` int64.

    Raises:
        TransformError: While batches are drawn: if a transform returns something that cannot be served.
    """

    def __init__(
        self,
        images: Tensor,
        order: TensorBatches,
        normalize: Normalize,
        augment: ShiftAndFlip | None = None,
        active: Callable[[], bool] = lambda: True,
        transforms: Transforms = _NO_TRANSFORMS,
    ) -> None:
        super().__init__(order)
        self.images, self.normalize = images, normalize
        self.augment, self._active, self.transforms = augment, active, transforms

    def __iter__(self) -> Iterator[Batch]:
        active = self._active()
        transform = self.transforms.train if active else self.transforms.eval
        return self._batches(active) if transform is None else self._transformed(transform)

    def _transformed(self, transform: Transform) -> Iterator[Batch]:
        """Batches of images that the user's transform changes one by one, on the CPU."""
        epoch = self.order.epoch
        for rows, labels in self.order:
            outputs = []
            with torch.random.fork_rng(devices=[]):
                for row, image in zip(rows.tolist(), self.images.index_select(0, rows).cpu(), strict=True):
                    torch.default_generator.manual_seed(mixed_seed(self.order.seed, epoch, row))
                    outputs.append(transformed(transform, as_pil(image)))
            images = stacked(outputs, self.transforms.shape).to(labels.device)
            yield self.normalize(images.permute(0, 3, 1, 2)) if images.dtype == torch.uint8 else images, labels

    def _batches(self, active: bool) -> Iterator[Batch]:
        crops = None
        if self.augment is not None and active:
            crops = self.augment.draw(len(self.images), self.order.seed, self.order.epoch).to(self.images.device)
        for rows, labels in self.order:
            images = self.images.index_select(0, rows)
            if crops is not None and self.augment is not None:
                images = self.augment(images, crops.index_select(0, rows))
            yield self.normalize(images), labels


class MemoryImageData(ImageData):
    """Images that fit in memory, in three parts.

    Equal images are never in two parts, except for those that both published parts contain. Mean and standard
    deviation of the pixels are learned from the training part alone.
    :class:`~data.datamodules.MemoryImages` is the same as a ``LightningDataModule``.

    Args:
        load: Function that returns the images, and the published test part or ``None``; called once, by
            :meth:`setup`.
        class_names: One name for each class.
        augment: Augmentation of training images; ``None`` for none.
        image_size: Height and width to which images are resized; ``None`` for no resizing.
        transforms: Transforms of the user, of PIL images that are resized to ``image_size``; in place of the
            augmentation.
        **options: Arguments of :class:`~data.split_data.SplitData`.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> from data.images.arrays import make_fake
        >>> load = lambda: (make_fake(100, 4, (3, 8, 8)), None)
        >>> data = MemoryImageData(load, class_names=tuple("abcd"), name="fake", batch_size=32)
        >>> data.setup()
        >>> x, y = next(iter(data.batches("train", shuffle=True)))
        >>> x.shape, x.dtype, data.input_shape, data.num_rows("test")
        (torch.Size([32, 3, 8, 8]), torch.float32, (3, 8, 8), 15)
    """

    def __init__(
        self,
        load: Callable[[], tuple[ImageArrays, ImageArrays | None]],
        *,
        class_names: tuple[str, ...],
        augment: ShiftAndFlip | None = None,
        image_size: int | None = None,
        transforms: Transforms = _NO_TRANSFORMS,
        **options: Unpack[SplitOptions],
    ) -> None:
        super().__init__(**options)
        self._load, self._class_names = load, class_names
        self.augment, self.image_size, self.transforms = augment, image_size, transforms
        self._shape = (0, 0, 0)
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
        self._shape = self._served_shape()
        repeated = len(groups) - int(groups.max()) - 1
        if repeated:
            logger.info("%s: %d of %d images are duplicates.", self.name, repeated, len(groups))

    def _served_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image, after the transforms of the user are checked with one image."""
        image = self._parts["train"][0][0]
        channels, height, width = image.shape
        if not self.transforms:
            return channels, height, width
        if channels not in (1, 3):
            raise TransformError(f"a transform needs images of 1 or 3 channels, got {channels}.")
        with torch.random.fork_rng(devices=[]):
            train, evaluation = (
                transformed(transform or _unchanged, as_pil(image))
                for transform in (self.transforms.train, self.transforms.eval)
            )
        shape = check_outputs(train, evaluation, channels)
        self.transforms = replace(self.transforms, shape=shape)
        return shape

    def _split(self, arrays: ImageArrays, published: ImageArrays | None, groups: Integers) -> dict[str, ImageArrays]:
        """The three parts: the test part first, unless it is published, then validation from the other rows."""
        rest, val_size = np.arange(len(arrays)), self.val_size
        test = published
        if test is None:
            rest, held = holdout(arrays.labels, size=self.test_size, seed=self.split_seed, groups=groups)
            test, val_size = arrays.select(held), self.val_size / (1 - self.test_size)
        inner = np.unique(groups[rest], return_inverse=True)[1]
        kept, held = holdout(arrays.labels[rest], size=val_size, seed=self.split_seed, groups=inner)
        return {"train": arrays.select(rest[kept]), "val": arrays.select(rest[held]), "test": test}

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        self._check_set_up()
        return self._shape

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
            "augment": name_of(self.transforms.train) if self.transforms.train else repr(self.augment),
        }

    def batches(self, part: str, *, shuffle: bool = False) -> ImageBatches:
        """Batches of a part, from bytes that are copied to :attr:`device` once. Only training images are augmented.

        Args:
            part: ``"train"``, ``"val"`` or ``"test"``.
            shuffle: Whether each epoch has a new order, which depends on seed and epoch alone.

        Raises:
            RuntimeError: Before :meth:`setup`.
        """
        images, labels = self._part(part)
        order = self.order(torch.arange(len(labels)), labels, shuffle=shuffle).to(self.device)
        augment, active = (self.augment, self.augments_now) if part == "train" else (None, lambda: False)
        normalize = self._fitted_normalize()
        return ImageBatches(images.to(self.device), order, normalize, augment, active, self.transforms)

    def _part(self, part: str) -> tuple[Tensor, Tensor]:
        self._check_set_up()
        return self._parts[part]

    def _fitted_normalize(self) -> Normalize:
        self._check_set_up()
        assert self._normalize is not None
        return self._normalize


def _unchanged(image: Image.Image) -> Image.Image:
    return image


def as_pil(image: Tensor) -> Image.Image:
    """One image of bytes, ``(channels, height, width)``, as torchvision's data sets give it to a transform.

    Example:
        >>> as_pil(torch.zeros(1, 8, 8, dtype=torch.uint8)).mode
        'L'
    """
    pixels = image.permute(1, 2, 0).numpy()
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


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
