"""The registry: the name of a data set -> its data module."""

from __future__ import annotations

import math
import os
from functools import partial
from typing import TYPE_CHECKING

from data.datasets import (
    DATASETS,
    DatasetInfo,
    check_available,
    check_options,
    get_info,
    load_table,
)
from data.download import DataError
from data.splitting import check_sizes

if TYPE_CHECKING:
    from data.datamodules import TabularDataModule

__all__ = ["DATASETS", "DataError", "DatasetInfo", "check_available", "get_info", "make_datamodule"]


def make_datamodule(
    name: str,
    *,
    batch_size: int | None = None,
    seed: int = 42,
    val_size: float = 0.15,
    test_size: float = 0.15,
    num_points: int = 1000,
    noise: float = 0.1,
    as_images: bool = False,
    data_dir: str | os.PathLike[str] | None = None,
) -> TabularDataModule:
    """The data module of a named data set. Nothing is loaded before its ``setup``.

    Args:
        name: One of :data:`DATASETS`.
        batch_size: Rows of a batch; ``None`` for all rows.
        seed: Of generated points, of the split and of the order of batches.
        val_size: Share of the validation part.
        test_size: Share of the test part.
        num_points: Rows of a generated set; others take no notice of it.
        noise: Standard deviation of a generated set's noise; others take no notice of it.
        as_images: Serve ``digits`` as ``(1, 8, 8)`` images.
        data_dir: Cache folder; ``None`` for JUMPSTART_DATA_DIR, else the user's cache folder.

    Raises:
        ValueError: If there is no data set of that name, or an argument is out of range.

    Example:
        >>> module = make_datamodule("moons", num_points=100)
        >>> module.setup()
        >>> module.x_train.shape, module.num_classes
        (torch.Size([70, 2]), 2)
    """
    # Imported here so that the list of data sets can be had without torch.
    from data.datamodules import TabularDataModule

    info = get_info(name)
    check_options(name, num_points=num_points, noise=noise, as_images=as_images)
    check_sizes(val_size, test_size)
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
        data_dir=data_dir,
    )
    return TabularDataModule(
        load,
        name=name,
        prepare=partial(check_available, name, data_dir),
        batch_size=batch_size,
        seed=seed,
        val_size=val_size,
        test_size=test_size,
    )


def _check_points(num_points: int, share: float, classes: int) -> None:
    least = math.ceil(classes / share - 1e-9)
    if num_points < least:
        raise ValueError(f"num_points must be >= {least} to give each part a point of each class, got {num_points}.")
