"""From files of images to batches of bytes: decoding, the usual crops, and images that cannot be decoded."""

from __future__ import annotations

import hashlib
import logging
import os
import struct
import warnings
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from data.cache import DataError
from data.images.folders import Corrupt, Listing
from jumpstart.files import write_text

logger = logging.getLogger(__name__)

UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
"""What Pillow raises for files that are no images, or broken ones."""

Key = tuple[int, bool, Sequence[int]]
"""Epoch, whether to augment, rows."""

Decoded = tuple[Tensor, Tensor, str]
"""Bytes ``(N, H, W, 3)``, classes ``(N,)``, and why there are none; empty if there are."""


def training_crop(size: int) -> v2.Transform:
    """A part of the image of random place, size and shape, resized, and mirrored half of the time."""
    return v2.Compose([v2.RandomResizedCrop(size, antialias=True), v2.RandomHorizontalFlip()])


def center_crop(size: int) -> v2.Transform:
    """The center of the image, after its shorter side was resized to 8/7 of ``size``: 256 for 224."""
    return v2.Compose([v2.Resize(round(size * 8 / 7), antialias=True), v2.CenterCrop(size)])


def open_image(path: str) -> Image.Image:
    """The decoded image in three channels.

    Raises:
        OSError: If it cannot be read, as any other of :data:`UNREADABLE`.
    """
    with warnings.catch_warnings():
        # Of odd metadata, which do not matter here.
        warnings.simplefilter("ignore")
        with Image.open(path) as image:
            return image.convert("RGB")


class FolderDataset(Dataset[Decoded]):
    """Decodes whole batches, for a loader that collates nothing.

    The crop of an image depends on seed, epoch and row alone, not on the batch or on the worker that makes it.

    An image that cannot be decoded is flagged and, with ``Corrupt.SKIP``, replaced by the next one of its class that
    can be: batches keep their size, and classes their share.

    Args:
        listing: Files and classes.
        image_size: Height and width that are served.
        seed: Of the crops.
        corrupt: What is done about an image that cannot be decoded.

    Attributes:
        unreadable: 1 for each row that could not be decoded, in memory that all workers share.
    """

    def __init__(self, listing: Listing, image_size: int, seed: int, corrupt: Corrupt = Corrupt.SKIP) -> None:
        self.listing, self.image_size, self.seed, self.corrupt = listing, image_size, seed, corrupt
        self.unreadable = torch.zeros(len(listing), dtype=torch.uint8).share_memory_()
        self._crops = {True: training_crop(image_size), False: center_crop(image_size)}
        # Rows class by class, and where each class begins.
        self._by_class = np.argsort(listing.labels, kind="stable")
        classes = int(listing.labels.max(initial=-1)) + 1
        self._begin = np.searchsorted(listing.labels[self._by_class], np.arange(classes + 1))

    def __len__(self) -> int:
        return len(self.listing)

    def __getitem__(self, key: Key) -> Decoded:
        """One batch."""
        epoch, augment, rows = key
        labels = torch.from_numpy(self.listing.labels[np.asarray(rows)])
        # The transforms draw from the global generator: it is put back, for a loader without workers.
        state = torch.get_rng_state()
        try:
            images = np.stack([self._image(int(row), epoch, augment) for row in rows])
        except DataError as error:
            # Told to the main process as it is: a worker's exception would come with its traceback as its message.
            return torch.empty(0), labels, str(error)
        finally:
            torch.set_rng_state(state)
        return torch.from_numpy(images), labels, ""

    def _image(self, row: int, epoch: int, augment: bool) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        image = self._readable(row)
        if augment:
            seed = np.random.SeedSequence((self.seed, epoch, row)).generate_state(1, np.uint64)
            # torch.manual_seed would seed every device, too.
            torch.default_generator.manual_seed(int(seed[0]))
        return np.asarray(self._crops[augment](image))

    def _readable(self, row: int) -> Image.Image:
        image = self._open(row)
        if isinstance(image, Image.Image):
            return image
        if self.corrupt is Corrupt.REFUSE:
            raise DataError(image)
        label = self.listing.labels[row]
        members = self._by_class[self._begin[label] : self._begin[label + 1]]
        for other in np.roll(members, -int(np.searchsorted(members, row)))[1:]:
            found = self._open(int(other))
            if isinstance(found, Image.Image):
                return found
        raise DataError(f"no image of the class can be read, {image}")

    def _open(self, row: int) -> Image.Image | str:
        """The image, or why there is none."""
        path = self.listing.path(row)
        if self.unreadable[row]:
            return f"{path} cannot be decoded."
        try:
            return open_image(path)
        except UNREADABLE as error:
            self.unreadable[row] = 1
            return f"{path} cannot be decoded ({_reason(error)}): replace it, or choose corrupt=skip."


def refuse_unreadable(listings: Sequence[Listing], records: Path, workers: int = 1) -> None:
    """Decode every image once, at an eighth of its size, which finds the same faults sooner.

    A set that passes is not looked at again while names and sizes of its files stay the same.

    Args:
        listings: Files.
        records: Folder in which it is noted that a set has passed.
        workers: Images that are decoded at a time.

    Raises:
        DataError: If any cannot be decoded; the message has the first, and how many there are.
    """
    paths = [listing.path(row) for listing in listings for row in range(len(listing))]
    fingerprint = hashlib.sha256()
    for path in paths:
        size = os.stat(path).st_size if os.path.exists(path) else -1
        fingerprint.update(f"{path}\0{size}\0".encode("utf-8", "surrogateescape"))
    record = records / f"{fingerprint.hexdigest()[:32]}.txt"
    if record.is_file():
        return
    logger.info("Decoding %d images once, to find any that cannot be.", len(paths))
    with ThreadPoolExecutor(max(1, workers)) as pool:
        faults = [fault for fault in pool.map(_fault, paths, chunksize=64) if fault]
    if faults:
        raise DataError(
            f"{len(faults)} of {len(paths)} images cannot be decoded, the first is {faults[0]}: replace them, or "
            "choose corrupt=skip."
        )
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        write_text(record, f"{len(paths)} images can be decoded.\n")
    except OSError as error:
        logger.info("That all images can be decoded could not be noted in %s (%s).", record, error)


def _fault(path: str) -> str:
    """Why an image cannot be decoded; empty if it can."""
    try:
        with Image.open(path) as image:
            image.draft(None, (1, 1))
            image.load()
    except UNREADABLE as error:
        return f"{path} ({_reason(error)})"
    return ""


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
