"""A folder of images of the user as a data module."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Unpack

import numpy as np

from data.cache import cache_folder
from data.images.augment import Normalize
from data.images.folders import Listing
from data.images.in_folders import FolderImages, FolderOptions
from data.images.own_folder import OwnFolder, list_own_folder, split_own_folder
from data.images.survey import Survey, groups_of, measure, survey_files
from data.split_data import SplitOptions
from data.splitting import PARTS
from data.tables import Integers
from jumpstart.words import counted, some

DEFAULT_SIZE = 224
"""Height and width that are served, unless all images are squares of one smaller size."""

FEW_PIXELS = 20_000_000
"""Up to this number of pixels in all images, the default is to decode without other processes, which start slowly."""


class OwnFolderImages(FolderImages):
    """Images in a folder of the user, in three parts.

    A part without a folder of its own is split from the training images, stratified by class; equal files stay in one
    part. Mean and standard deviation are those of the training images. Both are recorded in the cache.

    Args:
        folder: The folder, in one of the layouts of :mod:`data.images.own_folder`.
        image_size: Height and width of the images that are served; ``None`` for those of the files if all are squares
            of one size up to 224, else 224.
        folders: Further arguments of :class:`~data.images.in_folders.FolderImages`.
        **options: Arguments of :class:`~data.split_data.SplitData`.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self, folder: Path, *, image_size: int | None, folders: FolderOptions, **options: Unpack[SplitOptions]
    ) -> None:
        super().__init__(image_size=image_size or DEFAULT_SIZE, **folders, **options)
        self.folder, self._chosen_size = folder, image_size
        self._found = self._fingerprint = ""
        self._pixels = FEW_PIXELS + 1

    def _list_parts(self) -> tuple[dict[str, Listing], tuple[str, ...]]:
        folder = list_own_folder(self.folder)
        records, workers = cache_folder(self.data_dir) / "own", max(1, super()._workers())
        paths = [listing.path(row) for listing in folder.parts.values() for row in range(len(listing))]
        survey = survey_files(paths, records, workers)
        self._pixels = survey.pixels
        groups = groups_of(len(folder.parts["train"]), survey.equal)
        parts = split_own_folder(folder, groups, val_size=self.val_size, test_size=self.test_size, seed=self.split_seed)
        self._normalize = Normalize(*measure(parts["train"], self.seed, records, workers))
        common = survey.side or 0
        self.image_size = self._chosen_size or (common if 4 <= common < DEFAULT_SIZE else DEFAULT_SIZE)
        classes = tuple(os.fsencode(name).decode("utf-8", "replace") for name in folder.classes)
        self._found = found_text(self.folder, folder, parts, classes, survey)
        self._fingerprint = self._fingerprint_of(parts, classes)
        return parts, classes

    def _workers(self) -> int:
        return 0 if self.num_workers is None and self._pixels <= FEW_PIXELS else super()._workers()

    def found(self) -> str:
        """Layout, classes, images of each part, and sizes, in a few lines.

        Raises:
            RuntimeError: Before :meth:`setup`.
        """
        self._check_set_up()
        return self._found

    def fingerprint(self) -> str:
        """Number of images and classes, and a hash of the files, their parts, and the statistics of the pixels.

        Raises:
            RuntimeError: Before :meth:`setup`.
        """
        self._check_set_up()
        return self._fingerprint

    def _fingerprint_of(self, parts: dict[str, Listing], classes: tuple[str, ...]) -> str:
        rows = sum(map(len, parts.values()))
        state = hashlib.sha256(repr(classes).encode())
        for part in PARTS:
            state.update(part.encode())
            for row in range(len(parts[part])):
                path = parts[part].path(row)
                size = os.stat(path).st_size if os.path.exists(path) else -1
                state.update(f"{os.path.relpath(path, self.folder)}\0{size}\0".encode("utf-8", "surrogateescape"))
        numbers = ", ".join(f"{value:.6f}" for value in (*self._normalize.mean, *self._normalize.std))
        state.update(numbers.encode())
        return f"{rows} images of {len(classes)} classes ({state.hexdigest()[:12]})"


def found_text(
    root: Path, folder: OwnFolder, parts: dict[str, Listing], classes: tuple[str, ...], survey: Survey
) -> str:
    """What was found in a folder, in a few lines.

    Args:
        root: The folder.
        folder: Its files.
        parts: The three parts.
        classes: Names of the classes.
        survey: What the headers of the files tell.
    """
    counts = class_counts(parts, len(classes))
    names = some([f"{name} {count}" for name, count in zip(classes, counts.sum(axis=0), strict=True)], most=10)
    given = [part for part in PARTS if part in folder.parts] if folder.has_parts else []
    split = [part for part in PARTS[1:] if part not in given]
    origin = f", {' and '.join(split)} split from training" if split else ""
    lines = [
        f"{root.name}: {counted(int(counts.sum()), 'image')} of {len(classes)} classes: {names}",
        f"  parts: {', '.join(f'{part} {len(parts[part])}' for part in PARTS)}{origin}",
        f"  sizes: {some([f'{size} ({count})' for size, count in survey.sizes.items()], most=5)}",
        *(f"  {text}" for text in _remarks(survey, folder, counts, classes)),
    ]
    return "\n".join(lines)


def class_counts(parts: dict[str, Listing], classes: int) -> Integers:
    """Images of each class in each part, ``(3, classes)``."""
    return np.stack([np.bincount(parts[part].labels, minlength=classes) for part in PARTS])


def _remarks(survey: Survey, folder: OwnFolder, counts: Integers, classes: tuple[str, ...]) -> list[str]:
    bounds = np.cumsum([len(listing) for listing in folder.parts.values()])
    across = [pair for pair in survey.equal if len(set(np.searchsorted(bounds, pair, side="right"))) > 1]
    found = {
        "with several frames, of which the first is read": survey.with_frames,
        "stored turned or mirrored, and served upright": survey.turned,
        "with transparency, which is ignored": survey.transparent,
        "that cannot be read": survey.unreadable,
        "equal to an earlier one": len(survey.equal),
        "equal to one of another part": len(across),
    }
    remarks = [f"{counted(count, 'image')} {text}" for text, count in found.items() if count]
    for part, row in zip(PARTS, counts, strict=True):
        lacking = [name for name, count in zip(classes, row, strict=True) if not count]
        if lacking:
            remarks.append(f"no {part} image of {some(lacking)}")
    return remarks
