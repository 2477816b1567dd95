"""The registry: the name of a data set -> its data module."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from data.cache import DataError
from data.dataset_info import DatasetInfo
from data.datasets import (
    DATASETS,
    check_available,
    check_flag,
    check_options,
    get_info,
    load_table,
)
from data.images.arrays import Pictures, load_pictures, make_fake
from data.images.catalog import IMAGE_SOURCES
from data.images.folders import Corrupt, chosen_corrupt
from data.splitting import check_sizes

if TYPE_CHECKING:
    from data.datamodules import TabularDataModule
    from data.images.module import ImageModule

__all__ = ["DATASETS", "DataError", "DatasetInfo", "check_available", "get_info", "make_datamodule"]

SHARE = 0.15
"""Of validation and of test, where neither the caller nor the data set says otherwise."""


def make_datamodule(
    name: str,
    *,
    batch_size: int | None = None,
    seed: int = 42,
    val_size: float | None = None,
    test_size: float | None = None,
    num_points: int = 1000,
    noise: float = 0.1,
    as_images: bool = False,
    data_dir: str | os.PathLike[str] | None = None,
    image_size: int | None = None,
    augment: bool = True,
    num_classes: int = 10,
    channels: int = 3,
    num_workers: int | None = None,
    corrupt: str = Corrupt.SKIP,
) -> TabularDataModule | ImageModule:
    """The data module of a named data set. Nothing is loaded before its ``setup``.

    Every module has ``input_shape``, ``num_classes``, ``class_names``, ``num_rows(part)``, ``describe()`` and three
    loaders of float inputs and class numbers, on the device of its trainer, each process with its slice of each batch.

    Args:
        name: One of :data:`DATASETS`.
        batch_size: Rows of a batch over all processes; ``None`` for all rows.
        seed: Of generated points, of the split, of the order of batches and of augmentation.
        val_size: Share of the validation part; ``None`` for 0.15, or less for a large set of images (0.1; 0.02 of
            imagenet). Of the training images if the set has a published test part.
        test_size: Share of the test part; ``None`` for 0.15. A published test part stays as it is.
        num_points: Rows of a generated set; others take no notice of it.
        noise: Standard deviation of a generated set's noise; others take no notice of it.
        as_images: Serve ``digits`` as ``(1, 8, 8)`` images; the other sets of images are always served so.
        data_dir: Cache folder; ``None`` for JUMPSTART_DATA_DIR, else the user's cache folder.
        image_size: Height and width of images; ``None`` for the set's own. ``digits`` are resized with and without
            ``as_images``.
        augment: Whether training images are changed at random, as is usual for the set: ``digits``, of 8 pixels, never
            are. Tables take no notice of this and of what follows.
        num_classes: Classes of ``fake``.
        channels: Channels of ``fake``.
        num_workers: Processes that decode images from folders; ``None`` for one less than there are cores for this
            process, at most 12. Sets in memory need none.
        corrupt: ``"skip"`` puts another image of the class in the place of one that cannot be decoded, and logs how
            many; ``"refuse"`` decodes every image once before training. Images in folders alone.

    Raises:
        ValueError: If there is no data set of that name, or an argument is out of range.
        TypeError: If ``as_images`` or ``augment`` is neither True nor False.

    Example:
        >>> module = make_datamodule("moons", num_points=100)
        >>> module.setup()
        >>> module.num_rows("train"), module.input_shape, module.num_classes
        (70, (2,), 2)
        >>> make_datamodule("fake", image_size=8, num_classes=3, channels=1).name
        'fake'
    """
    info = get_info(name)
    check_options(name, num_points=num_points, noise=noise, as_images=as_images, image_size=image_size)
    check_flag("augment", augment)
    source = IMAGE_SOURCES.get(name)
    val_size = (SHARE if source is None else source.val_size) if val_size is None else val_size
    test_size = SHARE if test_size is None else test_size
    check_sizes(val_size, test_size)
    shared: dict[str, Any] = {
        "name": name,
        "prepare": partial(check_available, name, data_dir),
        "batch_size": batch_size,
        "seed": seed,
        "val_size": val_size,
        "test_size": test_size,
    }
    if source is not None:
        _check_images(num_classes, channels, num_workers)
        how = chosen_corrupt(corrupt)
        if source.folders:
            return _folder_images(name, image_size, augment, num_workers, how, data_dir, shared)
        if name == "fake":
            _check_points(num_points, min(val_size, test_size, 1 - val_size - test_size), num_classes)
        return _memory_images(
            name, image_size, augment, data_dir, shared, (num_points, num_classes, channels, float(noise), seed)
        )
    # Imported here so that the list of data sets can be had without torch.
    from data.datamodules import TabularDataModule

    if info.source == "generated":
        _check_points(num_points, min(val_size, test_size, 1 - val_size - test_size), info.classes)
    else:
        check_sizes(val_size, test_size, info.rows)
    load = partial(
        load_table,
        name,
        num_points=num_points,
        noise=noise,
        seed=seed,
        as_images=as_images,
        image_size=image_size,
        data_dir=data_dir,
    )
    return TabularDataModule(load, **shared)


def _memory_images(
    name: str,
    image_size: int | None,
    augment: bool,
    data_dir: str | os.PathLike[str] | None,
    shared: dict[str, Any],
    fake: tuple[int, int, int, float, int],
) -> ImageModule:
    from data.images.augment import ShiftAndFlip
    from data.images.in_memory import MemoryImages

    source = IMAGE_SOURCES[name]
    names = source.class_names
    load: Callable[[], tuple[Pictures, Pictures | None]] = partial(load_pictures, name, data_dir)
    if name == "fake":
        rows, num_classes, channels, noise, seed = fake
        names = tuple(str(i) for i in range(num_classes))
        side = image_size or source.shape[1]
        load = partial(_fake, rows, num_classes, (channels, side, side), noise=noise, seed=seed)
    return MemoryImages(
        load,
        class_names=names,
        augment=ShiftAndFlip(source.padding, source.flip) if augment else None,
        image_size=image_size,
        **shared,
    )


def _folder_images(
    name: str,
    image_size: int | None,
    augment: bool,
    num_workers: int | None,
    corrupt: Corrupt,
    data_dir: str | os.PathLike[str] | None,
    shared: dict[str, Any],
) -> ImageModule:
    from data.images.in_folders import FolderImages

    return FolderImages(
        data_dir=data_dir,
        image_size=image_size or IMAGE_SOURCES[name].shape[1],
        augment=augment,
        num_workers=num_workers,
        corrupt=corrupt,
        **shared,
    )


def _fake(*args: Any, **options: Any) -> tuple[Any, None]:
    return make_fake(*args, **options), None


def _check_images(num_classes: int, channels: int, num_workers: int | None) -> None:
    for name, value, least in (
        ("num_classes", num_classes, 2),
        ("channels", channels, 1),
        ("num_workers", 0 if num_workers is None else num_workers, 0),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} must be an integer >= {least}, got {value!r}.")


def _check_points(num_points: int, share: float, classes: int) -> None:
    least = math.ceil(classes / share - 1e-9)
    if num_points < least:
        raise ValueError(f"num_points must be >= {least} to give each part a point of each class, got {num_points}.")
