"""Tables in three parts: split, encoded, and served in whole-tensor batches. Needs no Lightning."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Unpack

import numpy as np
import torch
from torch import Tensor

from data.batches import TensorBatches
from data.encoding import Encoder
from data.own_tables.overview import overview
from data.scaling import check_scaling
from data.split_data import Description, SplitData, SplitOptions
from data.splitting import PARTS, Split, check_sizes, holdout, stratified_split
from data.tables import Integers, Table

logger = logging.getLogger(__name__)


class TableDescription(Description):
    """The description of a table, in values that JSON can hold.

    ``columns`` and ``files`` describe a table of the user, and are empty for all others. ``rows_shared_with_train``
    counts the rows of each held out part whose features occur in training, which only parts that were given can have.
    """

    missing_values: int
    duplicate_rows: int
    distinct_rows: int
    distinct_rows_of_several_classes: int
    classes_kept_in_train: list[str]
    rows_shared_with_train: dict[str, int]
    columns: list[dict[str, object]]
    files: list[dict[str, object]]


class TabularData(SplitData[TensorBatches]):
    """A table in three parts, encoded as inputs of a network.

    Rows with the same features are never in two parts, unless the parts were given. Medians, scales and categories are
    learned from the training part alone. Batches are slices of whole tensors.
    :class:`~data.datamodules.TabularDataModule` is the same as a ``LightningDataModule``.

    Args:
        load: Function that returns the table; called once, by :meth:`setup`.
        scaling: How numbers are scaled: ``"standard"`` or ``"range"``, see :class:`~data.encoding.Encoder`.
        **options: Arguments of :class:`~data.split_data.SplitData`.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> from functools import partial
        >>> from data.datasets import load_table
        >>> data = TabularData(partial(load_table, "iris"), name="iris", batch_size=32)
        >>> data.setup()
        >>> data.input_shape, data.num_classes, len(data.batches("train", shuffle=True))
        ((4,), 3, 4)
    """

    needs_validation = False

    def __init__(
        self, load: Callable[[], Table], *, scaling: str = "standard", **options: Unpack[SplitOptions]
    ) -> None:
        super().__init__(**options)
        self._load, self._scaling = load, check_scaling(scaling)
        self._table: Table | None = None
        self._split: Split | None = None
        self._groups: Integers = np.zeros(0, dtype=np.int64)
        self._names: tuple[str, ...] = ()
        self._parts: dict[str, tuple[Tensor, Tensor]] = {}

    def _load_parts(self) -> None:
        table = self._load()
        self._groups = table.groups()
        split = self._split_rows(table)
        encoder = Encoder(table, split.train, self._scaling)
        self._names = encoder.names
        self._parts = {
            part: (torch.from_numpy(encoder.encode(table, rows)), torch.from_numpy(table.labels[rows]))
            for part, rows in zip(PARTS, (split.train, split.val, split.test), strict=True)
        }
        self._table, self._split = table, split
        self._log_oddities(table, split)

    def _split_rows(self, table: Table) -> Split:
        """The parts as they were given, and those that were not given split from the other rows."""
        if table.given is None:
            check_sizes(self.val_size, self.test_size, len(table))
            return stratified_split(
                table.labels, self._groups, val_size=self.val_size, test_size=self.test_size, seed=self.split_seed
            )
        rows = [np.flatnonzero(table.given == part) for part in range(len(PARTS))]
        for part, size in ((1, self.val_size), (2, self.test_size)):
            if not len(rows[part]) and size:
                groups = np.unique(self._groups[rows[0]], return_inverse=True)[1].reshape(-1)
                kept, held = holdout(table.labels[rows[0]], size=size, seed=self.split_seed, groups=groups)
                rows[0], rows[part] = rows[0][kept], rows[0][held]
        train, val, test = rows
        return Split(train, val if len(val) else test, test, kept_in_train=())

    def _log_oddities(self, table: Table, split: Split) -> None:
        if split.kept_in_train:
            names = ", ".join(table.class_names[c] for c in split.kept_in_train)
            logger.info("%s: classes in fewer than three distinct rows stay in training: %s.", self.name, names)
        duplicates = _num_duplicates(self._groups)
        if duplicates:
            logger.info("%s: %d of %d rows are duplicates.", self.name, duplicates, len(table))

    @property
    def has_validation(self) -> bool:
        """Whether the validation part has rows of its own; with ``val_size=0``, it is the test part."""
        self._check_set_up()
        return self._split is not None and self._split.has_validation

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input: ``(features,)``, or ``(channels, height, width)``."""
        return tuple(self.x_train.shape[1:])

    @property
    def num_features(self) -> int:
        """Number of values in one input, after categories are encoded."""
        return self.x_train[0].numel()

    @property
    def feature_names(self) -> tuple[str, ...]:
        """One name for each value in an input."""
        self._check_set_up()
        return self._names

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name for each class."""
        return self._loaded_table().class_names

    @property
    def num_duplicates(self) -> int:
        """Number of rows whose features equal those of an earlier row, whatever their class."""
        self._check_set_up()
        return _num_duplicates(self._groups)

    def labels(self, part: str) -> Integers:
        """Class numbers of a part (``"train"``, ``"val"`` or ``"test"``), in its fixed order: ``(rows,)``."""
        labels: Integers = self._part(part)[1].numpy()
        return labels

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

    def found(self) -> str:
        """The files and the columns of a table of the user, and the rows of each part; empty for all other tables."""
        return overview(self.describe())

    def fingerprint(self) -> str:
        """The checksums of the files of the user; empty for all other tables."""
        files = self._loaded_table().files
        return " and ".join(f"{Path(file.path).name} with SHA-256 {file.sha256}" for file in files)

    def describe(self) -> TableDescription:
        """A description of the data: rows and classes of each part, duplicates, missing values, and columns."""
        table, split = self._loaded_table(), self._split
        assert split is not None
        classes = np.zeros((int(self._groups.max()) + 1, self.num_classes), dtype=bool)
        classes[self._groups, table.labels] = True
        common = super().describe()
        common["features"], common["rows"] = table.num_features, len(table)
        trained = self._groups[split.train]
        shared = {part: int(np.isin(self._groups[rows], trained).sum()) for part, rows in split.held_out.items()}
        return {
            **common,
            "missing_values": table.num_missing,
            "duplicate_rows": self.num_duplicates,
            "distinct_rows": len(table) - self.num_duplicates,
            "distinct_rows_of_several_classes": int((classes.sum(axis=1) > 1).sum()),
            "classes_kept_in_train": [table.class_names[c] for c in split.kept_in_train],
            "rows_shared_with_train": shared,
            "columns": [asdict(column) for column in table.columns],
            "files": [{**asdict(file), "facts": list(file.facts)} for file in table.files],
        }

    def batches(self, part: str, *, shuffle: bool = False) -> TensorBatches:
        """Batches of a part: slices of whole tensors, which are copied to :attr:`device` once.

        Args:
            part: ``"train"``, ``"val"`` or ``"test"``.
            shuffle: Whether each epoch has a new order, which depends on seed and epoch alone.

        Raises:
            RuntimeError: Before :meth:`setup`.
        """
        return self.order(*self._part(part), shuffle=shuffle).to(self.device)

    def _part(self, part: str) -> tuple[Tensor, Tensor]:
        self._check_set_up()
        return self._parts[part]

    def _loaded_table(self) -> Table:
        self._check_set_up()
        assert self._table is not None
        return self._table


def _num_duplicates(groups: Integers) -> int:
    return len(groups) - int(groups.max()) - 1  # groups are numbered without gaps
