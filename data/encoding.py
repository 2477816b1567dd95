"""From a table to inputs of a network: what is imputed, scaled and one-hot encoded, and how."""

from __future__ import annotations

import logging
import warnings

import numpy as np
import numpy.typing as npt
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from data.tables import Integers, Table

logger = logging.getLogger(__name__)


class Encoder:
    """Median and standardization for numbers; most frequent value and one column each for
    categories.

    A category of two values becomes one column. A value that the training part never had becomes
    zeros. A column that is constant in training becomes zeros (numbers) or ones (categories), never
    ``nan``.

    Args:
        table: The whole data set.
        rows: Row numbers of the training part: the only rows that anything is learned from.

    Attributes:
        names: One name for each input.
    """

    def __init__(self, table: Table, rows: Integers) -> None:
        numeric = list(range(len(table.number_names)))
        nominal = list(range(len(numeric), table.num_features))
        # An input column that is all gaps in training keeps its place, so that inputs keep theirs.
        number_steps = [SimpleImputer(strategy="median", keep_empty_features=True)]
        if not table.common_scale:
            number_steps.append(StandardScaler())
        steps = []
        if numeric:
            steps.append(("numbers", make_pipeline(*number_steps), numeric))
        if nominal:
            imputer = SimpleImputer(strategy="most_frequent", keep_empty_features=True)
            onehot = OneHotEncoder(drop="if_binary", handle_unknown="ignore", sparse_output=False)
            steps.append(("categories", make_pipeline(imputer, onehot), nominal))
        self._columns = ColumnTransformer(steps, sparse_threshold=0.0)
        encoded = self._columns.fit_transform(table.features()[rows]).astype(np.float64)
        self._mean, self._scale = 0.0, 1.0
        if table.common_scale and numeric:
            pixels = encoded[:, : len(numeric)]
            self._mean, self._scale = float(pixels.mean()), float(pixels.std()) or 1.0
        self._numeric = len(numeric)
        self._shape = table.image_shape
        self._known: list[npt.NDArray[np.object_]] = []
        self.names: tuple[str, ...] = table.number_names
        if nominal:
            fitted = self._columns.named_transformers_["categories"][-1]
            self._known = fitted.categories_
            self.names += tuple(fitted.get_feature_names_out(table.category_names))

    def encode(self, table: Table, rows: Integers) -> npt.NDArray[np.float32]:
        """Inputs of some rows.

        Returns:
            Array of shape ``(rows, inputs)``, or ``(rows, *image_shape)``.
        """
        with warnings.catch_warnings():
            # That a value is unknown is handled, and counted below.
            warnings.filterwarnings("ignore", message="Found unknown categories")
            encoded = self._columns.transform(table.features()[rows]).astype(np.float64)
        self._log_unknown(table, rows)
        encoded[:, : self._numeric] = (encoded[:, : self._numeric] - self._mean) / self._scale
        inputs: npt.NDArray[np.float32] = encoded.astype(np.float32)
        return inputs if self._shape is None else inputs.reshape(-1, *self._shape)

    def _log_unknown(self, table: Table, rows: Integers) -> None:
        for name, column, known in zip(table.category_names, table.categories[rows].T, self._known, strict=True):
            unknown = {value for value in column if value == value} - set(known)
            if unknown:
                logger.info(
                    "%s: %s not in training, encoded as zeros.",
                    name,
                    ", ".join(sorted(map(str, unknown))),
                )
