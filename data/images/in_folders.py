"""How images in folders are served: decoded in workers, sent as bytes, normalized on the device."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from data.batches import Batch, TensorBatches
from data.cache import DataError, cache_folder
from data.images.augment import Normalize, private_generator
from data.images.catalog import IMAGENET_MEAN, IMAGENET_STD
from data.images.decode import Decoded, FolderDataset, Key, refuse_unreadable
from data.images.folders import Corrupt, Listing, find_folders, list_images
from data.images.module import ImageModule
from data.splitting import PARTS, holdout
from data.tables import Integers

logger = logging.getLogger(__name__)

MOST_WORKERS = 12


class _Keys:
    """What a loader asks its data set for, batch by batch: epoch, whether to augment, rows."""

    def __init__(self, order: TensorBatches, augment: Callable[[], bool]) -> None:
        self._order, self._augment = order, augment

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Key]:
        epoch, augment = self._order.epoch, self._augment()
        for rows, _ in self._order:
            yield epoch, augment, rows.tolist()


class FolderBatches:
    """Batches of float images on a device, from files that workers decode.

    Args:
        dataset: Decodes a batch.
        order: Batches of row numbers; decides seed and epoch.
        normalize: Bytes to numbers.
        device: Where batches go.
        augment: Asked at the start of each pass whether to augment.
        num_workers: Processes that decode; 0 for this one.
        name: Of the part, for messages.

    Shape:
        - Each item: ``(N, 3, size, size)`` float32, ``(N,)`` int64.

    Raises:
        DataError: While batches are drawn: if an image is refused, or no image of a class can be decoded.
    """

    # Lightning looks for a sampler, or a batch sampler, to call set_epoch on.
    batch_sampler: None = None

    def __init__(
        self,
        dataset: FolderDataset,
        order: TensorBatches,
        normalize: Normalize,
        *,
        device: torch.device,
        augment: Callable[[], bool],
        num_workers: int = 0,
        name: str = "training",
    ) -> None:
        self.dataset, self.order, self.normalize = dataset, order, normalize
        self.device, self.name = device, name
        self._loader: DataLoader[Decoded] = DataLoader(
            dataset,
            batch_size=None,
            sampler=_Keys(order, augment),
            collate_fn=_as_it_is,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=device.type == "cuda",
            # The seed of the workers: they need none, but it would be drawn from the global generator.
            generator=private_generator(order.seed),
        )

    def __len__(self) -> int:
        return len(self.order)

    @property
    def num_workers(self) -> int:
        """Processes that decode."""
        return int(self._loader.num_workers)

    @property
    def sampler(self) -> TensorBatches:
        """Where Lightning looks for ``set_epoch``."""
        return self.order

    def set_epoch(self, epoch: int) -> None:
        """Choose order and crops of the next pass.

        Raises:
            ValueError: If ``epoch`` is negative.
        """
        self.order.set_epoch(epoch)

    def __iter__(self) -> Iterator[Batch]:
        try:
            for images, labels, fault in self._loader:
                if fault:
                    raise DataError(fault)
                images = images.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
                yield self.normalize(images), labels.to(self.device, non_blocking=True)
        finally:
            self._report()

    def _report(self) -> None:
        bad = self.dataset.unreadable.nonzero().flatten()
        if len(bad):
            logger.warning(
                "%d of %d images of the %s part cannot be decoded, such as %s: others of their class stood in.",
                len(bad),
                len(self.dataset),
                self.name,
                self.dataset.listing.path(int(bad[0])),
            )


class FolderImages(ImageModule):
    """Images in folders of classes, in three parts; the published validation images are the test part.

    Training images are cropped at random (area, shape and place, mirrored half of the time), all others at their
    center. An epoch's order and crops depend on seed and epoch alone: a resumed run goes on with the same, whatever
    its number of workers.

    Args:
        name: ``"imagenet"`` or ``"imagenette"``.
        data_dir: Cache folder; ``None`` for JUMPSTART_DATA_DIR, else the user's cache folder.
        image_size: Height and width that are served.
        augment: Whether training images are cropped at random.
        num_workers: Processes that decode for each loader; ``None`` for :func:`default_workers`.
        corrupt: What is done about images that cannot be decoded.
        **options: As for :class:`~data.images.ImageModule`.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        *,
        name: str,
        data_dir: str | os.PathLike[str] | None = None,
        image_size: int = 224,
        augment: bool = True,
        num_workers: int | None = None,
        corrupt: Corrupt = Corrupt.SKIP,
        **options: Any,
    ) -> None:
        super().__init__(name=name, **options)
        self.data_dir, self.image_size, self.augment = data_dir, image_size, augment
        self.num_workers, self.corrupt = num_workers, corrupt
        self._class_names: tuple[str, ...] = ()
        self._parts: dict[str, FolderDataset] = {}
        self._normalize = Normalize(IMAGENET_MEAN, IMAGENET_STD)

    def prepare_data(self) -> None:
        """Find the folders, or download them; with ``corrupt="refuse"``, decode every image once.

        Raises:
            DataError: If the folders are not there, or an image is refused.
        """
        super().prepare_data()
        if self.corrupt is Corrupt.REFUSE:
            train, test, _ = list_images(find_folders(self.name, self.data_dir))
            refuse_unreadable((train, test), cache_folder(self.data_dir) / "checked", max(1, self._workers()))

    def setup(self, stage: str | None = None) -> None:
        """List the files and split them; a second call does nothing.

        Raises:
            DataError: If the folders are not there, or not laid out as they should be.
            ValueError: If the images cannot be split.
        """
        if self._parts:
            return
        train, test, self._class_names = list_images(find_folders(self.name, self.data_dir))
        kept, held = holdout(train.labels, size=self.val_size, seed=self.seed)
        # In the order of the folders: held-out images are read one after the other.
        parts: dict[str, Listing] = {
            "train": train.select(np.sort(kept)),
            "val": train.select(np.sort(held)),
            "test": test,
        }
        self._parts = {part: FolderDataset(parts[part], self.image_size, self.seed, self.corrupt) for part in PARTS}

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        return 3, self.image_size, self.image_size

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name for each class: that of its folder."""
        self._dataset("train")
        return self._class_names

    def labels(self, part: str) -> Integers:
        """Classes of a part: ``"train"``, ``"val"`` or ``"test"``."""
        return self._dataset(part).listing.labels

    def train_dataloader(self) -> FolderBatches:
        """Shuffled batches of the training part, augmented while training."""
        return self._batches("train", shuffle=True)

    def val_dataloader(self) -> FolderBatches:
        """Batches of the validation part, in a fixed order."""
        return self._batches("val")

    def test_dataloader(self) -> FolderBatches:
        """Batches of the test part, in a fixed order."""
        return self._batches("test")

    def describe(self) -> dict[str, Any]:
        """What was served, in plain values: images and classes of each part, and those that could not be decoded."""
        return {
            **super().describe(),
            "mean": list(self._normalize.mean),
            "std": list(self._normalize.std),
            "augment": "RandomResizedCrop, RandomHorizontalFlip" if self.augment else "None",
            "unreadable": {part: int(data.unreadable.sum()) for part, data in self._parts.items()},
        }

    def _batches(self, part: str, shuffle: bool = False) -> FolderBatches:
        dataset = self._dataset(part)
        order = self.order(torch.arange(len(dataset)), torch.from_numpy(dataset.listing.labels), shuffle=shuffle)
        return FolderBatches(
            dataset,
            order,
            self._normalize,
            device=self.device,
            augment=self._augments_training if part == "train" else _never,
            num_workers=self._workers(),
            name=part,
        )

    def _augments_training(self) -> bool:
        return self.augment and self.augments_now()

    def _workers(self) -> int:
        if self.num_workers is not None:
            return self.num_workers
        return default_workers(1 if self.trainer is None else self.trainer.num_devices)

    def _dataset(self, part: str) -> FolderDataset:
        if not self._parts:
            raise RuntimeError(f"{self.name} is not loaded yet: call setup() first.")
        return self._parts[part]


def default_workers(processes: int = 1) -> int:
    """Workers of each of so many training processes on this machine: one less than its share of the cores, at most
    :data:`MOST_WORKERS`.

    Example:
        >>> 0 <= default_workers(2) <= default_workers() <= MOST_WORKERS
        True
    """
    # Batch systems give a job a part of the machine.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(0, min(cores // processes - 1, MOST_WORKERS))


def _as_it_is(decoded: Any) -> Any:
    return decoded


def _never() -> bool:
    return False
