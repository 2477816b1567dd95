"""Images in memory, with their classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from data.tables import Integers

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class ImageArrays:
    """Images and their classes.

    Attributes:
        images: Bytes, ``(rows, channels, height, width)``.
        labels: Class numbers, ``(rows,)``.
    """

    images: Bytes
    labels: Integers

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, rows: Integers) -> ImageArrays:
        """The images and classes of some rows."""
        return ImageArrays(self.images[rows], self.labels[rows])
