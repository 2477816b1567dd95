"""Sets of images in folders: where they are, how they are laid out, which files belong to which class."""

from __future__ import annotations

import csv
import logging
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data.cache import FOLDER_VARIABLE, DataError, cache_folder
from data.images.catalog import IMAGE_SOURCES
from data.images.published import obtain_published
from data.tables import Integers

logger = logging.getLogger(__name__)

SUFFIXES = (".jpeg", ".jpg", ".png")
KAGGLE = Path("ILSVRC", "Data", "CLS-LOC")
_IMAGENETTE = ("imagenette2-320", "imagenette2", "imagenette2-160")


class Corrupt(StrEnum):
    """What is done about an image that cannot be decoded."""

    SKIP = "skip"
    REFUSE = "refuse"


def chosen_corrupt(value: str) -> Corrupt:
    """The option of that name.

    Raises:
        ValueError: If there is none.
    """
    try:
        return Corrupt(value)
    except ValueError:
        raise ValueError(f"corrupt must be one of {', '.join(Corrupt)}, got {value!r}.") from None


@dataclass(frozen=True)
class Folders:
    """Where one set is.

    Attributes:
        train: Folder with a folder of images for each class.
        test: The same for the published validation images, or a flat folder of them.
        answers: For a flat folder: a file of answers, or a folder of annotations.
    """

    train: Path
    test: Path
    answers: Path | None = None


@dataclass(frozen=True, eq=False)
class Listing:
    """Files and their classes.

    Attributes:
        root: What the names are relative to.
        names: File names. Bytes in one array: a million Python strings would be copied into every worker, because
            each look at one writes to its reference count.
        labels: Class numbers.
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
        """Some of the rows."""
        return Listing(self.root, self.names[rows], self.labels[rows])


def find_folders(name: str, data_dir: str | os.PathLike[str] | None = None, *, download: bool = False) -> Folders:
    """Where a set of images is; downloaded and unpacked first if it may and can be.

    Raises:
        DataError: If it is not there. The message says where it must be and how to get it.
    """
    found = _look(name, data_dir)
    if found is None and download and IMAGE_SOURCES[name].files:
        _unpack(name, data_dir)
        found = _look(name, data_dir)
    if found is not None:
        return found
    own = cache_folder(data_dir) / name
    if name == "imagenet":
        raise DataError(
            f"imagenet is not at {own}: put ILSVRC 2012 there as train/<wnid>/*.JPEG and val/<wnid>/*.JPEG, or unpack "
            "Kaggle's archive there (kaggle competitions download -c imagenet-object-localization-challenge; or "
            f"register at https://www.image-net.org/download.php), or set {FOLDER_VARIABLE} or --data_dir to the "
            "folder that holds imagenet/."
        )
    raise DataError(f"{name} is not at {own / _IMAGENETTE[0]}: unpack {IMAGE_SOURCES[name].files[0].name} in {own}.")


def folder_state(name: str, data_dir: str | os.PathLike[str] | None = None) -> str:
    """``"cached"``, ``"not cached"`` or ``"damaged"``."""
    try:
        return "not cached" if _look(name, data_dir) is None else "cached"
    except DataError:
        return "damaged"


def describe_folders(name: str, data_dir: str | os.PathLike[str] | None = None) -> dict[str, str]:
    """Where a set of images is or must be, and what is there, in words: every name is read, no image.

    Returns:
        ``folder``; ``layout`` and ``found`` if it is there; ``problem`` if it can't be used as it is.
    """
    described = {"folder": str(cache_folder(data_dir) / name)}
    try:
        folders = _look(name, data_dir)
        if folders is None:
            return described
        base = folders.train.parent
        kaggle = base.parts[-len(KAGGLE.parts) :] == KAGGLE.parts
        described["folder"] = str(base.parents[len(KAGGLE.parts) - 1] if kaggle else base)
        described["layout"] = (
            f"{'Kaggle' if kaggle else 'torchvision'}'s, training images in {folders.train}, test images in "
            f"{folders.test}" + (f", their classes in {folders.answers}" if folders.answers else "")
        )
        train, test, classes = list_images(folders)
        described["found"] = f"{len(train)} training and {len(test)} test images of {len(classes)} classes"
    except DataError as error:
        described["problem"] = str(error)
    return described


def list_images(folders: Folders) -> tuple[Listing, Listing, tuple[str, ...]]:
    """Training files, test files, and the names of the classes in the order of their numbers.

    Raises:
        DataError: If a class has no images, or a test image has no class or one that training lacks.
    """
    classes = _subfolders(folders.train)
    train = _list_classes(folders.train, classes, classes)
    empty = np.flatnonzero(np.bincount(train.labels, minlength=len(classes)) == 0)
    if len(empty):
        raise DataError(
            f"{folders.train / classes[empty[0]]} has no images ({', '.join(SUFFIXES)}): remove it, or put them there."
        )
    if folders.answers is not None:
        return train, _list_flat(folders.test, folders.answers, classes), classes
    held = _subfolders(folders.test)
    unknown = sorted(set(held) - set(classes))
    if unknown:
        raise DataError(
            f"{folders.test} has a class that {folders.train} lacks, {unknown[0]}: both must have the same folders."
        )
    test = _list_classes(folders.test, held, classes)
    if not len(test):
        raise DataError(f"{folders.test} has no images ({', '.join(SUFFIXES)}) in folders of classes: put them there.")
    return train, test, classes


def _look(name: str, data_dir: str | os.PathLike[str] | None) -> Folders | None:
    cache = cache_folder(data_dir)
    if name == "imagenet":
        roots: Iterable[Path] = (cache / name, cache)
    else:
        roots = (folder / version for version in _IMAGENETTE for folder in (cache / name, cache))
    for root in roots:
        for base in (root, root / KAGGLE):
            train, test = base / "train", base / "val"
            if not (_subfolders(train) and test.is_dir()):
                continue
            if _subfolders(test):
                return Folders(train, test)
            answers = _answers(root)
            if answers is None:
                raise DataError(
                    f"the classes of the images in {test} are unknown: put Kaggle's LOC_val_solution.csv into {root}, "
                    "or sort the images into folders of classes."
                )
            return Folders(train, test, answers)
    return None


def _answers(root: Path) -> Path | None:
    annotations = root / "ILSVRC" / "Annotations" / "CLS-LOC" / "val"
    for path in (root / "LOC_val_solution.csv", root / "ILSVRC" / "LOC_val_solution.csv", annotations):
        if path.exists():
            return path
    return None


def _unpack(name: str, data_dir: str | os.PathLike[str] | None) -> None:
    (file,) = IMAGE_SOURCES[name].files
    archive = obtain_published(file, data_dir)
    folder = archive.parent
    temporary = Path(tempfile.mkdtemp(prefix=".unpacked.", dir=folder))
    try:
        with tarfile.open(archive) as opened:
            opened.extractall(temporary, filter="data")
        for inner in temporary.iterdir():
            inner.rename(folder / inner.name)
    except (OSError, EOFError, tarfile.TarError) as error:
        raise DataError(f"{archive} cannot be unpacked ({' '.join(str(error).split())}).") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    archive.unlink()
    logger.info("Unpacked %s in %s.", file.name, folder)


def _subfolders(folder: Path) -> tuple[str, ...]:
    try:
        with os.scandir(folder) as entries:
            return tuple(sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")))
    except OSError:
        return ()


def _images_in(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(
            entry.name for entry in entries if entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith(".")
        )


def _list_classes(root: Path, folders: Sequence[str], classes: Sequence[str]) -> Listing:
    number = {name: i for i, name in enumerate(classes)}
    names: list[bytes] = []
    labels: list[int] = []
    for folder in folders:
        found = _images_in(root / folder)
        names += [os.fsencode(f"{folder}/{name}") for name in found]
        labels += [number[folder]] * len(found)
    return Listing(root, np.array(names, dtype=np.bytes_), np.array(labels, dtype=np.int64))


def _list_flat(root: Path, answers: Path, classes: Sequence[str]) -> Listing:
    number = {name: i for i, name in enumerate(classes)}
    names = _images_in(root)
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
    """Class by image, without suffixes."""
    try:
        if answers.is_dir():
            found = {}
            for stem in (Path(name).stem for name in names):
                text = (answers / f"{stem}.xml").read_text(encoding="utf-8")
                if wnid := re.search(r"<name>\s*([^<\s]+)\s*</name>", text):
                    found[stem] = wnid[1]
            return found
        with answers.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        return {row["ImageId"]: row["PredictionString"].split()[0] for row in rows}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, IndexError, AttributeError) as error:
        raise DataError(
            f"{answers} cannot be read ({' '.join(str(error).split())}): get it from Kaggle again."
        ) from None
