"""A folder of images of the user: how it is laid out, which files belong to which class and part.

Two layouts are read. A folder with ``train/``, and ``val/`` and ``test/`` where they exist, has a folder for each class
in each of them. Any other folder has a folder for each class.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.cache import DataError
from data.images.folders import KAGGLE, Listing, list_classes, subfolders
from data.images.formats import SUFFIXES
from data.splitting import PARTS, holdout
from data.tables import Integers
from jumpstart.words import counted, some

logger = logging.getLogger(__name__)

_PART_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""The part of each folder that is no class, by its name in lower case."""

_CIFAR = "cifar-10-batches-py"


@dataclass(frozen=True, eq=False)
class OwnFolder:
    """The files of a folder.

    Attributes:
        parts: Files and classes of each part that has a folder; of a folder without parts, of ``"train"`` alone.
        classes: Names of the folders of the classes, in the order of their numbers.
        has_parts: Whether the folder has ``train/``.
    """

    parts: dict[str, Listing]
    classes: tuple[str, ...]
    has_parts: bool


def list_own_folder(root: Path) -> OwnFolder:
    """The files of a folder of the user.

    Args:
        root: A folder in one of the two layouts.

    Raises:
        DataError: If there are fewer than two classes, a class without images, no images at all, or a class in another
            part that training lacks.
    """
    folders = _part_folders(root)
    train = folders.get("train", root)
    classes = subfolders(train)
    if len(classes) < 2:
        raise _too_few(root, train, classes)
    loose = [name for name in os.listdir(train) if name.lower().endswith(SUFFIXES) and not name.startswith(".")]
    if loose:
        logger.warning("%s has %s in no folder of a class, left out.", train, counted(len(loose), "image"))
    parts = {"train": _list_part(train, classes, classes)}
    for part, folder in folders.items():
        if part != "train":
            names = subfolders(folder)
            unknown = sorted(set(names) - set(classes))
            if unknown:
                raise DataError(f"{folder} has a class that {train} lacks, {unknown[0]}: give both the same folders.")
            if not names:
                raise DataError(f"{folder} has no folders of classes: put its images into such folders, or remove it.")
            parts[part] = _list_part(folder, names, classes)
    return OwnFolder(parts, classes, bool(folders))


def _part_folders(root: Path) -> dict[str, Path]:
    """The folder of each part; none if the folders of ``root`` are classes."""
    names = subfolders(root)
    folders: dict[str, Path] = {}
    for name in names:
        part = _PART_NAMES.get(name.lower())
        if part in folders:
            raise DataError(f"{root} has two folders of one part, {folders[part].name} and {name}: remove one.")
        if part is not None:
            folders[part] = root / name
    if "train" not in folders or not subfolders(folders["train"]):
        if set(folders) & {"val", "test"} and len(folders) == len(names):
            raise DataError(
                f"{root} has {some(names)} but no train folder with classes: put the training images there."
            )
        return {}
    others = [name for name in names if root / name not in folders.values()]
    if others:
        logger.warning("%s has %s, left out: the parts are train, val and test.", root, some(others))
    return folders


def _list_part(folder: Path, names: Sequence[str], classes: Sequence[str]) -> Listing:
    listing = list_classes(folder, names, classes)
    counts = np.bincount(listing.labels, minlength=len(classes))
    empty = [name for name in names if not counts[classes.index(name)]]
    if empty:
        raise DataError(
            f"{folder / empty[0]} has no images ({', '.join(SUFFIXES)}): remove the folder, or put images there."
        )
    return listing


def _too_few(root: Path, train: Path, classes: Sequence[str]) -> DataError:
    """The error for a folder with one class or none."""
    names = sorted(os.listdir(train))
    if root.name == _CIFAR or _CIFAR in names:
        where = root if _CIFAR in names else root.parent
        return DataError(f"{root} is the archive of CIFAR-10: use dataset=cifar10 with data_dir={where}.")
    if any(name.lower().endswith(SUFFIXES) for name in names):
        return DataError(f"{train} has images outside of folders of classes: put them into one folder for each class.")
    if (root / KAGGLE).is_dir():
        return DataError(f"{root} is ImageNet as Kaggle packs it: use dataset=imagenet with data_dir={root}.")
    if classes and len(inner := subfolders(train / classes[0])) > 1:
        return DataError(f"{train} has one folder, with {some(inner)} in it: name {train / classes[0]} instead.")
    if classes:
        return DataError(f"{train} has one class, {classes[0]}: at least two folders of classes are needed.")
    return DataError(f"{train} has no folders of classes: put the images of each class into a folder there.")


def split_own_folder(
    folder: OwnFolder, groups: Integers, *, val_size: float, test_size: float, seed: int
) -> dict[str, Listing]:
    """The three parts: those that have a folder, and the others split from training, stratified by class.

    Args:
        folder: The files.
        groups: A number for each training file, the same for equal files, which stay in one part.
        val_size: Share of the training images for validation, if validation has no folder.
        test_size: Share of the training images for the test, if the test has no folder.
        seed: Seed of the split.

    Raises:
        ValueError: If there are too few images.
    """
    parts, train = dict(folder.parts), folder.parts["train"]
    rest, left = np.arange(len(train)), 1.0
    for part, size in (("test", test_size), ("val", val_size)):
        if part not in parts:
            inner = np.unique(groups[rest], return_inverse=True)[1]
            kept, held = holdout(train.labels[rest], size=size / left, seed=seed, groups=inner)
            # Row numbers are sorted so that files of a folder are read one after the other.
            parts[part] = train.select(np.sort(rest[held]))
            rest, left = np.sort(rest[kept]), left - size
    return {part: train.select(rest) if part == "train" else parts[part] for part in PARTS}
