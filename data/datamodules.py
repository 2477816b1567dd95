"""Tables and images in memory as ``LightningDataModule``."""

from __future__ import annotations

from typing import TypeAlias

from pytorch_lightning import LightningDataModule

from data.batches import TensorBatches
from data.images.in_memory import MemoryImageData
from data.images.module import ImageModule
from data.split_module import SplitDataModule
from data.tabular import TabularData

__all__ = ["AnyModule", "MemoryImages", "TabularDataModule", "as_datamodule"]


class TabularDataModule(TabularData, SplitDataModule[TensorBatches]):
    """A table in three parts as a ``LightningDataModule``: :class:`~data.tabular.TabularData` for a trainer.

    Example:
        >>> from functools import partial
        >>> from data.datasets import load_table
        >>> module = TabularDataModule(partial(load_table, "iris"), name="iris", batch_size=32)
        >>> module.setup()
        >>> module.input_shape, module.num_classes, len(module.train_dataloader())
        ((4,), 3, 4)
    """


class MemoryImages(MemoryImageData, ImageModule):
    """Images in memory as a ``LightningDataModule``: :class:`~data.images.in_memory.MemoryImageData` for a trainer.

    Example:
        >>> from data.images.arrays import make_fake
        >>> load = lambda: (make_fake(100, 4, (3, 8, 8)), None)
        >>> module = MemoryImages(load, class_names=tuple("abcd"), name="fake", batch_size=32)
        >>> module.setup()
        >>> x, y = next(iter(module.train_dataloader()))
        >>> x.shape, x.dtype, module.input_shape, module.num_rows("test")
        (torch.Size([32, 3, 8, 8]), torch.float32, (3, 8, 8), 15)
    """


AnyModule: TypeAlias = TabularDataModule | ImageModule
"""A data module of a table or of images."""


def as_datamodule(data: TabularData | MemoryImageData | ImageModule) -> AnyModule:
    """A data set as a ``LightningDataModule``, which shares what is already loaded.

    Args:
        data: The data set; a data module is returned as it is.

    Example:
        >>> from data.data import make_data
        >>> as_datamodule(make_data("iris", batch_size=32))
        <data.datamodules.TabularDataModule object at ...>
    """
    if isinstance(data, AnyModule):
        return data
    made: type[TabularDataModule | MemoryImages] = TabularDataModule if isinstance(data, TabularData) else MemoryImages
    module = made.__new__(made)
    LightningDataModule.__init__(module)
    vars(module).update(vars(data))
    return module
