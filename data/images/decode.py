"""Decoding of images in folders: batches of bytes from files, cropped, with replacements for undecodable files."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from data.batches import mixed_seed
from data.cache import DataError, one_line
from data.images.folders import Corrupt, Listing
from data.images.formats import UNDECODABLE, decoding_fault, in_threads, open_image
from data.images.transforms import Output, TransformError, Transforms, stacked, transformed
from jumpstart.files import write_text

logger = logging.getLogger(__name__)

_NO_TRANSFORMS = Transforms()

Key = tuple[int, bool, Sequence[int]]
"""Epoch, whether to augment, row numbers."""


class Decoded(NamedTuple):
    """One decoded batch.

    Attributes:
        images: Bytes, ``(N, height, width, 3)``, or floats of a transform of the user, ``(N, channels, height,
            width)``; empty after an error.
        labels: Class numbers, ``(N,)``.
        error: Message of the error that prevented the batch; empty if there was none.
    """

    images: Tensor
    labels: Tensor
    error: str


def training_crop(size: int) -> v2.Transform:
    """A crop of random place, area and shape, resized to ``size``, and mirrored with probability 1/2."""
    return v2.Compose([v2.RandomResizedCrop(size, antialias=True), v2.RandomHorizontalFlip()])


def center_crop(size: int) -> v2.Transform:
    """The center of the image, after its shorter side is resized to 256/224 of ``size``: 256 for 224."""
    return v2.Compose([v2.Resize(round(size * 256 / 224), antialias=True), v2.CenterCrop(size)])


class FolderDataset(Dataset[Decoded]):
    """Decoder of whole batches, for a loader that does not collate.

    The crop of an image depends on seed, epoch and row alone, not on the batch or on the worker that decodes it.

    An image that cannot be decoded is flagged. With ``Corrupt.SKIP`` it is replaced by the next image of its class
    that can be decoded, so that batches keep their size, and classes their share.

    Args:
        listing: Files and their classes.
        image_size: Height and width of the decoded images.
        seed: Seed of the crops.
        corrupt: Treatment of images that cannot be decoded.
        transforms: Transforms of the user, in place of the crops.

    Attributes:
        unreadable: 1 for each row that could not be decoded, ``(rows,)``, in memory that all workers share.
    """

    def __init__(
        self,
        listing: Listing,
        image_size: int,
        seed: int,
        corrupt: Corrupt = Corrupt.SKIP,
        transforms: Transforms = _NO_TRANSFORMS,
    ) -> None:
        self.listing, self.image_size, self.seed, self.corrupt = listing, image_size, seed, corrupt
        self.unreadable = torch.zeros(len(listing), dtype=torch.uint8).share_memory_()
        self._shape = transforms.shape
        self._views = {
            True: transforms.train or training_crop(image_size),
            False: transforms.eval or center_crop(image_size),
        }
        # Rows sorted by class, and the position at which each class begins.
        self._by_class = np.argsort(listing.labels, kind="stable")
        classes = int(listing.labels.max(initial=-1)) + 1
        self._begin = np.searchsorted(listing.labels[self._by_class], np.arange(classes + 1))

    def __len__(self) -> int:
        return len(self.listing)

    def __getitem__(self, key: Key) -> Decoded:
        """One batch."""
        epoch, augment, rows = key
        labels = torch.from_numpy(self.listing.labels[np.asarray(rows)])
        # The transforms draw from the global generator, which is restored for a loader without workers.
        state = torch.get_rng_state()
        try:
            images = stacked([self.output(int(row), epoch, augment) for row in rows], self._shape)
        except (DataError, TransformError) as error:
            # Returned, not raised: the main process would show an exception of a worker with a whole traceback.
            return Decoded(torch.empty(0), labels, str(error))
        finally:
            torch.set_rng_state(state)
        return Decoded(images, labels, "")

    def output(self, row: int, epoch: int, augment: bool) -> Output:
        """One decoded and cropped or transformed image. Changes the global generator.

        Raises:
            DataError: If the image is refused, or no image of its class can be decoded.
            TransformError: If a transform of the user returned something that cannot be served.
        """
        image = self._image_or_substitute(row)
        if augment:
            # torch.manual_seed would also seed every device.
            torch.default_generator.manual_seed(mixed_seed(self.seed, epoch, row))
        return transformed(self._views[augment], image)

    def _image_or_substitute(self, row: int) -> Image.Image:
        image = self._open(row)
        if isinstance(image, Image.Image):
            return image
        if self.corrupt is Corrupt.REFUSE:
            raise DataError(f"{image}: replace it, or choose corrupt=skip.")
        for other in self._others_of_class(row):
            substitute = self._open(other)
            if isinstance(substitute, Image.Image):
                return substitute
        raise DataError(f"no image of its class can be decoded, {image}: replace the files, or leave the class out.")

    def _others_of_class(self, row: int) -> Iterator[int]:
        """The other rows of the class, in a cycle that begins after ``row``."""
        label = self.listing.labels[row]
        members = self._by_class[self._begin[label] : self._begin[label + 1]]
        return map(int, np.roll(members, -int(np.searchsorted(members, row)))[1:])

    def _open(self, row: int) -> Image.Image | str:
        """The image, or the message of the error if it cannot be decoded."""
        path = self.listing.path(row)
        if self.unreadable[row]:
            return f"{path} cannot be decoded"
        try:
            return open_image(path)
        except UNDECODABLE as error:
            self.unreadable[row] = 1
            return f"{path} cannot be decoded ({one_line(error)})"


def refuse_unreadable(listings: Sequence[Listing], records: Path, workers: int = 1) -> None:
    """Decode every image once, and raise an error if any cannot be decoded.

    A set without errors is recorded, and not decoded again while the names and sizes of its files stay the same.

    Args:
        listings: Files to decode.
        records: Folder of the records.
        workers: Number of images that are decoded at the same time, at least 1.

    Raises:
        DataError: If any image cannot be decoded; the message has the first path and the number of such images.
    """
    paths = [listing.path(row) for listing in listings for row in range(len(listing))]
    record = records / f"{_fingerprint(paths)}.txt"
    if record.is_file():
        return
    logger.info("Decoding %d images once, to find any that cannot be decoded.", len(paths))
    results = zip(paths, in_threads(decoding_fault, paths, max(1, workers)), strict=True)
    faults = [f"{path} ({fault})" for path, fault in results if fault]
    if faults:
        raise DataError(
            f"{len(faults)} of {len(paths)} images cannot be decoded, the first is {faults[0]}: replace them, or "
            "choose corrupt=skip."
        )
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        write_text(record, f"{len(paths)} images can be decoded.\n")
    except OSError as error:
        logger.info("The result of the check could not be recorded in %s (%s): it will be repeated.", record, error)


def _fingerprint(paths: Sequence[str]) -> str:
    """A hash of names and sizes."""
    fingerprint = hashlib.sha256()
    for path in sorted(paths):
        size = os.stat(path).st_size if os.path.exists(path) else -1
        fingerprint.update(f"{path}\0{size}\0".encode("utf-8", "surrogateescape"))
    return fingerprint.hexdigest()[:32]
