"""What each data set is, and how to have it as a table."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from data.cache import DataError, cache_folder
from data.dataset_info import DatasetInfo
from data.images.arrays import images_available, images_state
from data.images.catalog import IMAGE_INFOS, IMAGE_SOURCES
from data.images.published import place
from data.tables import Floats, Integers, Table, no_categories, resized
from data.uci.catalog import UCI
from data.uci.files import cache_state, find_cached, obtain
from jumpstart.words import did_you_mean

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


def _uci(name: str, title: str, creators: str, note: str = "") -> DatasetInfo:
    source = UCI[name]
    return DatasetInfo(
        name=name,
        title=title,
        source="UCI",
        rows=source.rows,
        features=source.num_features,
        classes=len(source.counts),
        license=UCI_LICENSE,
        creators=creators,
        url=source.url,
        files=source.files,
        note=note,
    )


DATASETS: dict[str, DatasetInfo] = {
    info.name: info
    for info in (
        _generated(
            "moons",
            "Two interleaved half circles",
            2,
            "noise: standard deviation added to both coordinates.",
        ),
        _generated("circles", "Two circles, one inside the other", 2, "Radii 1 and 0.5; noise as in moons."),
        _generated(
            "blobs",
            "Three Gaussian clouds",
            3,
            "Centers on the unit circle; noise: standard deviation, > 0.",
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
            "UCI's test part, as in scikit-learn. All pixels are scaled together. as_images gives (1, 8, 8). "
            "image_size resizes; augment changes nothing.",
            image_shape=(1, 8, 8),
        ),
        _uci(
            "abalone",
            "Abalone",
            "W. Nash, T. Sellers, S. Talbot, A. Cawthorn, W. Ford; donor S. Waugh",
            "The number of rings is the class: 1 to 29 without 28, numbered 0 to 27. Classes with "
            "fewer than three rows are kept, in the training part alone.",
        ),
        _uci("credit_approval", "Credit approval", "confidential; submitted by J. R. Quinlan"),
        _uci(
            "cylinder_bands",
            "Cylinder bands",
            "B. Evans, RR Donnelley & Sons",
            "Left out: timestamp, cylinder number, customer and job number, which name a row and "
            "would let a network look up the answer; two rows are equal without them. Case of "
            "nominal values is folded. One record is broken over two lines in UCI's file; it is "
            "joined. UCI's description says 512 rows (312/200), its file has 540 (312/228).",
        ),
        _uci("dermatology", "Dermatology", "N. Ilter, H. A. Guvenir"),
        _uci(
            "heart_disease",
            "Heart disease (Cleveland)",
            "A. Janosi, W. Steinbrunn, M. Pfisterer, R. Detrano",
            "Five classes as in the file: no disease and four stages. Often reduced to two elsewhere.",
        ),
        _uci("diabetic", "Diabetic retinopathy Debrecen", "B. Antal, A. Hajdu", "5 duplicate rows."),
        _uci(
            "dishonest_users",
            "Dishonest Internet users",
            "G. D'Angelo and others",
            "322 rows, but 15 distinct ones: the held-out parts hold few distinct rows. The known "
            "checksum belongs to a copy; UCI's own file, which could not be compared, is accepted "
            "for its rows, columns and class counts. Levels are numbers.",
        ),
        _uci(
            "early_stage_diabetes_risk",
            "Early stage diabetes risk prediction",
            "M. M. F. Islam, R. Ferdousi, S. Rahman, H. Y. Bushra",
            "269 duplicate rows, 251 distinct ones.",
        ),
        _uci(
            "fertility",
            "Fertility diagnosis",
            "D. Gil, J. L. Girela",
            "12 of 100 rows in the smaller class.",
        ),
        _uci(
            "haberman",
            "Haberman's survival",
            "S. J. Haberman; donor T.-S. Lim",
            "23 rows repeat another one, 17 of them with the same class.",
        ),
        _uci(
            "hayes_roth",
            "Hayes-Roth",
            "B. and F. Hayes-Roth; donor D. W. Aha",
            "UCI's training and test files together, split anew: 160 rows, few distinct. Left out: "
            "name, which numbers the rows.",
        ),
        _uci(
            "hcv",
            "Hepatitis C laboratory values",
            "R. Lichtinghagen, F. Klawonn, G. Hoffmann",
            "Left out: the row number. Rows are sorted by class in the file.",
        ),
        *IMAGE_INFOS,
    )
}
"""Every data set by name."""

TABLES = tuple(name for name, info in DATASETS.items() if info.tabular)
"""Data sets that can be had as tables."""

IMAGES = tuple(name for name, info in DATASETS.items() if info.image_shape)
"""Data sets that can be served as images."""


def get_info(name: str) -> DatasetInfo:
    """What the named data set is.

    Raises:
        ValueError: If there is none of that name; the message has the nearest and the whole list.

    Example:
        >>> get_info("iris").rows
        150
    """
    if name in DATASETS:
        return DATASETS[name]
    raise ValueError(f"dataset must be one of {', '.join(DATASETS)}, got {name!r}.{did_you_mean(name, DATASETS)}")


def markdown_table() -> str:
    """The data sets as a Markdown table, one row each, in the order of :data:`DATASETS`.

    Returns:
        Lines of the columns name, title (a link to the page of the data set), source, rows, features, classes and
        license, without a final line break.

    Example:
        >>> markdown_table().splitlines()[0]
        '| name | title | source | rows | features | classes | license |'
    """
    rows = (
        f"| `{info.name}` | [{info.title}]({info.url}) | {info.source} | {info.rows} | {info.features} | "
        f"{info.classes} | {info.license} |"
        for info in DATASETS.values()
    )
    head = "| name | title | source | rows | features | classes | license |\n|---|---|---|---:|---:|---:|---|"
    return "\n".join([head, *rows])


def load_table(
    name: str,
    *,
    num_points: int = 1000,
    noise: float = 0.1,
    seed: int = 42,
    as_images: bool = False,
    image_size: int | None = None,
    data_dir: str | os.PathLike[str] | None = None,
) -> Table:
    """A data set as a table: nothing imputed, scaled or encoded yet.

    Args:
        name: One of :data:`TABLES`.
        num_points: Rows of a generated set; others take no notice of it.
        noise: Standard deviation of a generated set's noise; others take no notice of it.
        seed: Seed of a generated set.
        as_images: Give ``digits`` the shape ``(1, 8, 8)``.
        image_size: Height and width to which ``digits`` are resized; ``None`` leaves them.
        data_dir: Cache folder; ``None`` for JUMPSTART_DATA_DIR, else the user's cache folder.

    Raises:
        ValueError: If an argument is out of range.
        TypeError: If ``as_images`` is neither True nor False.
        DataError: If a UCI set is damaged, or neither cached nor reachable.

    Example:
        >>> table = load_table("moons", num_points=10)
        >>> table.numbers.shape, table.class_names
        ((10, 2), ('0', '1'))
    """
    info = get_info(name)
    check_options(name, num_points=num_points, noise=noise, as_images=as_images, image_size=image_size)
    if not info.tabular:
        raise ValueError(f"dataset must be one of {', '.join(TABLES)} to be had as a table, got {name!r}.")
    if info.source == "generated":
        return _generate(name, num_points, float(noise), seed)
    if info.source == "scikit-learn":
        table = _load_bundled(name, as_images)
        return resized(table, info.image_shape, image_size) if info.image_shape and image_size else table
    source = UCI[name]
    try:
        return source.table(obtain(source.remote(name), data_dir))
    except ValueError as error:
        raise DataError(f"{name} cannot be read: {error}.") from None


def check_options(name: str, *, num_points: int, noise: float, as_images: bool, image_size: int | None = None) -> None:
    """Refuse what :func:`load_table` cannot do.

    Raises:
        ValueError: With the parameter, what was found and what would do.
        TypeError: If ``as_images`` is neither True nor False.
    """
    check_flag("as_images", as_images)
    if isinstance(num_points, bool) or not isinstance(num_points, (int, np.integer)) or num_points < 1:
        raise ValueError(f"num_points must be an integer >= 1, got {num_points!r}.")
    if isinstance(noise, bool) or not isinstance(noise, (int, float, np.floating)) or not 0 <= noise < math.inf:
        raise ValueError(f"noise must be a number >= 0, got {noise!r}.")
    if name == "blobs" and noise == 0:
        raise ValueError("noise must be > 0 for blobs, got 0: every cloud would be one point.")
    if as_images and name not in IMAGES:
        raise ValueError(
            f"as_images needs a data set of images ({', '.join(IMAGES)}), got {name!r}: choose one, or as_images=False."
        )
    if image_size is None:
        return
    if name not in IMAGES:
        raise ValueError(f"image_size needs a data set of images ({', '.join(IMAGES)}), got {name!r}: leave it out.")
    if isinstance(image_size, bool) or not isinstance(image_size, int) or image_size < 4:
        raise ValueError(f"image_size must be an integer >= 4, got {image_size!r}.")


def check_flag(name: str, value: object) -> None:
    """Refuse anything but True and False: the text "False" would count as true.

    Raises:
        TypeError: With the parameter and what was found.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}.")


def check_available(name: str, data_dir: str | os.PathLike[str] | None = None) -> None:
    """Make sure that a data set can be loaded: check its cached files, or download them.

    Raises:
        ValueError: If there is no data set of that name.
        DataError: If a cached file is damaged, or a file is neither cached nor reachable.
    """
    if get_info(name).source == "UCI":
        obtain(UCI[name].remote(name), data_dir)
    elif name in IMAGE_SOURCES:
        images_available(name, data_dir)


def availability(name: str, data_dir: str | os.PathLike[str] | None = None) -> str:
    """``"built in"``, ``"cached"``, ``"not cached"`` or ``"damaged"``, without the network.

    Example:
        >>> availability("moons")
        'built in'
    """
    if name in IMAGE_SOURCES:
        return images_state(name, data_dir)
    if get_info(name).source != "UCI":
        return "built in"
    return cache_state(UCI[name].remote(name), data_dir)


def places(name: str, data_dir: str | os.PathLike[str] | None = None) -> list[str]:
    """Where the files of a data set are in the cache, or would be."""
    if name in IMAGE_SOURCES:
        return [str(place(file, data_dir)) for file in IMAGE_SOURCES[name].files]
    if get_info(name).source != "UCI":
        return []
    remote = UCI[name].remote(name)
    own = cache_folder(data_dir) / "uci" / name
    return [str(find_cached(remote, file, data_dir) or own / file.name) for file in remote.files]


def _generate(name: str, num_points: int, noise: float, seed: int) -> Table:
    from sklearn import datasets

    if name == "moons":
        x, y = datasets.make_moons(num_points, noise=noise, random_state=seed)
    elif name == "circles":
        x, y = datasets.make_circles(num_points, noise=noise, factor=0.5, random_state=seed)
    else:
        angles = np.deg2rad([90.0, 210.0, 330.0])
        centers = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        x, y = datasets.make_blobs(num_points, centers=centers, cluster_std=noise, random_state=seed)
    return _numeric(x, y, tuple(str(i) for i in range(DATASETS[name].classes)), ("x", "y"))


def _load_bundled(name: str, as_images: bool) -> Table:
    from sklearn import datasets

    loaders: dict[str, Callable[[], Any]] = {
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
