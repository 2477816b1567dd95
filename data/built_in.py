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
    make = {"moons": _moons, "circles": _circles, "blobs": _blobs}[name]
    x, y = make(num_points, noise, np.random.RandomState(seed))
    (classes,) = (info.classes for info in BUILT_IN_INFOS if info.name == name)
    return _numeric(x, y, tuple(map(str, range(classes))), ("x", "y"))


# The points are those of scikit-learn, bit for bit. Made here, they do not need the import of scikit-learn, which takes
# as long as that of torch.


def _moons(num_points: int, noise: float, random: np.random.RandomState) -> tuple[Floats, Integers]:
    first = num_points // 2
    upper, lower = np.linspace(0, np.pi, first), np.linspace(0, np.pi, num_points - first)
    return _noisy((np.cos(upper), np.sin(upper)), (1 - np.cos(lower), 1 - np.sin(lower) - 0.5), noise, random)


def _circles(num_points: int, noise: float, random: np.random.RandomState) -> tuple[Floats, Integers]:
    first = num_points // 2
    outer, inner = (np.linspace(0, 2 * np.pi, count, endpoint=False) for count in (first, num_points - first))
    return _noisy((np.cos(outer), np.sin(outer)), (np.cos(inner) * 0.5, np.sin(inner) * 0.5), noise, random)


def _noisy(
    first: tuple[Floats, Floats], second: tuple[Floats, Floats], noise: float, random: np.random.RandomState
) -> tuple[Floats, Integers]:
    """The points of two curves in random order, with noise: ``(rows, 2)``, and their curve, ``(rows,)``."""
    x = np.concatenate([np.stack(first, axis=1), np.stack(second, axis=1)])
    order = np.arange(len(x))
    random.shuffle(order)
    return x[order] + random.normal(scale=noise, size=x.shape), (order >= len(first[0])).astype(np.int64)


def _blobs(num_points: int, noise: float, random: np.random.RandomState) -> tuple[Floats, Integers]:
    angles = np.deg2rad([90.0, 210.0, 330.0])
    centers = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    counts = [len(range(number, num_points, len(centers))) for number in range(len(centers))]
    x = np.concatenate([random.normal(center, noise, (n, 2)) for center, n in zip(centers, counts, strict=True)])
    order = np.arange(num_points)
    random.shuffle(order)
    return x[order], np.repeat(np.arange(len(centers)), counts)[order]


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
