"""A table in memory, before it is split and encoded."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypedDict

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Objects = npt.NDArray[np.object_]


Names = str | Sequence[str]
"""Names of columns: a sequence, or one text in which commas separate them."""


class ColumnOptions(TypedDict, total=False):
    """How the columns of a table of the user are used.

    A column is named by its name, or by its position from 0, or from -1 at the end.
    """

    target: str | int | None
    drop_columns: Names
    category_columns: Names


class Kind(StrEnum):
    """Role of a column."""

    NUMBER = "number"
    CATEGORY = "category"
    TARGET = "target"
    DROPPED = "left out"


@dataclass(frozen=True)
class ColumnInfo:
    """What is known of one column of a table of the user.

    Attributes:
        name: The name of the column.
        kind: Its role.
        missing: How many of its values are missing.
        values: Its values in words: the range of numbers, categories, or why the column is left out.
    """

    name: str
    kind: Kind
    missing: int
    values: str


@dataclass(frozen=True)
class FileInfo:
    """One file of a table of the user.

    Attributes:
        part: The part of the data that it was given for; ``"all"`` if the file is split.
        path: Its absolute path.
        sha256: The checksum of its bytes.
        facts: How the file was read, such as ``separated by commas``.
    """

    part: str
    path: str
    sha256: str
    facts: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of numbers and categories, each with a class; nothing imputed, scaled or encoded.

    Attributes:
        numbers: Numeric columns, ``nan`` where missing.
        categories: Nominal columns as strings, ``nan`` where missing.
        labels: Class numbers from 0, without gaps.
        class_names: One name for each class, in the order of the class numbers.
        number_names: One name for each numeric column.
        category_names: One name for each nominal column.
        image_shape: Shape of one row if the numbers are an image, e.g. ``(1, 8, 8)``.
        common_scale: Whether all numbers share one unit, so that they are scaled together and not column by column.
        compared: Numbers that decide whether two rows are equal, ``(rows, any)``; ``None`` for ``numbers``.
        given: The part that each row was given for, ``(rows,)``, a position in :data:`~data.splitting.PARTS`; ``None``
            if all rows are to be split. A part that no row was given for is split from the training rows.
        columns: Columns of a table of the user, in their order; empty for all other tables.
        files: Files of a table of the user.

    Shape:
        - numbers: ``(rows, numeric columns)``, float64.
        - categories: ``(rows, nominal columns)``, object.
        - labels: ``(rows,)``, int64.

    Raises:
        ValueError: If shapes, names and labels do not agree.

    Example:
        >>> numbers, labels = np.array([[1.0], [1.0], [2.0]]), np.array([0, 1, 1])
        >>> table = Table(numbers, no_categories(3), labels, ("a", "b"), ("x",))
        >>> len(table), table.num_features, table.groups().tolist()
        (3, 1, [0, 0, 1])
    """

    numbers: Floats
    categories: Objects
    labels: Integers
    class_names: tuple[str, ...]
    number_names: tuple[str, ...]
    category_names: tuple[str, ...] = ()
    image_shape: tuple[int, ...] | None = None
    common_scale: bool = False
    compared: Floats | None = None
    given: Integers | None = None
    columns: tuple[ColumnInfo, ...] = ()
    files: tuple[FileInfo, ...] = ()

    def __post_init__(self) -> None:
        rows = len(self.labels)
        shapes = (rows, len(self.number_names)), (rows, len(self.category_names))
        if (self.numbers.shape, self.categories.shape) != shapes:
            raise ValueError(
                f"numbers and categories must have shapes {shapes[0]} and {shapes[1]} for {rows} "
                f"labels and the given names, got {self.numbers.shape} and {self.categories.shape}."
            )
        if rows and not (self.labels.min() >= 0 and self.labels.max() < len(self.class_names)):
            raise ValueError(
                f"labels must lie in 0..{len(self.class_names) - 1}, one for each class name, got "
                f"{self.labels.min()}..{self.labels.max()}."
            )
        if self.image_shape is not None and np.prod(self.image_shape) != self.num_features:
            raise ValueError(
                f"image_shape must have as many values as there are features, {self.num_features}, got "
                f"{self.image_shape}."
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_features(self) -> int:
        """Number of columns before categories are encoded."""
        return len(self.number_names) + len(self.category_names)

    @property
    def num_missing(self) -> int:
        """Number of missing values."""
        return int(np.isnan(self.numbers).sum() + _missing(self.categories).sum())

    def groups(self) -> Integers:
        """A number for each row, ``(rows,)``: the same for rows with the same features and the same missing values.

        Labels do not count: two rows that differ in the label alone are the same input.
        """
        compared = self.numbers if self.compared is None else self.compared
        columns = [np.where(np.isnan(column), np.inf, column) for column in compared.T]
        columns += [_codes(column) for column in self.categories.T]
        rank = np.zeros(len(self), dtype=np.int64)
        open_rows = np.arange(len(self))
        for column in columns:
            if len(open_rows):
                open_rows = _refine(rank, column, open_rows)
        groups: Integers = np.unique(rank, return_inverse=True)[1].reshape(-1).astype(np.int64)
        return groups


def _refine(rank: Integers, column: npt.NDArray[np.generic], rows: Integers) -> Integers:
    """Sort rows of equal rank by one more column. Returns the rows whose rank another row still shares.

    Args:
        rank: The place of the first of the rows that are equal so far, in the sorted order: ``(rows,)``; changed.
        column: Values of all rows: ``(rows,)``.
        rows: Rows whose rank another row shares.
    """
    rows = rows[np.lexsort((column[rows], rank[rows]))]
    old, values = rank[rows], column[rows]
    begins = np.append(True, old[1:] != old[:-1])[: len(rows)]
    differs = begins | np.append(True, values[1:] != values[:-1])[: len(rows)]
    places = np.arange(len(rows))
    first_of_block = np.maximum.accumulate(np.where(begins, places, 0))
    first_equal = np.maximum.accumulate(np.where(differs, places, 0))
    rank[rows] = old + first_equal - first_of_block
    shared = ~(differs & np.append(differs[1:], True)[: len(rows)])
    still: Integers = rows[shared]
    return still


def _codes(column: Objects) -> Integers:
    """The position of each text among the sorted distinct texts, from 1; 0 where it is missing."""
    known = {value: code for code, value in enumerate(sorted({value for value in column if value == value}), 1)}
    codes: Integers = np.array([known.get(value, 0) for value in column], dtype=np.int64)
    return codes


def no_categories(rows: int) -> Objects:
    """The nominal columns of a table without any: an array ``(rows, 0)``."""
    return np.empty((rows, 0), dtype=object)


def resized(table: Table, shape: tuple[int, int, int], side: int) -> Table:
    """A table of images, with each image resized. Rows that were equal before are still in one group.

    Args:
        table: A table of numbers alone.
        shape: Channels, height and width of an image in the table.
        side: The new height and width.

    Example:
        >>> table = Table(np.ones((1, 4)), no_categories(1), np.array([0]), ("a",), ("p", "q", "r", "s"))
        >>> resized(table, (1, 2, 2), 3).numbers.shape
        (1, 9)
    """
    if shape[1:] == (side, side):
        return table
    import torch
    from torch.nn import functional

    images = torch.from_numpy(table.numbers).view(-1, *shape)
    numbers = functional.interpolate(images, (side, side), mode="bilinear", antialias=True).flatten(1).numpy()
    pixels = itertools.product(range(shape[0]), range(side), range(side))
    names = tuple(f"pixel_{row}_{column}" + f"_{channel}" * (shape[0] > 1) for channel, row, column in pixels)
    return replace(
        table,
        numbers=numbers,
        number_names=names,
        image_shape=None if table.image_shape is None else (shape[0], side, side),
        compared=table.numbers,
    )


def _missing(values: Objects) -> npt.NDArray[np.bool_]:
    # nan is the one value that differs from itself.
    return np.asarray(values != values, dtype=bool)
