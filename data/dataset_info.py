"""The description of a data set, available before the data set is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from data.uci.files import DataFile


@dataclass(frozen=True)
class DatasetInfo:
    """Name, origin, size and license of a data set.

    Attributes:
        name: Value of ``--dataset``.
        title: Full name.
        source: ``"generated"``, ``"scikit-learn"``, ``"UCI"``, ``"download"``, or ``"manual"`` for a data set that
            the user must download by hand.
        rows: Number of rows in all parts; for a generated set the default of ``num_points``.
        features: Number of columns that are used, before categories are encoded; for images the number of pixels of
            all channels, at the default size.
        classes: Number of classes.
        license: Terms of use.
        creators: Authors, donors or institutions.
        url: Page that describes the data set.
        files: Files of a UCI set; empty for all others.
        note: Columns that are left out, duplicate rows, and choices that were made.
        image_shape: Channels, height and width if the data set can be served as images.
        tabular: Whether the data set can be loaded as a table.
    """

    name: str
    title: str
    source: str
    rows: int
    features: int
    classes: int
    license: str
    creators: str
    url: str
    files: tuple[DataFile, ...] = ()
    note: str = ""
    image_shape: tuple[int, int, int] | None = None
    tabular: bool = True
