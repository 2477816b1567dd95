"""What data sets of tables and images share: three parts, their batches, and a summary of them. Needs no Lightning."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Generic, TypedDict, TypeVar

import numpy as np
import torch
from torch import Tensor

from data.batches import OrderedBatches, TensorBatches
from data.checks import check_batch_size, check_seed
from data.splitting import DEFAULT_SHARE, PARTS, check_sizes
from data.tables import Integers

Loader = TypeVar("Loader", TensorBatches, OrderedBatches)


class SplitOptions(TypedDict, total=False):
    """Arguments that every :class:`SplitData` accepts, all optional."""

    name: str
    prepare: Callable[[], object] | None
    batch_size: int | None
    seed: int
    split_seed: int | None
    val_size: float
    test_size: float


class PartDescription(TypedDict):
    """Size of one part."""

    rows: int
    class_counts: list[int]


class Description(TypedDict):
    """The description of a data set, in values that JSON can hold.

    ``features`` counts columns before categories are encoded; ``inputs`` counts the numbers in an input of a network.
    """

    dataset: str
    rows: int
    features: int
    inputs: int
    input_shape: list[int]
    classes: int
    class_names: list[str]
    seed: int
    parts: dict[str, PartDescription]


class SplitData(abc.ABC, Generic[Loader]):
    """A data set in three parts: ``"train"``, ``"val"`` and ``"test"``.

    :class:`~data.split_module.SplitDataModule` is the same as a ``LightningDataModule``.

    Args:
        name: Name of the data set, for messages and :meth:`describe`.
        prepare: Function that one process calls before any :meth:`setup`, e.g. to fill the cache.
        batch_size: Rows of a batch over all processes, in each part; ``None`` for all rows.
        seed: Seed of the split, of the order of batches, and of augmentation.
        split_seed: Seed of the split alone; ``None`` for that of ``seed``.
        val_size: Share of the validation part: of all rows, or of the training rows if the data set has a published
            test part. 0 for the test part of a table in its place.
        test_size: Share of the test part; a published test part is used unchanged.

    Raises:
        ValueError: If an argument is out of range.
    """

    needs_validation = True
    """Whether the validation part must have rows of its own."""

    def __init__(
        self,
        *,
        name: str = "table",
        prepare: Callable[[], object] | None = None,
        batch_size: int | None = None,
        seed: int = 42,
        split_seed: int | None = None,
        val_size: float = DEFAULT_SHARE,
        test_size: float = DEFAULT_SHARE,
    ) -> None:
        super().__init__()
        check_batch_size(batch_size)
        check_sizes(val_size, test_size)
        if self.needs_validation and val_size == 0:
            raise ValueError("val_size must be > 0 for images, got 0: only a table can be without a validation part.")
        check_seed(seed)
        if split_seed is not None:
            check_seed(split_seed, "split_seed")
        self.name: str = name
        self.batch_size, self.seed = batch_size, int(seed)
        self.split_seed = self.seed if split_seed is None else int(split_seed)
        self.val_size, self.test_size = float(val_size), float(test_size)
        self._prepare = prepare
        self._is_set_up = False

    def prepare(self) -> None:
        """Call the function ``prepare``, which fills the cache if the data set is read from files."""
        if self._prepare is not None:
            self._prepare()

    def setup(self) -> None:
        """Load and split the data set; a second call does nothing.

        Raises:
            ValueError: If the data set cannot be split into three parts.
            DataError: If a file is missing, damaged or not laid out as it should be.
        """
        if not self._is_set_up:
            self._load_parts()
            self._is_set_up = True

    @abc.abstractmethod
    def _load_parts(self) -> None:
        """Load and split the data set."""

    def _check_set_up(self) -> None:
        if not self._is_set_up:
            raise RuntimeError(f"{self.name} is not loaded yet: call setup() first.")

    @property
    def has_validation(self) -> bool:
        """Whether the validation part has rows of its own."""
        return True

    @property
    @abc.abstractmethod
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input: ``(features,)``, or ``(channels, height, width)``."""

    @property
    @abc.abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """One name for each class."""

    @property
    def num_classes(self) -> int:
        """Number of classes, including those that occur in training only."""
        return len(self.class_names)

    @abc.abstractmethod
    def labels(self, part: str) -> Integers:
        """Class numbers of a part (``"train"``, ``"val"`` or ``"test"``), in its fixed order: ``(rows,)``."""

    def num_rows(self, part: str = "train") -> int:
        """Number of rows of a part: ``"train"``, ``"val"`` or ``"test"``."""
        return len(self.labels(part))

    @abc.abstractmethod
    def batches(self, part: str, *, shuffle: bool = False) -> Loader:
        """Batches of a part, for this process and on :attr:`device`.

        Args:
            part: ``"train"``, ``"val"`` or ``"test"``.
            shuffle: Whether each epoch has a new order, which depends on seed and epoch alone.

        Raises:
            RuntimeError: Before :meth:`setup`.
        """

    def order(self, x: Tensor, labels: Tensor, *, shuffle: bool) -> TensorBatches:
        """Seeded batches of a part for this process, which serves its slice of each batch.

        Args:
            x: Inputs or row numbers, ``(rows, ...)``.
            labels: Class numbers, ``(rows,)``.
            shuffle: Whether each epoch has a new order.
        """
        rank, world_size = self._place()
        return TensorBatches(x, labels, self.batch_size, shuffle, self.seed, rank=rank, world_size=world_size)

    def _place(self) -> tuple[int, int]:
        """The rank of this process, and the number of processes that share each batch."""
        return 0, 1

    def found(self) -> str:
        """What was found in data of the user, in a few lines for the terminal; empty for a known data set.

        Raises:
            RuntimeError: Before :meth:`setup`.
        """
        return ""

    def fingerprint(self) -> str:
        """A text that differs if data of the user, or their split, changed; empty for a known data set.

        Raises:
            RuntimeError: Before :meth:`setup`.
        """
        return ""

    @property
    def device(self) -> torch.device:
        """The device of the batches: the CPU."""
        return torch.device("cpu")

    def describe(self) -> Description:
        """A description of the data: rows and classes of each part, and the shape of an input."""
        parts = [part for part in PARTS if part != "val" or self.has_validation]
        counts = {part: np.bincount(self.labels(part), minlength=self.num_classes).tolist() for part in parts}
        inputs = int(np.prod(self.input_shape))
        return {
            "dataset": self.name,
            "rows": sum(map(sum, counts.values())),
            "features": inputs,
            "inputs": inputs,
            "input_shape": list(self.input_shape),
            "classes": self.num_classes,
            "class_names": list(self.class_names),
            "seed": self.split_seed,
            "parts": {part: {"rows": sum(count), "class_counts": count} for part, count in counts.items()},
        }
