"""A table in memory, before it is split and encoded."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Objects = npt.NDArray[np.object_]


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

    def features(self) -> Floats | Objects:
        """Numbers, then categories, in one array ``(rows, num_features)``; of objects only if there are categories."""
        if not self.category_names:
            return self.numbers
        return np.concatenate([self.numbers.astype(object), self.categories], axis=1)

    def groups(self) -> Integers:
        """A number for each row, ``(rows,)``: the same for rows with the same features and the same missing values.

        Labels do not count: two rows that differ in the label alone are the same input.
        """
        compared = self.numbers if self.compared is None else self.compared
        columns = [np.where(np.isnan(compared), np.inf, compared)]
        for column in self.categories.T:
            known = np.array(["" if gap else f"={value}" for value, gap in zip(column, _missing(column), strict=True)])
            columns.append(np.unique(known, return_inverse=True)[1].reshape(-1, 1).astype(np.float64))
        _, groups = np.unique(np.concatenate(columns, axis=1), axis=0, return_inverse=True)
        return groups.reshape(-1).astype(np.int64)


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
