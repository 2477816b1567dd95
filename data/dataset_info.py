"""What is known of a data set before it is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from data.uci.files import DataFile


@dataclass(frozen=True)
class DatasetInfo:
    """What a data set is.

    Attributes:
        name: What ``--dataset`` takes.
        title: Full name.
        source: ``"generated"``, ``"scikit-learn"``, ``"UCI"``, ``"download"``, or ``"manual"`` for one that must
            be fetched by hand.
        rows: Rows in all; of a generated set the default, which ``num_points`` changes.
        features: Columns that are used, before categories are encoded; of images the pixels as they are served.
        classes: Classes.
        license: Terms of use.
        creators: Who made it.
        url: Where it is described.
        files: Files of UCI it is read from; empty for all others.
        note: What a user should know: columns left out, duplicates, choices made.
        image_shape: Channels, height and width if it can be served as images.
        tabular: Whether it can be had as a table.
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
