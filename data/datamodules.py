"""How a data set is served: split, encoded, and in whole-tensor batches."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from data.batches import TensorBatches, check_batch_size
from data.encoding import Encoder
from data.splitting import PARTS, Split, check_seed, check_sizes, stratified_split
from data.tables import Integers, Table

__all__ = ["TabularDataModule", "TensorBatches"]

logger = logging.getLogger(__name__)


class TabularDataModule(pl.LightningDataModule):
    """A table in three parts, ready for a network.

    Rows with the same features are never in two parts. Medians, scales and categories are learned
    from the training part alone. Batches are slices of whole tensors; under a distributed trainer
    each process is given its slice of each batch, and tensors are moved to the trainer's device
    once.

    Args:
        load: Gives the table; called once, by :meth:`setup`.
        name: Of the data set, for messages and :meth:`describe`.
        prepare: Called by Lightning in one process before any is set up, e.g. to fill the cache.
        batch_size: Rows of a training batch over all processes; ``None`` for all of them. Held-out
            parts are served in batches of this size too.
        seed: Of the split and of the order of batches.
        val_size: Share of the validation part.
        test_size: Share of the test part.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> from functools import partial
        >>> from data.datasets import load_table
        >>> module = TabularDataModule(partial(load_table, "iris"), name="iris", batch_size=32)
        >>> module.setup()
        >>> module.input_shape, module.num_classes, len(module.train_dataloader())
        ((4,), 3, 4)
    """

    def __init__(
        self,
        load: Callable[[], Table],
        *,
        name: str = "table",
        prepare: Callable[[], object] | None = None,
        batch_size: int | None = None,
        seed: int = 42,
        val_size: float = 0.15,
        test_size: float = 0.15,
    ) -> None:
        super().__init__()
        check_batch_size(batch_size)
        check_sizes(val_size, test_size)
        check_seed(seed)
        self.name: str = name
        self.batch_size, self.seed = batch_size, int(seed)
        self.val_size, self.test_size = float(val_size), float(test_size)
        self._load, self._prepare = load, prepare
        self._table: Table | None = None
        self._split: Split | None = None
        self._groups: Integers = np.zeros(0, dtype=np.int64)
        self._names: tuple[str, ...] = ()
        self._parts: dict[str, tuple[Tensor, Tensor]] = {}

    def prepare_data(self) -> None:
        """Fill the cache, if the data set has one."""
        if self._prepare is not None:
            self._prepare()

    def setup(self, stage: str | None = None) -> None:
        """Load, split and encode; a second call does nothing.

        Raises:
            ValueError: If the table cannot be split into three parts.
        """
        if self._parts:
            return
        table = self._load()
        check_sizes(self.val_size, self.test_size, len(table))
        self._groups = table.groups()
        split = stratified_split(
            table.labels,
            self._groups,
            val_size=self.val_size,
            test_size=self.test_size,
            seed=self.seed,
        )
        encoder = Encoder(table, split.train)
        self._names = encoder.names
        self._parts = {
            part: (
                torch.from_numpy(encoder.encode(table, rows)),
                torch.from_numpy(table.labels[rows]),
            )
            for part, rows in zip(PARTS, (split.train, split.val, split.test), strict=True)
        }
        self._table, self._split = table, split
        if split.kept_in_train:
            names = ", ".join(table.class_names[c] for c in split.kept_in_train)
            logger.info(
                "%s: classes in fewer than three distinct rows stay in training: %s.",
                self.name,
                names,
            )
        if self.num_duplicates:
            logger.info("%s: %d of %d rows are duplicates.", self.name, self.num_duplicates, len(table))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input: ``(features,)``, or ``(channels, height, width)``."""
        return tuple(self.x_train.shape[1:])

    def num_rows(self, part: str = "train") -> int:
        """Rows of a part: ``"train"``, ``"val"`` or ``"test"``."""
        return len(self._part(part)[1])

    @property
    def num_features(self) -> int:
        """Numbers in one input, after categories are encoded."""
        return self.x_train[0].numel()

    @property
    def feature_names(self) -> tuple[str, ...]:
        """One name for each number in an input."""
        self._ready()
        return self._names

    @property
    def num_classes(self) -> int:
        """Classes, also those that are in training alone."""
        return len(self.class_names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name for each class."""
        return self._ready().class_names

    @property
    def num_duplicates(self) -> int:
        """Rows whose features an earlier row has, too, whatever their class."""
        return len(self._ready()) - len(np.unique(self._groups))

    @property
    def x_train(self) -> Tensor:
        """Training inputs, float32."""
        return self._part("train")[0]

    @property
    def y_train(self) -> Tensor:
        """Training classes, int64."""
        return self._part("train")[1]

    @property
    def x_val(self) -> Tensor:
        """Validation inputs, float32."""
        return self._part("val")[0]

    @property
    def y_val(self) -> Tensor:
        """Validation classes, int64."""
        return self._part("val")[1]

    @property
    def x_test(self) -> Tensor:
        """Test inputs, float32."""
        return self._part("test")[0]

    @property
    def y_test(self) -> Tensor:
        """Test classes, int64."""
        return self._part("test")[1]

    def train_dataloader(self) -> TensorBatches:
        """Shuffled batches of the training part."""
        return self._batches("train", shuffle=True)

    def val_dataloader(self) -> TensorBatches:
        """Batches of the validation part, in a fixed order."""
        return self._batches("val")

    def test_dataloader(self) -> TensorBatches:
        """Batches of the test part, in a fixed order."""
        return self._batches("test")

    def describe(self) -> dict[str, Any]:
        """What was served, in plain values: rows and classes of each part, duplicates, gaps."""
        table, split = self._ready(), self._split
        assert split is not None
        classes = np.zeros((int(self._groups.max()) + 1, self.num_classes), dtype=bool)
        classes[self._groups, table.labels] = True
        return {
            "dataset": self.name,
            "rows": len(table),
            "features": table.num_features,
            "inputs": self.num_features,
            "input_shape": list(self.input_shape),
            "classes": self.num_classes,
            "class_names": list(table.class_names),
            "seed": self.seed,
            "parts": {
                part: {
                    "rows": len(y),
                    "class_counts": torch.bincount(y, minlength=self.num_classes).tolist(),
                }
                for part, (_, y) in self._parts.items()
            },
            "missing_values": table.num_missing,
            "duplicate_rows": self.num_duplicates,
            "distinct_rows": len(table) - self.num_duplicates,
            "distinct_rows_of_several_classes": int((classes.sum(axis=1) > 1).sum()),
            "classes_kept_in_train": [table.class_names[c] for c in split.kept_in_train],
        }

    def _batches(self, part: str, shuffle: bool = False) -> TensorBatches:
        x, y = self._part(part)
        trainer = self.trainer
        batches = TensorBatches(
            x,
            y,
            self.batch_size,
            shuffle,
            self.seed,
            rank=0 if trainer is None else trainer.global_rank,
            world_size=1 if trainer is None else trainer.world_size,
        )
        return batches if trainer is None else batches.to(trainer.strategy.root_device)

    def _part(self, part: str) -> tuple[Tensor, Tensor]:
        self._ready()
        return self._parts[part]

    def _ready(self) -> Table:
        if self._table is None:
            raise RuntimeError(f"{self.name} is not loaded yet: call setup() first.")
        return self._table
