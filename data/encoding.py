"""From a table to inputs of a network: which values are imputed, scaled and one-hot encoded, and how."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from data.scaling import SCALINGS
from data.tables import Floats, Integers, Objects, Table

# scikit-learn is imported for tables with categories only, because its import takes as long as that of torch.
if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

logger = logging.getLogger(__name__)


class Encoder:
    """Inputs of a network from the rows of a table, with statistics of the training rows alone.

    Numbers: a missing value becomes the median, then each column is scaled (all columns together if the table has a
    common scale). Categories: a missing value becomes the most frequent one, then each category is a column of
    zeros and ones; two categories share one column.

    A category that does not occur in training becomes zeros. A column that is constant in training becomes zeros
    (numbers) or ones (categories), never ``nan``.

    Args:
        table: The whole data set.
        rows: Row numbers of the training part, the only rows whose values are used.
        scaling: ``"standard"`` for mean 0 and standard deviation 1; ``"range"`` for division by the difference of the
            largest and the smallest value.

    Attributes:
        names: One name for each input.
    """

    def __init__(self, table: Table, rows: Integers, scaling: str = SCALINGS[0]) -> None:
        self._numeric = len(table.number_names)
        self._shape = table.image_shape
        self._known: list[npt.NDArray[np.object_]] = []
        self.names: tuple[str, ...] = table.number_names
        if self._numeric:
            numbers = table.numbers[rows]
            self._medians = _medians(numbers)
            numbers = np.where(np.isnan(numbers), self._medians, numbers)
            if scaling == "range":
                self._mean, self._scale = _ranges(numbers, common=table.common_scale)
            else:
                self._mean, self._scale = _common_scale(numbers) if table.common_scale else _scales(numbers)
        if table.category_names:
            self._categories = _fitted_categories(table.categories[rows])
            onehot = self._categories[-1]
            self._known = onehot.categories_
            self.names += tuple(onehot.get_feature_names_out(table.category_names))

    def encode(self, table: Table, rows: Integers) -> npt.NDArray[np.float32]:
        """Inputs of some rows.

        Args:
            table: A table with the columns of the one that the encoder was made from.
            rows: Row numbers.

        Returns:
            Array of shape ``(rows, inputs)``, or ``(rows, *image_shape)``.
        """
        parts = []
        if self._numeric:
            numbers = table.numbers[rows]
            numbers = np.where(np.isnan(numbers), self._medians, numbers)
            parts.append((numbers - self._mean) / self._scale)
        if self._known:
            with warnings.catch_warnings():
                # Unknown categories are encoded as zeros on purpose, and logged below.
                warnings.filterwarnings("ignore", message="Found unknown categories")
                parts.append(self._categories.transform(table.categories[rows]))
            self._log_unknown(table, rows)
        encoded = np.concatenate(parts, axis=1, dtype=np.float32)
        return encoded if self._shape is None else encoded.reshape(-1, *self._shape)

    def _log_unknown(self, table: Table, rows: Integers) -> None:
        for name, column, known in zip(table.category_names, table.categories[rows].T, self._known, strict=True):
            unknown = {value for value in column if value == value} - set(known)
            if unknown:
                logger.info("%s: %s not in training, encoded as zeros.", name, ", ".join(sorted(map(str, unknown))))


def _ranges(numbers: Floats, *, common: bool) -> tuple[Floats, Floats]:
    """What is subtracted from each column, or from all, and the range that it is divided by.

    The range is the difference of the largest and the smallest value. 0 is subtracted; from a constant column its
    value, and 1 is its range.
    """
    axis = None if common else 0
    least, ranges = numbers.min(axis=axis), np.ptp(numbers, axis=axis)
    return np.where(ranges == 0, least, 0.0), np.where(ranges == 0, 1.0, ranges)


def _common_scale(numbers: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of all columns together; of equal numbers, the number itself and 1."""
    # The mean of equal numbers may differ from them by a rounding error, and their deviation would be that error.
    equal = np.ptp(numbers) == 0
    return np.asarray(numbers.min() if equal else numbers.mean()), np.asarray(1.0 if equal else numbers.std())


def _scales(numbers: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each column, those of scikit-learn's ``StandardScaler``, bit for bit.

    The deviation of a column that is constant within rounding errors is 1.
    """
    count, eps = len(numbers), np.finfo(np.float64).eps
    mean = numbers.sum(axis=0) / count
    rest = numbers - mean
    # The sum of the rests corrects the rounding error of the mean.
    variance = ((rest**2).sum(axis=0) - rest.sum(axis=0) ** 2 / count) / count
    constant = variance <= count * eps * variance + (count * mean * eps) ** 2
    return mean, np.where(constant, 1.0, np.sqrt(variance))


def _fitted_categories(categories: Objects) -> Pipeline:
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    onehot = OneHotEncoder(drop="if_binary", handle_unknown="ignore", sparse_output=False)
    return make_pipeline(SimpleImputer(strategy="most_frequent", keep_empty_features=True), onehot).fit(categories)


def _medians(numbers: Floats) -> Floats:
    """The median of each column without its missing values; 0 for a column without any value, which stays constant."""
    medians = np.zeros(numbers.shape[1])
    known = ~np.isnan(numbers).all(axis=0)
    medians[known] = np.nanmedian(numbers[:, known], axis=0)
    return medians
