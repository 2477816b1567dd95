"""Sets of images in folders: where they are, how they are laid out, which files belong to which class."""

from __future__ import annotations

import csv
import logging
import os
import re
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data.cache import DataDir, DataError, cache_folder, folder_setting, one_line
from data.images.catalog import IMAGE_SOURCES
from data.images.formats import SUFFIXES
from data.images.published import obtain_published
from data.tables import Integers
from jumpstart.files.drafts import draft_folder, remove_drafts
from jumpstart.words import are, counted

logger = logging.getLogger(__name__)

KAGGLE = Path("ILSVRC", "Data", "CLS-LOC")
"""Folder of Kaggle's archive that holds ``train`` and ``val``."""

_IMAGENETTE = ("imagenette2-320", "imagenette2", "imagenette2-160")


class Corrupt(StrEnum):
    """Treatment of an image that cannot be decoded: replaced by another of its class, or an error."""

    SKIP = "skip"
    REFUSE = "refuse"


def chosen_corrupt(value: str) -> Corrupt:
    """The treatment of that name.

    Raises:
        ValueError: If there is no treatment of that name.
    """
    try:
        return Corrupt(value)
    except ValueError:
        raise ValueError(f"corrupt must be one of {', '.join(Corrupt)}, got {value!r}.") from None


@dataclass(frozen=True)
class Folders:
    """Paths of one set of images.

    Attributes:
        train: Folder with a subfolder of images for each class.
        test: Folder of the published validation images: with such subfolders, or flat.
        answers: For a flat folder, the file of answers or the folder of annotations that has the classes.
    """

    train: Path
    test: Path
    answers: Path | None = None

    @property
    def is_kaggle(self) -> bool:
        """Whether the folders are laid out as in Kaggle's archive."""
        return self.train.parent.parts[-len(KAGGLE.parts) :] == KAGGLE.parts

    @property
    def root(self) -> Path:
        """Folder of the whole set."""
        base = self.train.parent
        return base.parents[len(KAGGLE.parts) - 1] if self.is_kaggle else base


@dataclass(frozen=True, eq=False)
class Listing:
    """Files and their classes.

    Attributes:
        root: Folder that the names are relative to.
        names: File names, ``(rows,)``, as bytes in one array: a million Python strings would be copied into every
            worker, because each access to a string writes to its reference count.
        labels: Class numbers, ``(rows,)``.
    """

    root: Path
    names: npt.NDArray[np.bytes_]
    labels: Integers

    def __len__(self) -> int:
        return len(self.labels)

    def path(self, row: int) -> str:
        """The path of one file."""
        return os.path.join(self.root, os.fsdecode(self.names[row]))

    def select(self, rows: Integers) -> Listing:
        """The files and classes of some rows."""
        return Listing(self.root, self.names[rows], self.labels[rows])


# Where a set is -----------------------------------------------------------------------------------


def find_folders(name: str, data_dir: DataDir = None, *, download: bool = False) -> Folders:
    """The folders of a set of images.

    Args:
        name: ``"imagenet"`` or ``"imagenette"``.
        data_dir: Cache folder, or the folder of the set itself.
        download: Whether to download and extract a missing set, if it can be downloaded.

    Raises:
        DataError: If the folders are missing; the message has the place where they must be, and their source.
    """
    if download:
        remove_drafts(cache_folder(data_dir) / name)
    folders = _find(name, data_dir)
    if folders is None and download and IMAGE_SOURCES[name].files:
        try:
            _download_and_extract(name, data_dir)
        except DataError:
            if _find(name, data_dir) is None:  # else another process was faster
                raise
        folders = _find(name, data_dir)
    if folders is not None:
        return folders
    own = cache_folder(data_dir) / name
    if name == "imagenet":
        raise DataError(
            f"imagenet is not at {own}: put ILSVRC 2012 there as train/<wnid>/*.JPEG and val/<wnid>/*.JPEG, or unpack "
            "Kaggle's archive there (kaggle competitions download -c imagenet-object-localization-challenge; or "
            f"register at https://www.image-net.org/download.php), or set {folder_setting(data_dir)} to the folder "
            "that holds imagenet/."
        )
    raise DataError(f"{name} is not at {own / _IMAGENETTE[0]}: unpack {IMAGE_SOURCES[name].files[0].name} in {own}.")


def folder_state(name: str, data_dir: DataDir = None) -> str:
    """``"cached"``, ``"not cached"`` or ``"damaged"``. Never uses the network."""
    try:
        return "not cached" if _find(name, data_dir) is None else "cached"
    except DataError:
        return "damaged"


def describe_folders(name: str, data_dir: DataDir = None) -> dict[str, str]:
    """A description of the folders of a set of images. Lists every file, and decodes none.

    Returns:
        ``folder``, where the set is or must be; ``layout`` and ``found`` if it is there; ``problem`` if it cannot be
        used as it is.
    """
    described = {"folder": str(cache_folder(data_dir) / name)}
    try:
        folders = _find(name, data_dir)
        if folders is None:
            return described
        described["folder"] = str(folders.root)
        described["layout"] = (
            f"{'Kaggle' if folders.is_kaggle else 'torchvision'}'s, training images in {folders.train}, test images "
            f"in {folders.test}" + (f", their classes in {folders.answers}" if folders.answers else "")
        )
        train, test, classes = list_images(folders)
        described["found"] = f"{len(train)} training and {len(test)} test images of {len(classes)} classes"
    except DataError as error:
        described["problem"] = str(error)
    return described


def _find(name: str, data_dir: DataDir) -> Folders | None:
    for root in _possible_roots(name, cache_folder(data_dir)):
        for base in (root, root / KAGGLE):
            train, test = base / "train", base / "val"
            if not (subfolders(train) and test.is_dir()):
                continue
            if subfolders(test):
                return Folders(train, test)
            answers = _answers(root)
            if answers is None:
                raise DataError(
                    f"the classes of the images in {test} are unknown: put Kaggle's LOC_val_solution.csv into {root}, "
                    "or sort the images into folders of classes."
                )
            return Folders(train, test, answers)
    return None


def _possible_roots(name: str, cache: Path) -> Iterable[Path]:
    if name == "imagenet":
        return cache / name, cache
    return (folder / version for version in _IMAGENETTE for folder in (cache / name, cache))


def _answers(root: Path) -> Path | None:
    annotations = root / "ILSVRC" / "Annotations" / "CLS-LOC" / "val"
    for path in (root / "LOC_val_solution.csv", root / "ILSVRC" / "LOC_val_solution.csv", annotations):
        if path.exists():
            return path
    return None


def _download_and_extract(name: str, data_dir: DataDir) -> None:
    (file,) = IMAGE_SOURCES[name].files
    archive = obtain_published(file, data_dir)
    folder = archive.parent
    # Extracted beside its place and then renamed, so that an interruption leaves no incomplete set there.
    # The archive is removed first, because nobody would remove it beside a complete set.
    try:
        with draft_folder(folder) as draft:
            with tarfile.open(archive) as opened:
                opened.extractall(draft, filter="data")
            archive.unlink()
            for inner in draft.iterdir():
                inner.rename(folder / inner.name)
    except (OSError, EOFError, tarfile.TarError) as error:
        raise DataError(
            f"{archive} cannot be unpacked ({one_line(error)}): free disk space, check the permissions of {folder}, or "
            "unpack it there by hand."
        ) from None
    logger.info("Unpacked %s in %s.", file.name, folder)


# Which files it has -------------------------------------------------------------------------------


def list_images(folders: Folders) -> tuple[Listing, Listing, tuple[str, ...]]:
    """Training files, test files, and the names of the classes in the order of their numbers.

    Raises:
        DataError: If a class has no images, or a test image has no class or one that training lacks.
    """
    classes = subfolders(folders.train)
    train = list_classes(folders.train, classes, classes)
    empty = np.flatnonzero(np.bincount(train.labels, minlength=len(classes)) == 0)
    if len(empty):
        raise DataError(
            f"{folders.train / classes[empty[0]]} has no images ({', '.join(SUFFIXES)}): remove it, or put them there."
        )
    if folders.answers is not None:
        return train, _list_flat(folders.test, folders.answers, classes), classes
    test_classes = subfolders(folders.test)
    unknown = sorted(set(test_classes) - set(classes))
    if unknown:
        raise DataError(
            f"{folders.test} has a class that {folders.train} lacks, {unknown[0]}: both must have the same folders."
        )
    test = list_classes(folders.test, test_classes, classes)
    if not len(test):
        raise DataError(f"{folders.test} has no images ({', '.join(SUFFIXES)}) in folders of classes: put them there.")
    return train, test, classes


def subfolders(folder: Path) -> tuple[str, ...]:
    """The names of the folders in a folder, without hidden ones, sorted; none if the folder cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return tuple(sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")))
    except OSError:
        return ()


def _images_in(folder: Path, others: list[str]) -> list[str]:
    """The image files in a folder and its subfolders, by their paths below it, sorted; links are followed.

    Args:
        folder: The folder.
        others: Is extended by the paths of the files that are no images. Hidden files are left out altogether.
    """
    names = sorted(_files_below(folder, "", frozenset()))
    others += [os.path.join(folder, name) for name in names if not name.lower().endswith(SUFFIXES)]
    return [name for name in names if name.lower().endswith(SUFFIXES)]


def _warn_of_others(root: Path, others: Sequence[str]) -> None:
    if others:
        logger.warning(
            "%s has %s that %s not read, such as %s: the name of an image ends in %s.",
            root,
            counted(len(others), "file"),
            are(len(others)),
            others[0],
            ", ".join(SUFFIXES),
        )


def _files_below(folder: Path, prefix: str, above: frozenset[str]) -> Iterator[str]:
    """Files at any depth, with the path to them; ``above`` are the folders that a link must not lead back to."""
    with os.scandir(folder / prefix) as entries:
        visible = [entry for entry in entries if not entry.name.startswith(".")]
    real = os.path.realpath(folder / prefix) if any(entry.is_dir() for entry in visible) else ""
    for entry in visible:
        if not entry.is_dir():
            yield prefix + entry.name
        elif os.path.realpath(entry.path) not in (above | {real}):
            yield from _files_below(folder, f"{prefix}{entry.name}/", above | {real})


def list_classes(root: Path, folders: Sequence[str], classes: Sequence[str]) -> Listing:
    """Files in subfolders that are named after their class.

    Args:
        root: Folder of the subfolders.
        folders: Names of the subfolders.
        classes: Names of all classes, in the order of their numbers.
    """
    number = {name: i for i, name in enumerate(classes)}
    names: list[bytes] = []
    labels: list[int] = []
    others: list[str] = []
    for folder in folders:
        images = _images_in(root / folder, others)
        names += [os.fsencode(f"{folder}/{name}") for name in images]
        labels += [number[folder]] * len(images)
    _warn_of_others(root, others)
    return Listing(root, np.array(names, dtype=np.bytes_), np.array(labels, dtype=np.int64))


def _list_flat(root: Path, answers: Path, classes: Sequence[str]) -> Listing:
    """Files in one folder, with their classes from the answers."""
    number = {name: i for i, name in enumerate(classes)}
    others: list[str] = []
    names = _images_in(root, others)
    _warn_of_others(root, others)
    if not names:
        raise DataError(f"{root} has no images ({', '.join(SUFFIXES)}): put them there.")
    known = _read_answers(answers, names)
    labels = []
    for name in names:
        wnid = known.get(Path(name).stem)
        if wnid not in number:
            raise DataError(
                f"{root / name} has {'no class' if wnid is None else f'the class {wnid}, which training lacks'}, "
                f"according to {answers}: get both from the same archive."
            )
        labels.append(number[wnid])
    return Listing(root, np.array([os.fsencode(name) for name in names]), np.array(labels, dtype=np.int64))


def _read_answers(answers: Path, names: Sequence[str]) -> dict[str, str]:
    """The class of each image, by the name of its file without suffix."""
    try:
        if answers.is_dir():
            return _read_annotations(answers, names)
        with answers.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        return {row["ImageId"]: row["PredictionString"].split()[0] for row in rows}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, IndexError, AttributeError) as error:
        raise DataError(f"{answers} cannot be read ({one_line(error)}): get it from Kaggle again.") from None


def _read_annotations(annotations: Path, names: Sequence[str]) -> dict[str, str]:
    classes = {}
    for stem in (Path(name).stem for name in names):
        text = (annotations / f"{stem}.xml").read_text(encoding="utf-8")
        if wnid := re.search(r"<name>\s*([^<\s]+)\s*</name>", text):
            classes[stem] = wnid[1]
    return classes
