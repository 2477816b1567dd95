"""Data sets without files: generated ones, and those that scikit-learn contains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from data.dataset_info import DatasetInfo
from data.tables import Floats, Integers, Table, no_categories

UCI_LICENSE = "CC BY 4.0, as stated by UCI"


def _generated(name: str, title: str, classes: int, note: str) -> DatasetInfo:
    return DatasetInfo(
        name=name,
        title=title,
        source="generated",
        rows=1000,
        features=2,
        classes=classes,
        license="none: generated here",
        creators="scikit-learn's generator",
        url=f"https://scikit-learn.org/stable/modules/generated/sklearn.datasets.make_{name}.html",
        note=note,
    )


def _bundled(
    name: str,
    title: str,
    rows: int,
    features: int,
    classes: int,
    creators: str,
    page: str,
    note: str = "",
    image_shape: tuple[int, int, int] | None = None,
) -> DatasetInfo:
    return DatasetInfo(
        name=name,
        title=title,
        source="scikit-learn",
        rows=rows,
        features=features,
        classes=classes,
        license=UCI_LICENSE,
        creators=creators,
        url=f"https://archive.ics.uci.edu/dataset/{page}",
        note=note,
        image_shape=image_shape,
    )


BUILT_IN_INFOS = (
    _generated(
        "moons",
        "Two interleaved half circles",
        2,
        "noise is the standard deviation of the noise added to both coordinates.",
    ),
    _generated("circles", "Two circles, one inside the other", 2, "Radii 1 and 0.5; noise as for moons."),
    _generated(
        "blobs",
        "Three Gaussian clouds",
        3,
        "Centers on the unit circle; noise is the standard deviation of each cloud, > 0.",
    ),
    _bundled("iris", "Iris plants", 150, 4, 3, "R. A. Fisher", "53/iris", "1 duplicate row."),
    _bundled("wine", "Wine recognition", 178, 13, 3, "M. Forina; donor S. Aeberhard", "109/wine"),
    _bundled(
        "breast_cancer",
        "Breast cancer Wisconsin (diagnostic)",
        569,
        30,
        2,
        "W. H. Wolberg, W. N. Street, O. L. Mangasarian",
        "17/breast+cancer+wisconsin+diagnostic",
    ),
    _bundled(
        "digits",
        "Handwritten digits, 8 x 8 pixels",
        1797,
        64,
        10,
        "E. Alpaydin, C. Kaynak",
        "80/optical+recognition+of+handwritten+digits",
        "UCI's test part, as in scikit-learn. All pixels are scaled together. With as_images, an input has the "
        "shape (1, 8, 8). image_size resizes the images; augment has no effect.",
        image_shape=(1, 8, 8),
    ),
)
"""Descriptions of the data sets without files."""


def generate(name: str, num_points: int, noise: float, seed: int) -> Table:
    """The table of a generated data set.

    Args:
        name: ``"moons"``, ``"circles"`` or ``"blobs"``.
        num_points: Number of rows.
        noise: Standard deviation of the noise.
        seed: Seed of points and noise.

    Example:
        >>> generate("circles", num_points=10, noise=0.0, seed=42).numbers.shape
        (10, 2)
    """
    from sklearn import datasets

    if name == "moons":
        x, y = datasets.make_moons(num_points, noise=noise, random_state=seed)
    elif name == "circles":
        x, y = datasets.make_circles(num_points, noise=noise, factor=0.5, random_state=seed)
    else:
        angles = np.deg2rad([90.0, 210.0, 330.0])
        centers = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        x, y = datasets.make_blobs(num_points, centers=centers, cluster_std=noise, random_state=seed)
    (classes,) = (info.classes for info in BUILT_IN_INFOS if info.name == name)
    return _numeric(x, y, tuple(map(str, range(classes))), ("x", "y"))


class _Bunch(Protocol):
    """The parts of scikit-learn's data sets that are used here."""

    data: Floats
    target: Integers
    target_names: list[str]
    feature_names: list[str]


def load_bundled(name: str, as_images: bool) -> Table:
    """The table of a data set that scikit-learn contains.

    Args:
        name: ``"iris"``, ``"wine"``, ``"breast_cancer"`` or ``"digits"``.
        as_images: Whether to give ``digits`` the shape ``(1, 8, 8)``.

    Example:
        >>> len(load_bundled("iris", as_images=False))
        150
    """
    from sklearn import datasets

    loaders: dict[str, Callable[[], _Bunch]] = {
        "iris": datasets.load_iris,
        "wine": datasets.load_wine,
        "breast_cancer": datasets.load_breast_cancer,
        "digits": datasets.load_digits,
    }
    bunch = loaders[name]()
    return _numeric(
        bunch.data,
        bunch.target,
        tuple(str(label) for label in bunch.target_names),
        tuple(str(feature) for feature in bunch.feature_names),
        image_shape=(1, 8, 8) if as_images else None,
        common_scale=name == "digits",
    )


def _numeric(
    x: Floats,
    y: Integers,
    class_names: tuple[str, ...],
    names: tuple[str, ...],
    *,
    image_shape: tuple[int, ...] | None = None,
    common_scale: bool = False,
) -> Table:
    return Table(
        numbers=np.asarray(x, dtype=np.float64),
        categories=no_categories(len(y)),
        labels=np.asarray(y, dtype=np.int64),
        class_names=class_names,
        number_names=names,
        image_shape=image_shape,
        common_scale=common_scale,
    )
