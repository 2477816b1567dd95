"""The data module that all image data sets share."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from data.batches import TensorBatches, check_batch_size
from data.splitting import PARTS, check_seed
from data.tables import Integers


class ImageModule(pl.LightningDataModule, abc.ABC):
    """What all modules of images share. Loaders serve float images on the trainer's device.

    Augmentation is for training: a training loader that is read while the trainer tests or validates serves images as
    the other loaders do.

    Args:
        name: Of the data set, for messages and :meth:`describe`.
        prepare: Called by Lightning in one process before any is set up, e.g. to fill the cache.
        batch_size: Images of a batch over all processes; ``None`` for all of them.
        seed: Of the split, the order and the augmentation.
        val_size: Share of the validation part: of all images if the set is split three ways, of the training images
            if its test part is published.
        test_size: Share of the test part of a set that is split three ways.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        *,
        name: str,
        prepare: Callable[[], object] | None = None,
        batch_size: int | None = None,
        seed: int = 42,
        val_size: float = 0.15,
        test_size: float = 0.15,
    ) -> None:
        super().__init__()
        check_batch_size(batch_size)
        check_seed(seed)
        self.name: str = name
        self.batch_size, self.seed = batch_size, int(seed)
        self.val_size, self.test_size = float(val_size), float(test_size)
        self._prepare = prepare

    def prepare_data(self) -> None:
        """Fill the cache, if the data set has one."""
        if self._prepare is not None:
            self._prepare()

    @abc.abstractmethod
    def setup(self, stage: str | None = None) -> None:
        """Load and split; a second call does nothing."""

    @property
    @abc.abstractmethod
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""

    @property
    @abc.abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """One name for each class."""

    @abc.abstractmethod
    def labels(self, part: str) -> Integers:
        """Classes of a part: ``"train"``, ``"val"`` or ``"test"``."""

    @property
    def num_classes(self) -> int:
        """Classes."""
        return len(self.class_names)

    def num_rows(self, part: str = "train") -> int:
        """Images of a part: ``"train"``, ``"val"`` or ``"test"``."""
        return len(self.labels(part))

    def describe(self) -> dict[str, Any]:
        """What was served, in plain values: images and classes of each part."""
        counts = {part: np.bincount(self.labels(part), minlength=self.num_classes).tolist() for part in PARTS}
        return {
            "dataset": self.name,
            "rows": sum(map(sum, counts.values())),
            "features": int(np.prod(self.input_shape)),
            "inputs": int(np.prod(self.input_shape)),
            "input_shape": list(self.input_shape),
            "classes": self.num_classes,
            "class_names": list(self.class_names),
            "seed": self.seed,
            "parts": {part: {"rows": sum(count), "class_counts": count} for part, count in counts.items()},
        }

    def order(self, rows: Tensor, labels: Tensor, *, shuffle: bool) -> TensorBatches:
        """Batches of row numbers for this process, seeded."""
        trainer = self.trainer
        return TensorBatches(
            rows,
            labels,
            self.batch_size,
            shuffle,
            self.seed,
            rank=0 if trainer is None else trainer.global_rank,
            world_size=1 if trainer is None else trainer.world_size,
        )

    @property
    def device(self) -> torch.device:
        """The trainer's device; the CPU without one."""
        return torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device

    def augments_now(self) -> bool:
        """Whether a training loader that is read now serves augmented images."""
        return self.trainer is None or bool(self.trainer.training)
