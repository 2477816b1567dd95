"""The data sets: their descriptions, their state in the cache, and their tables."""

from __future__ import annotations

import os

from data.built_in import BUILT_IN_INFOS, UCI_LICENSE, generate, load_bundled
from data.cache import DataDir, DataError, cache_folder
from data.checks import check_integer, check_noise
from data.dataset_info import DatasetInfo
from data.images.arrays import files_of, images_available, images_state
from data.images.catalog import IMAGE_INFOS, IMAGE_SOURCES
from data.images.published import place
from data.tables import Table, resized
from data.uci.catalog import UCI
from data.uci.files import cache_state, find_cached, obtain
from data.uci.reading import UciSource
from jumpstart.choices import check_flag, did_you_mean


def _uci(name: str, source: UciSource) -> DatasetInfo:
    return DatasetInfo(
        name=name,
        title=source.title,
        source="UCI",
        rows=source.rows,
        features=source.num_features,
        classes=len(source.counts),
        license=UCI_LICENSE,
        creators=source.creators,
        url=source.url,
        files=source.files,
        note=source.note,
    )


DATASETS: dict[str, DatasetInfo] = {
    info.name: info
    for info in (
        *BUILT_IN_INFOS,
        *(_uci(name, source) for name, source in UCI.items()),
        *IMAGE_INFOS,
    )
}
"""Every data set, by name."""

TABLES = tuple(name for name, info in DATASETS.items() if info.tabular)
"""Names of the data sets that can be loaded as tables."""

IMAGES = tuple(name for name, info in DATASETS.items() if info.image_shape)
"""Names of the data sets that can be served as images."""


def get_info(name: str) -> DatasetInfo:
    """The description of a data set.

    Raises:
        ValueError: If there is no data set of that name; the message has the nearest name and the whole list.

    Example:
        >>> get_info("iris").rows
        150
    """
    if name in DATASETS:
        return DATASETS[name]
    hint = f" For the path, write ./{name}." if os.path.exists(name) else did_you_mean(name, DATASETS)
    raise ValueError(f"dataset must be one of {', '.join(DATASETS)}, or a path, got {name!r}.{hint}")


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


# Tables -------------------------------------------------------------------------------------------


def load_table(
    name: str,
    *,
    num_points: int = 1000,
    noise: float = 0.1,
    seed: int = 42,
    as_images: bool = False,
    image_size: int | None = None,
    data_dir: DataDir = None,
) -> Table:
    """A data set as a table: nothing imputed, scaled or encoded yet.

    Args:
        name: One of :data:`TABLES`.
        num_points: Rows of a generated set; ignored for others.
        noise: Standard deviation of the noise of a generated set; ignored for others.
        seed: Seed of a generated set.
        as_images: Whether to give ``digits`` the shape ``(1, 8, 8)``.
        image_size: Height and width to which ``digits`` are resized; ``None`` for no resizing.
        data_dir: Cache folder; ``None`` for JUMPSTART_DATA_DIR, else the user's cache folder.

    Raises:
        ValueError: If an argument is out of range.
        TypeError: If ``as_images`` is neither True nor False.
        DataError: If a file of a UCI set is damaged, or neither cached nor reachable.

    Example:
        >>> table = load_table("moons", num_points=10)
        >>> table.numbers.shape, table.class_names
        ((10, 2), ('0', '1'))
    """
    info = get_info(name)
    check_options(name, num_points=num_points, noise=noise, as_images=as_images, image_size=image_size)
    if not info.tabular:
        raise ValueError(f"dataset must be one of {', '.join(TABLES)} to be loaded as a table, got {name!r}.")
    if info.source == "generated":
        return generate(name, num_points, float(noise), seed)
    if info.source == "scikit-learn":
        table = load_bundled(name, as_images)
        return resized(table, info.image_shape, image_size) if info.image_shape and image_size else table
    source = UCI[name]
    try:
        return source.table(obtain(source.remote(name), data_dir))
    except ValueError as error:
        raise DataError(f"{name} cannot be read: {error}.") from None


def check_options(name: str, *, num_points: int, noise: float, as_images: bool, image_size: int | None = None) -> None:
    """Refuse options that a data set does not have, and values out of range.

    Args:
        name: One of :data:`DATASETS`.
        num_points: As in :func:`load_table`.
        noise: As in :func:`load_table`.
        as_images: As in :func:`load_table`.
        image_size: As in :func:`load_table`.

    Raises:
        ValueError: With the parameter, its value and a remedy.
        TypeError: If ``as_images`` is neither True nor False.
    """
    check_flag("as_images", as_images)
    check_integer("num_points", num_points, 1)
    check_noise(noise)
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
    check_integer("image_size", image_size, 4)


# Files --------------------------------------------------------------------------------------------


def check_available(name: str, data_dir: DataDir = None) -> None:
    """Make sure that a data set can be loaded: check its cached files, or download them.

    Raises:
        ValueError: If there is no data set of that name.
        DataError: If a cached file is damaged, or a file is neither cached nor reachable.
    """
    if get_info(name).source == "UCI":
        obtain(UCI[name].remote(name), data_dir)
    elif name in IMAGE_SOURCES:
        images_available(name, data_dir)


def availability(name: str, data_dir: DataDir = None) -> str:
    """``"built in"``, ``"cached"``, ``"not cached"`` or ``"damaged"``. Never uses the network.

    Raises:
        ValueError: If there is no data set of that name.

    Example:
        >>> availability("moons")
        'built in'
    """
    if name in IMAGE_SOURCES:
        return images_state(name, data_dir)
    if get_info(name).source != "UCI":
        return "built in"
    return cache_state(UCI[name].remote(name), data_dir)


def places(name: str, data_dir: DataDir = None) -> list[str]:
    """Paths of the files of a data set in the cache, whether they exist or not.

    Raises:
        ValueError: If there is no data set of that name.
    """
    if name in IMAGE_SOURCES:
        return [str(place(file, data_dir)) for file in files_of(name, data_dir)]
    if get_info(name).source != "UCI":
        return []
    remote = UCI[name].remote(name)
    own = cache_folder(data_dir) / "uci" / name
    return [str(find_cached(remote, file, data_dir) or own / file.name) for file in remote.files]
