"""Sets of images in folders, served as bytes that workers decode and the device normalizes."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypedDict, TypeVar, Unpack

import numpy as np
import torch
from torch.utils.data import DataLoader

from data.batches import Batch, OrderedBatches, TensorBatches, private_generator
from data.cache import DataDir, DataError, cache_folder
from data.images.augment import Normalize
from data.images.catalog import IMAGENET_MEAN, IMAGENET_STD
from data.images.decode import Decoded, FolderDataset, Key, refuse_unreadable
from data.images.folders import Corrupt, Listing, find_folders, list_images
from data.images.image_data import ImageDescription
from data.images.module import ImageModule
from data.images.transforms import Transforms, check_outputs, name_of
from data.split_data import SplitOptions
from data.splitting import PARTS, holdout
from data.tables import Integers

logger = logging.getLogger(__name__)

T = TypeVar("T")

_NO_TRANSFORMS = Transforms()

MOST_WORKERS = 12
"""Most workers of a loader, unless the caller chooses a number."""


class _Keys:
    """Keys of the batches of one pass, in the place of a sampler: epoch, whether to augment, row numbers."""

    def __init__(self, order: TensorBatches, augment: Callable[[], bool]) -> None:
        self._order, self._augment = order, augment

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Key]:
        epoch, augment = self._order.epoch, self._augment()
        for rows, _ in self._order:
            yield epoch, augment, rows.tolist()


class FolderBatches(OrderedBatches):
    """Files that workers decode, served as batches of float images on a device.

    Args:
        dataset: Decoder of a batch.
        order: Batches of row numbers; holds the seed and the epoch.
        normalize: Conversion from bytes to floats.
        device: Device of the batches.
        augment: Function that is called at the start of each pass and returns whether to augment.
        num_workers: Number of processes that decode; 0 to decode in this process.
        name: Name of the part, for messages.

    Shape:
        - Each item: ``(N, 3, size, size)`` float32, ``(N,)`` int64.

    Raises:
        DataError: While batches are drawn: if an image is refused, or no image of a class can be decoded.
    """

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
        super().__init__(order)
        self.dataset, self.normalize = dataset, normalize
        self.device, self.name = device, name
        self._loader: DataLoader[Decoded] = DataLoader(
            dataset,
            batch_size=None,
            sampler=_Keys(order, augment),
            collate_fn=_unchanged,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=device.type == "cuda",
            # The loader draws a seed for its workers, which do not use it; without a generator, the draw would change
            # the global one.
            generator=private_generator(order.seed),
        )

    @property
    def num_workers(self) -> int:
        """Number of processes that decode."""
        return int(self._loader.num_workers)

    def __iter__(self) -> Iterator[Batch]:
        try:
            for images, labels, error in self._loader:
                if error:
                    raise DataError(error)
                images = images.to(self.device, non_blocking=True)
                if images.dtype == torch.uint8:
                    images = self.normalize(images.permute(0, 3, 1, 2))
                yield images, labels.to(self.device, non_blocking=True)
        finally:
            self._warn_of_substitutes()

    def _warn_of_substitutes(self) -> None:
        unreadable = self.dataset.unreadable.nonzero().flatten()
        if len(unreadable):
            logger.warning(
                "%d of %d images of the %s part cannot be decoded, such as %s: others of their class replace them.",
                len(unreadable),
                len(self.dataset),
                self.name,
                self.dataset.listing.path(int(unreadable[0])),
            )


class FolderDescription(ImageDescription):
    """The description of a data module of images in folders, in values that JSON can hold.

    ``unreadable`` counts the images of each part that could not be decoded so far.
    """

    unreadable: dict[str, int]


class FolderOptions(TypedDict, total=False):
    """Arguments of :class:`FolderImages` that every set in folders accepts, all optional."""

    data_dir: DataDir
    augment: bool
    num_workers: int | None
    corrupt: Corrupt
    transforms: Transforms


class FolderImages(ImageModule):
    """Images in folders of classes, in three parts; the published validation images are the test part.

    Training images are cropped at random (area, shape and place, mirrored half of the time), all others at their
    center. Order and crops of an epoch depend on seed and epoch alone, so that a resumed run continues with the same
    batches for any number of workers.

    Args:
        name: ``"imagenet"`` or ``"imagenette"``.
        data_dir: Cache folder; ``None`` for JUMPSTART_DATA_DIR, else the user's cache folder.
        image_size: Height and width of the images that are served.
        augment: Whether training images are cropped at random.
        num_workers: Number of processes that decode for each loader; ``None`` for :func:`default_workers`.
        corrupt: Treatment of images that cannot be decoded.
        transforms: Transforms of the user, in place of the crops.
        **options: Other arguments of :class:`~data.split_data.SplitData`.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        *,
        data_dir: DataDir = None,
        image_size: int = 224,
        augment: bool = True,
        num_workers: int | None = None,
        corrupt: Corrupt = Corrupt.SKIP,
        transforms: Transforms = _NO_TRANSFORMS,
        **options: Unpack[SplitOptions],
    ) -> None:
        super().__init__(**options)
        self.data_dir, self.image_size, self.augment = data_dir, image_size, augment
        self.num_workers, self.corrupt, self.transforms = num_workers, corrupt, transforms
        self._shape = (3, image_size, image_size)
        self._class_names: tuple[str, ...] = ()
        self._parts: dict[str, FolderDataset] = {}
        self._normalize = Normalize(IMAGENET_MEAN, IMAGENET_STD)

    def prepare(self) -> None:
        """Find the folders, or download them; with ``corrupt="refuse"``, decode every image once.

        Raises:
            DataError: If the folders are missing, or an image cannot be decoded and ``corrupt`` is ``"refuse"``.
        """
        super().prepare()
        if self.corrupt is Corrupt.REFUSE:
            listings, _ = self._list_parts()
            refuse_unreadable(list(listings.values()), cache_folder(self.data_dir) / "checked", max(1, self._workers()))

    def _list_parts(self) -> tuple[dict[str, Listing], tuple[str, ...]]:
        """The files of each part, and the names of the classes."""
        train, test, class_names = list_images(find_folders(self.name, self.data_dir))
        kept, held = holdout(train.labels, size=self.val_size, seed=self.split_seed)
        # Row numbers are sorted so that files of a folder are read one after the other.
        return {"train": train.select(np.sort(kept)), "val": train.select(np.sort(held)), "test": test}, class_names

    def _load_parts(self) -> None:
        listings, self._class_names = self._list_parts()
        self._shape = (3, self.image_size, self.image_size)
        if self.transforms:
            first = self._dataset(listings["train"])
            with torch.random.fork_rng(devices=[]):
                train, evaluation = (first.output(0, 0, augment) for augment in (True, False))
            self._shape = check_outputs(train, evaluation, channels=3)
            self.transforms = replace(self.transforms, shape=self._shape)
        self._parts = {part: self._dataset(listings[part]) for part in PARTS}

    def _dataset(self, listing: Listing) -> FolderDataset:
        return FolderDataset(listing, self.image_size, self.seed, self.corrupt, self.transforms)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        return self._shape

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each class, which is that of its folder."""
        self._check_set_up()
        return self._class_names

    def labels(self, part: str) -> Integers:
        """Class numbers of a part (``"train"``, ``"val"`` or ``"test"``), in its fixed order: ``(rows,)``."""
        return self.dataset(part).listing.labels

    def dataset(self, part: str) -> FolderDataset:
        """Files of a part, and their decoder.

        Raises:
            RuntimeError: Before :meth:`setup`.
        """
        self._check_set_up()
        return self._parts[part]

    def describe(self) -> FolderDescription:
        """A description of the data: images and classes of each part, and the images that cannot be decoded."""
        return {
            **super().describe(),
            "mean": list(self._normalize.mean),
            "std": list(self._normalize.std),
            "augment": self._augmentation(),
            "unreadable": {part: int(dataset.unreadable.sum()) for part, dataset in self._parts.items()},
        }

    def batches(self, part: str, *, shuffle: bool = False) -> FolderBatches:
        """Batches of a part, decoded by workers. Only training images are augmented.

        Args:
            part: ``"train"``, ``"val"`` or ``"test"``.
            shuffle: Whether each epoch has a new order, which depends on seed and epoch alone.

        Raises:
            RuntimeError: Before :meth:`setup`.
        """
        dataset = self.dataset(part)
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

    def _augmentation(self) -> str:
        if not self.augment:
            return "None"
        return name_of(self.transforms.train) if self.transforms.train else "RandomResizedCrop, RandomHorizontalFlip"

    def _augments_training(self) -> bool:
        return self.augment and self.augments_now()

    def _workers(self) -> int:
        if self.num_workers is not None:
            return self.num_workers
        return default_workers(1 if self.trainer is None else self.trainer.num_devices)


def default_workers(processes: int = 1) -> int:
    """Workers of each training process: one less than its share of the cores, at most :data:`MOST_WORKERS`.

    Args:
        processes: Number of training processes on this machine.

    Example:
        >>> 0 <= default_workers(2) <= default_workers() <= MOST_WORKERS
        True
    """
    # A batch system may assign a job only some of the cores.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(0, min(cores // processes - 1, MOST_WORKERS))


def _unchanged(decoded: T) -> T:
    return decoded


def _never() -> bool:
    return False
