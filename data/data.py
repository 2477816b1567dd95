"""From the name of a data set to its data, plain or as a data module of Lightning."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, ParamSpec, TypeAlias, TypeVar

from data.cache import DataDir, DataError
from data.checks import check_integer
from data.dataset_info import DatasetInfo
from data.datasets import DATASETS, check_available, check_options, get_info, load_table
from data.images.arrays import load_arrays, make_fake
from data.images.catalog import IMAGE_SOURCES
from data.images.folders import Corrupt, chosen_corrupt
from data.images.image_arrays import ImageArrays
from data.own import Own, own_at
from data.scaling import SCALINGS, check_scaling
from data.splitting import DEFAULT_SHARE, check_sizes
from data.tables import ColumnOptions, Names, Table
from jumpstart.choices import check_flag
from jumpstart.files import is_path

# torch is imported in the functions that need it, so that the list of data sets is available without torch.
if TYPE_CHECKING:
    import pandas as pd

    from data.datamodules import AnyModule
    from data.images.in_folders import FolderOptions
    from data.images.in_memory import MemoryImageData
    from data.images.module import ImageModule
    from data.images.transforms import Transform, Transforms
    from data.split_data import SplitOptions
    from data.tabular import TabularData

    AnyData: TypeAlias = TabularData | MemoryImageData | ImageModule
    """Data in three parts, of which only images in folders need Lightning."""

__all__ = [
    "DATASETS",
    "DataError",
    "DatasetInfo",
    "check_available",
    "check_data",
    "get_info",
    "make_data",
    "make_datamodule",
]


P = ParamSpec("P")
T = TypeVar("T")


def takes_arguments_of(other: Callable[P, object]) -> Callable[[Callable[..., T]], Callable[P, T]]:
    """Give a function the signature of another one, for ``help``, editors and type checkers."""

    def with_signature(function: Callable[..., T]) -> Callable[P, T]:
        own = inspect.signature(other).replace(return_annotation=inspect.signature(function).return_annotation)
        function.__signature__ = own  # type: ignore[attr-defined]
        return function

    return with_signature


def make_data(
    name: str | os.PathLike[str] | pd.DataFrame | Sequence[object],
    *,
    batch_size: int | None = None,
    seed: int = 42,
    split_seed: int | None = None,
    val_size: float | None = None,
    test_size: float | None = None,
    num_points: int = 1000,
    noise: float = 0.1,
    scaling: str = "standard",
    as_images: bool = False,
    data_dir: DataDir = None,
    image_size: int | None = None,
    augment: bool = True,
    num_classes: int = 10,
    channels: int = 3,
    num_workers: int | None = None,
    corrupt: str = Corrupt.SKIP,
    transform: Transform | None = None,
    train_transform: Transform | None = None,
    eval_transform: Transform | None = None,
    target: str | int | None = None,
    drop_columns: Names = (),
    category_columns: Names = (),
    val: object = None,
    test: object = None,
) -> AnyData:
    """A named data set, or data of your own, in three parts. Nothing is loaded before its ``setup``.

    Every data set has ``input_shape``, ``num_classes``, ``class_names``, ``num_rows(part)``, ``describe()`` and
    ``batches(part)`` of float inputs and class numbers. Tables and images in memory need no Lightning. Images in
    folders are a ``LightningDataModule``, as :func:`make_datamodule` makes from every data set.

    Args:
        name: One of :data:`DATASETS`; the path of a folder of images or of a file of separated values, which has a
            separator or a dot, or begins with ``~``; a pandas data frame; or a pair ``(x, y)`` of inputs and labels:
            arrays, tensors, lists, or a data frame as x. See :mod:`data.images.own_folder` and
            :mod:`data.own_tables`.
        batch_size: Rows of a batch over all processes; ``None`` for all rows.
        seed: Seed of generated points, of the split, of the order of batches and of augmentation.
        split_seed: Seed of generated points and of the split; ``None`` for that of ``seed``.
        val_size: Share of the validation part; ``None`` for 0.15, or less for a large set of images (0.1; 0.02 for
            imagenet). The share is of the training images if the set has a published test part.
        test_size: Share of the test part; ``None`` for 0.15. A published test part is used unchanged.
        num_points: Rows of a generated set; ignored for others.
        noise: Standard deviation of the noise of a generated set; ignored for others.
        scaling: How the numbers of a table are scaled by the training part: ``"standard"``, to mean 0 and standard
            deviation 1, or ``"range"``, divided by the range of each column. Images have scales of their own.
        as_images: Whether to serve ``digits`` as ``(1, 8, 8)`` images; all other sets of images are always images.
        data_dir: Cache folder; ``None`` for JUMPSTART_DATA_DIR, else the user's cache folder.
        image_size: Height and width of images; ``None`` for those of the set. ``digits`` are resized with and without
            ``as_images``.
        augment: Whether training images are augmented, as is usual for the set; ``digits`` never are. This argument
            and all following ones are ignored for tables.
        num_classes: Number of classes of ``fake``.
        channels: Number of channels of ``fake``.
        num_workers: Number of processes that decode images in folders, for each loader; ``None`` for one less than
            there are cores for this process, at most 12, and 0 for a small folder of the user. Ignored for sets in
            memory.
        corrupt: Treatment of images in folders that cannot be decoded. ``"skip"`` replaces each by another image of
            its class, and logs how many; ``"refuse"`` decodes every image once before training, and raises an error.
        transform: Function of a PIL image that returns a tensor ``(channels, height, width)``, as in torchvision, in
            place of crops, augmentation and normalization. A PIL image or a tensor of bytes is normalized afterwards.
        train_transform: The same for training images alone.
        eval_transform: The same for validation and test images alone.
        target: Column of the classes in a file or data frame: its name, or its position from 0, or from -1 at the end.
            This argument and all following ones are refused for a named data set.
        drop_columns: Columns of a file or data frame that are left out.
        category_columns: Columns of a file or data frame whose numbers are categories.
        val: Validation part, of the same kind as ``name``; ``None`` to split it from the rows.
        test: Test part, like ``val``.

    Raises:
        ValueError: If there is no data set of that name, or an argument is out of range.
        DataError: If a path leads to nothing that is read.
        TypeError: If ``as_images`` or ``augment`` is neither True nor False.
        DataError: If a file of your own does not exist.

    Example:
        >>> data = make_data("moons", num_points=100)
        >>> data.setup()
        >>> data.num_rows("train"), data.input_shape, data.num_classes
        (70, (2,), 2)
        >>> data.x_train.shape, [len(labels) for _, labels in data.batches("val")]
        (torch.Size([70, 2]), [15])
    """
    return _maker(**locals())()


@takes_arguments_of(make_data)
def check_data(*arguments: object, **options: object) -> None:
    """Check the arguments of :func:`make_data`. For a named table, torch is not imported; a table of the user is read.

    Raises:
        ValueError: As for :func:`make_data`, like all other errors.
        DataError: If a table of the user can't be used.

    Example:
        >>> check_data("moons", num_points=10)
        Traceback (most recent call last):
        ValueError: num_points must be >= 14 to give each part a point of each class, got 10.
    """
    given = inspect.signature(make_data).bind(*arguments, **options)
    given.apply_defaults()
    make = _maker(**given.arguments)
    name = given.arguments["name"]
    if not isinstance(name, str) or (is_path(name) and own_at(name)[0] is not Own.FOLDER):
        make().setup()


@takes_arguments_of(make_data)
def make_datamodule(*arguments: object, **options: object) -> AnyModule:
    """A named data set, or data of your own, as a ``LightningDataModule``. Takes the arguments of :func:`make_data`.

    Every module has three loaders. Under a trainer, batches are on its device, and each process serves its slice of
    each batch.

    Raises:
        ValueError: As for :func:`make_data`, like all other errors.

    Example:
        >>> module = make_datamodule("moons", num_points=100)
        >>> module.setup()
        >>> module.num_rows("train"), module.input_shape, module.num_classes
        (70, (2,), 2)
        >>> make_datamodule("fake", image_size=8, num_classes=3, channels=1).name
        'fake'
        >>> x, y = [[float(row)] for row in range(40)], ["low"] * 20 + ["high"] * 20
        >>> module = make_datamodule((x, y), batch_size=8)
        >>> module.setup()
        >>> module.class_names, module.num_rows("train")
        (('high', 'low'), 28)
    """
    data = make_data(*arguments, **options)  # type: ignore[arg-type]
    from data.datamodules import as_datamodule

    return as_datamodule(data)


def _maker(
    name: str | os.PathLike[str] | pd.DataFrame | Sequence[object],
    *,
    batch_size: int | None,
    seed: int,
    split_seed: int | None,
    val_size: float | None,
    test_size: float | None,
    num_points: int,
    noise: float,
    scaling: str,
    as_images: bool,
    data_dir: DataDir,
    image_size: int | None,
    augment: bool,
    num_classes: int,
    channels: int,
    num_workers: int | None,
    corrupt: str,
    transform: Transform | None,
    train_transform: Transform | None,
    eval_transform: Transform | None,
    target: str | int | None,
    drop_columns: Names,
    category_columns: Names,
    val: object,
    test: object,
) -> Callable[[], AnyData]:
    """What makes the data of the arguments of :func:`make_data`, which are checked here."""
    images = _checked_images(
        image_size, augment, num_workers, corrupt, data_dir, (transform, train_transform, eval_transform)
    )
    table = _TableOptions(
        val, test, {"target": target, "drop_columns": drop_columns, "category_columns": category_columns}
    )
    if not isinstance(name, str) or is_path(name):
        check_flag("as_images", as_images)
        split = _split_options(batch_size, (seed, split_seed), val_size, test_size)
        return _always(_own(name, as_images, images, table, scaling, split))
    info = get_info(name)
    table.refuse(name)
    check_options(name, num_points=num_points, noise=noise, as_images=as_images, image_size=image_size)
    default = IMAGE_SOURCES[name].val_size if name in IMAGE_SOURCES else DEFAULT_SHARE
    options = _split_options(batch_size, (seed, split_seed), val_size, test_size, default)
    options |= {"name": name, "prepare": partial(check_available, name, data_dir)}
    if name not in IMAGE_SOURCES:
        _refuse_transforms(name, images)
        if info.source == "generated":
            _check_num_points(num_points, info.classes, options)
        else:
            check_sizes(options["val_size"], options["test_size"], info.rows)
        check_scaling(scaling)
        return partial(
            _tabular, name, num_points, noise, scaling, _points_seed(options), as_images, image_size, data_dir, options
        )
    _refuse_scaling(name, scaling)
    check_integer("num_classes", num_classes, 2)
    check_integer("channels", channels, 1)
    if IMAGE_SOURCES[name].folders:
        return _always(_folder_images(name, images, options))
    if name == "fake":
        _check_num_points(num_points, num_classes, options)
        return _always(_fake_images(num_points, num_classes, channels, noise, images, options))
    load = partial(load_arrays, name, data_dir)
    return _always(_memory_images(load, IMAGE_SOURCES[name].class_names, images, options))


def _always(data: AnyData) -> Callable[[], AnyData]:
    return lambda: data


class _Images(NamedTuple):
    """Checked arguments that only images have."""

    image_size: int | None
    augment: bool
    num_workers: int | None
    corrupt: Corrupt
    data_dir: DataDir
    given: tuple[Transform | None, Transform | None, Transform | None]

    @property
    def transforms(self) -> Transforms:
        """The transforms of the user. Imports torch."""
        from data.images.transforms import chosen_transforms

        return chosen_transforms(*self.given)

    @property
    def of_folders(self) -> FolderOptions:
        """The arguments of a data module of images in folders."""
        return {
            "data_dir": self.data_dir,
            "augment": self.augment,
            "num_workers": self.num_workers,
            "corrupt": self.corrupt,
            "transforms": self.transforms,
        }


def _checked_images(
    image_size: int | None,
    augment: bool,
    num_workers: int | None,
    corrupt: str,
    data_dir: DataDir,
    transforms: tuple[Transform | None, Transform | None, Transform | None],
) -> _Images:
    check_flag("augment", augment)
    if image_size is not None:
        check_integer("image_size", image_size, 4)
    check_integer("num_workers", 0 if num_workers is None else num_workers, 0)
    if transforms[1] is not None and not augment:
        raise ValueError("train_transform needs augment=True, got False: leave one of them out.")
    return _Images(image_size, augment, num_workers, chosen_corrupt(corrupt), data_dir, transforms)


def _refuse_transforms(name: str, images: _Images) -> None:
    if images.given != (None, None, None):
        raise ValueError(f"a transform needs a data set of images, and no table, got {name!r}: leave it out.")


class _TableOptions(NamedTuple):
    """Arguments that only a table of the user has."""

    val: object
    test: object
    columns: ColumnOptions

    def refuse(self, name: str) -> None:
        """Refuse these arguments for other data."""
        for option, value in {"val": self.val, "test": self.test, **self.columns}.items():
            if value is not None and (option in ("val", "test") or value != ()):
                raise ValueError(f"{option} has an effect for a table of your own only, not for {name}: leave it out.")


def _own(
    source: str | os.PathLike[str] | pd.DataFrame | Sequence[object],
    as_images: bool,
    images: _Images,
    table: _TableOptions,
    scaling: str,
    options: SplitOptions,
) -> TabularData | ImageModule:
    """The data of a path, a data frame or arrays of the user."""
    from data.tabular import TabularData

    if not isinstance(source, str | os.PathLike):
        from data.own_tables.arrays import table_in_memory

        _refuse_image_options("arrays", as_images, images)
        options["name"] = "the data"
        load: Callable[[], Table] = partial(table_in_memory, source, table.val, table.test, **table.columns)
        return TabularData(load, scaling=scaling, **options)
    kind, path = own_at(os.fspath(source))
    options["name"] = path.name
    if kind is Own.FOLDER:
        from data.images.in_own_folder import OwnFolderImages

        table.refuse(f"the folder {path}")
        _refuse_scaling(path.name, scaling)
        return OwnFolderImages(path, image_size=images.image_size, folders=images.of_folders, **options)
    from data.own_tables.load import find_file, table_of_files

    _refuse_image_options(path.name, as_images, images)
    val, test = find_file("val_dataset", table.val), find_file("test_dataset", table.test)
    load = partial(table_of_files, path, val, test, **table.columns)
    return TabularData(load, scaling=scaling, **options)


def _refuse_scaling(name: str, scaling: str) -> None:
    if check_scaling(scaling) != SCALINGS[0]:
        raise ValueError(f"scaling has an effect for tables only, not for the images of {name}: leave it out.")


def _refuse_image_options(name: str, as_images: bool, images: _Images) -> None:
    _refuse_transforms(name, images)
    for option, given in (("as_images", as_images), ("image_size", images.image_size is not None)):
        if given:
            raise ValueError(
                f"{option} has an effect for named data sets of images only, not for {name}: leave it out."
            )


def _split_options(
    batch_size: int | None,
    seeds: tuple[int, int | None],
    val_size: float | None,
    test_size: float | None,
    default_val_size: float = DEFAULT_SHARE,
) -> SplitOptions:
    if val_size is None:
        val_size = default_val_size
    if test_size is None:
        test_size = DEFAULT_SHARE
    check_sizes(val_size, test_size)
    seed, split_seed = seeds
    return {
        "batch_size": batch_size,
        "seed": seed,
        "split_seed": split_seed,
        "val_size": val_size,
        "test_size": test_size,
    }


def _points_seed(options: SplitOptions) -> int:
    """The seed of generated points: that of the split."""
    split_seed = options["split_seed"]
    return options["seed"] if split_seed is None else split_seed


def _tabular(
    name: str,
    num_points: int,
    noise: float,
    scaling: str,
    seed: int,
    as_images: bool,
    image_size: int | None,
    data_dir: DataDir,
    options: SplitOptions,
) -> TabularData:
    from data.tabular import TabularData

    load = partial(
        load_table,
        name,
        num_points=num_points,
        noise=noise,
        seed=seed,
        as_images=as_images,
        image_size=image_size,
        data_dir=data_dir,
    )
    return TabularData(load, scaling=scaling, **options)


def _fake_images(
    num_points: int, num_classes: int, channels: int, noise: float, images: _Images, options: SplitOptions
) -> MemoryImageData:
    side = images.image_size or IMAGE_SOURCES["fake"].shape[1]
    load = partial(_load_fake, num_points, num_classes, (channels, side, side), float(noise), _points_seed(options))
    return _memory_images(load, tuple(map(str, range(num_classes))), images, options)


def _load_fake(
    rows: int, num_classes: int, shape: tuple[int, int, int], noise: float, seed: int
) -> tuple[ImageArrays, None]:
    return make_fake(rows, num_classes, shape, noise=noise, seed=seed), None


def _memory_images(
    load: Callable[[], tuple[ImageArrays, ImageArrays | None]],
    class_names: tuple[str, ...],
    images: _Images,
    options: SplitOptions,
) -> MemoryImageData:
    from data.images.augment import ShiftAndFlip
    from data.images.in_memory import MemoryImageData

    source = IMAGE_SOURCES[options["name"]]
    return MemoryImageData(
        load,
        class_names=class_names,
        augment=ShiftAndFlip(source.padding, source.flip) if images.augment else None,
        image_size=images.image_size,
        transforms=images.transforms,
        **options,
    )


def _folder_images(name: str, images: _Images, options: SplitOptions) -> ImageModule:
    from data.images.in_folders import FolderImages

    size = images.image_size or IMAGE_SOURCES[name].shape[1]
    return FolderImages(image_size=size, **images.of_folders, **options)


def _check_num_points(num_points: int, classes: int, options: SplitOptions) -> None:
    """Refuse a number of points too small for one point of each class in the smallest part."""
    val_size, test_size = options["val_size"], options["test_size"]
    least = math.ceil(classes / min(val_size or 1.0, test_size, 1 - val_size - test_size) - 1e-9)
    if num_points < least:
        raise ValueError(f"num_points must be >= {least} to give each part a point of each class, got {num_points}.")
