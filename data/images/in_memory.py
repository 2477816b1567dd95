"""How images are served: sets that fit in memory, as bytes, in batches made on the device."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data.batches import Batch, TensorBatches
from data.images.arrays import Bytes, Pictures
from data.images.augment import Normalize, ShiftAndFlip, channel_statistics
from data.images.module import ImageModule
from data.splitting import PARTS, holdout
from data.tables import Integers

logger = logging.getLogger(__name__)


class ImageBatches:
    """Serves bytes in memory as batches of float images, augmented and normalized on their device.

    Args:
        images: ``(rows, channels, height, width)`` bytes.
        order: Batches of row numbers and classes, on the device of the images; decides seed and epoch too.
        normalize: Bytes to numbers.
        augment: How images are changed; ``None`` leaves them.
        active: Asked at the start of each pass whether to augment.

    Shape:
        - Each item: ``(N, channels, height, width)`` float32, ``(N,)`` int64.
    """

    # Lightning looks for a sampler, or a batch sampler, to call set_epoch on.
    batch_sampler: None = None

    def __init__(
        self,
        images: Tensor,
        order: TensorBatches,
        normalize: Normalize,
        augment: ShiftAndFlip | None = None,
        active: Callable[[], bool] = lambda: True,
    ) -> None:
        self.images, self.order, self.normalize = images, order, normalize
        self.augment, self._active = augment, active

    def __len__(self) -> int:
        return len(self.order)

    @property
    def sampler(self) -> TensorBatches:
        """Where Lightning looks for ``set_epoch``."""
        return self.order

    def set_epoch(self, epoch: int) -> None:
        """Choose order and augmentation of the next pass.

        Raises:
            ValueError: If ``epoch`` is negative.
        """
        self.order.set_epoch(epoch)

    def __iter__(self) -> Iterator[Batch]:
        drawn = None
        if self.augment is not None and self._active():
            drawn = self.augment.draw(len(self.images), self.order.seed, self.order.epoch).to(self.images.device)
        for rows, labels in self.order:
            images = self.images.index_select(0, rows)
            if drawn is not None and self.augment is not None:
                images = self.augment(images, drawn.index_select(0, rows))
            yield self.normalize(images), labels


class MemoryImages(ImageModule):
    """Images that fit in memory, in three parts.

    Equal images are never in two parts, but for those that the published parts share. Mean and deviation of the
    pixels are learned from the training part alone. Bytes are moved to the trainer's device once.

    Args:
        load: Gives the images, and the published test part if there is one; called once, by :meth:`setup`.
        class_names: One name for each class.
        augment: How training images are changed; ``None`` leaves them.
        image_size: Height and width to which images are resized; ``None`` leaves them.
        **options: As for :class:`ImageModule`.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> from functools import partial
        >>> from data.image_files import make_fake
        >>> load = lambda: (make_fake(100, 4, (3, 8, 8)), None)
        >>> module = MemoryImages(load, class_names=tuple("abcd"), name="fake", batch_size=32)
        >>> module.setup()
        >>> x, y = next(iter(module.train_dataloader()))
        >>> x.shape, x.dtype, module.input_shape, module.num_rows("test")
        (torch.Size([32, 3, 8, 8]), torch.float32, (3, 8, 8), 15)
    """

    def __init__(
        self,
        load: Callable[[], tuple[Pictures, Pictures | None]],
        *,
        class_names: tuple[str, ...],
        augment: ShiftAndFlip | None = None,
        image_size: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._load, self._class_names = load, class_names
        self.augment, self.image_size = augment, image_size
        self._parts: dict[str, tuple[Tensor, Tensor]] = {}
        self._normalize: Normalize | None = None

    def setup(self, stage: str | None = None) -> None:
        """Load and split; a second call does nothing.

        Raises:
            ValueError: If the images cannot be split into three parts.
        """
        if self._parts:
            return
        pictures, published = self._load()
        groups = equal_images(pictures.images)
        rest = np.arange(len(pictures))
        parts: dict[str, Pictures] = {}
        val_size = self.val_size
        if published is None:
            rest, held = holdout(pictures.labels, size=self.test_size, seed=self.seed, groups=groups)
            parts["test"] = _select(pictures, held)
            val_size = self.val_size / (1 - self.test_size)
        else:
            parts["test"] = published
        inner = np.unique(groups[rest], return_inverse=True)[1]
        kept, held = holdout(pictures.labels[rest], size=val_size, seed=self.seed, groups=inner)
        parts["train"], parts["val"] = _select(pictures, rest[kept]), _select(pictures, rest[held])
        self._parts = {
            part: (resize(torch.from_numpy(parts[part].images), self.image_size), torch.from_numpy(parts[part].labels))
            for part in PARTS
        }
        self._normalize = Normalize(*channel_statistics(self._parts["train"][0]))
        repeated = len(groups) - int(groups.max()) - 1
        if repeated:
            logger.info("%s: %d of %d images are duplicates.", self.name, repeated, len(groups))

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        channels, height, width = self._part("train")[0].shape[1:]
        return channels, height, width

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name for each class."""
        return self._class_names

    def labels(self, part: str) -> Integers:
        """Classes of a part: ``"train"``, ``"val"`` or ``"test"``."""
        found: Integers = self._part(part)[1].numpy()
        return found

    def images(self, part: str) -> Tensor:
        """Images of a part as bytes: ``(rows, channels, height, width)``."""
        return self._part(part)[0]

    def train_dataloader(self) -> ImageBatches:
        """Shuffled batches of the training part, augmented while training."""
        return self._batches("train", shuffle=True)

    def val_dataloader(self) -> ImageBatches:
        """Batches of the validation part, in a fixed order."""
        return self._batches("val")

    def test_dataloader(self) -> ImageBatches:
        """Batches of the test part, in a fixed order."""
        return self._batches("test")

    def describe(self) -> dict[str, Any]:
        """What was served, in plain values: images and classes of each part, and how pixels are scaled."""
        description = super().describe()
        assert self._normalize is not None
        mean, std = self._normalize.mean, self._normalize.std
        return {**description, "mean": list(mean), "std": list(std), "augment": repr(self.augment)}

    def _batches(self, part: str, shuffle: bool = False) -> ImageBatches:
        images, labels = self._part(part)
        assert self._normalize is not None
        order = self.order(torch.arange(len(labels)), labels, shuffle=shuffle).to(self.device)
        augment = self.augment if part == "train" else None
        return ImageBatches(images.to(self.device), order, self._normalize, augment, self.augments_now)

    def _part(self, part: str) -> tuple[Tensor, Tensor]:
        if not self._parts:
            raise RuntimeError(f"{self.name} is not loaded yet: call setup() first.")
        return self._parts[part]


def equal_images(images: Bytes) -> Integers:
    """A number for each image; equal images have the same one.

    Example:
        >>> equal_images(np.array([[7], [8], [7]], dtype=np.uint8)).tolist()
        [0, 1, 0]
    """
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(image.tobytes(), len(numbers)) for image in images], dtype=np.int64)


def resize(images: Tensor, size: int | None, part: int = 1024) -> Tensor:
    """Images of another height and width, part by part; the same if they have it already.

    Args:
        images: ``(rows, channels, height, width)`` bytes.
        size: Height and width; ``None`` leaves them.
        part: Images that are resized at a time.
    """
    if size is None or tuple(images.shape[-2:]) == (size, size):
        return images
    from torchvision.transforms.v2 import functional

    return torch.cat([functional.resize(some, [size, size], antialias=True) for some in images.split(part)])


def _select(pictures: Pictures, rows: Integers) -> Pictures:
    return Pictures(pictures.images[rows], pictures.labels[rows])
