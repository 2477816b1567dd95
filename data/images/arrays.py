"""Sets of images that fit in memory: arrays of bytes from their files, or generated ones."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data.cache import DataDir, DataError, one_line
from data.images.catalog import IMAGE_SOURCES
from data.images.folders import find_folders, folder_state
from data.images.published import obtain_published, published_state
from data.tables import Integers

Bytes = npt.NDArray[np.uint8]

_CIFAR_RECORD = 1 + 3 * 32 * 32
"""Bytes of a record: the class, then the pixels."""


@dataclass(frozen=True, eq=False)
class ImageArrays:
    """Images and their classes.

    Attributes:
        images: Bytes, ``(rows, channels, height, width)``.
        labels: Class numbers, ``(rows,)``.
    """

    images: Bytes
    labels: Integers

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, rows: Integers) -> ImageArrays:
        """The images and classes of some rows."""
        return ImageArrays(self.images[rows], self.labels[rows])


def images_available(name: str, data_dir: DataDir = None) -> None:
    """Make sure that a set of images can be loaded: check its files, or download them.

    Raises:
        DataError: If a file is damaged, or neither in the cache nor reachable.
    """
    source = IMAGE_SOURCES[name]
    if source.folders:
        find_folders(name, data_dir, download=True)
        return
    for file in source.files:
        obtain_published(file, data_dir)


def images_state(name: str, data_dir: DataDir = None) -> str:
    """``"built in"``, ``"cached"``, ``"not cached"`` or ``"damaged"``. Never uses the network."""
    source = IMAGE_SOURCES[name]
    if source.folders:
        return folder_state(name, data_dir)
    return published_state(source.files, data_dir) if source.files else "built in"


def load_arrays(name: str, data_dir: DataDir = None) -> tuple[ImageArrays, ImageArrays | None]:
    """A set of images from its files.

    Args:
        name: Name of a set that fits in memory and is read from files.
        data_dir: Cache folder.

    Returns:
        The images to split, and the published test part, or ``None`` if there is none.

    Raises:
        DataError: If a file is damaged, or neither in the cache nor reachable.
    """
    source = IMAGE_SOURCES[name]
    paths = [obtain_published(file, data_dir) for file in source.files]
    try:
        if name == "cifar10":
            return read_cifar10(paths[0])
        parts = [
            ImageArrays(read_idx(images)[:, None], read_idx(labels).astype(np.int64))
            for images, labels in zip(paths[::2], paths[1::2], strict=True)
        ]
    except (OSError, EOFError, zlib.error, tarfile.TarError, KeyError, ValueError) as error:
        raise DataError(f"{name} cannot be read: {one_line(error)}.") from None
    return parts[0], parts[1] if len(parts) > 1 else None


def read_idx(path: Path) -> Bytes:
    """The array in a gzipped IDX file of bytes, as MNIST is published.

    Raises:
        ValueError: If the file is not an IDX file of bytes, or not complete.
        OSError: If the file cannot be decompressed.
    """
    content = gzip.decompress(path.read_bytes())
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise ValueError(f"{path} is not an IDX file of bytes")
    dimensions = content[3]
    start = 4 + 4 * dimensions
    shape = tuple(int(size) for size in np.frombuffer(content[4:start], dtype=">u4"))
    if len(content) - start != np.prod(shape, dtype=np.int64):
        raise ValueError(f"{path} holds {len(content) - start} values, expected {'x'.join(map(str, shape))}")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape).copy()


def read_cifar10(path: Path) -> tuple[ImageArrays, ImageArrays]:
    """Training part and test part of CIFAR-10's binary archive.

    Raises:
        KeyError: If the archive lacks a file.
        ValueError: If a file has an incomplete record or a wrong class number.
    """
    with tarfile.open(path) as archive:
        parts = {
            name: _cifar_records(archive, f"cifar-10-batches-bin/{name}.bin")
            for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
        }
    test = parts.pop("test_batch")
    train = np.concatenate(list(parts.values()))
    return _cifar_arrays(train), _cifar_arrays(test)


def _cifar_records(archive: tarfile.TarFile, name: str) -> Bytes:
    stream = archive.extractfile(name)
    if stream is None:
        raise KeyError(f"{name} is not a file")
    content = np.frombuffer(stream.read(), dtype=np.uint8)
    if not len(content) or len(content) % _CIFAR_RECORD:
        raise ValueError(f"{name} does not consist of records of {_CIFAR_RECORD} bytes")
    return content.reshape(-1, _CIFAR_RECORD)


def _cifar_arrays(records: Bytes) -> ImageArrays:
    if records[:, 0].max() > 9:
        raise ValueError(f"a class number is {records[:, 0].max()}, expected 0 to 9")
    return ImageArrays(np.ascontiguousarray(records[:, 1:]).reshape(-1, 3, 32, 32), records[:, 0].astype(np.int64))


def make_fake(
    rows: int, num_classes: int, shape: tuple[int, int, int], *, noise: float = 0.1, seed: int = 42
) -> ImageArrays:
    """Generated images: a random pattern of 4 x 4 fields for each class, with noise.

    Args:
        rows: Number of images; the classes alternate.
        num_classes: Number of classes.
        shape: Channels, height and width.
        noise: Standard deviation of the noise of each pixel, in units of the whole range.
        seed: Seed of patterns and noise.

    Example:
        >>> fake = make_fake(6, 3, (1, 8, 8))
        >>> fake.images.shape, fake.labels.tolist()
        ((6, 1, 8, 8), [0, 1, 2, 0, 1, 2])
    """
    rng = np.random.default_rng(seed)
    channels, height, width = shape
    coarse = rng.uniform(0.1, 0.9, (num_classes, channels, 4, 4)).astype(np.float32)
    patterns = coarse[:, :, np.arange(height) * 4 // height][..., np.arange(width) * 4 // width]
    labels = np.arange(rows) % num_classes
    images = np.empty((rows, *shape), dtype=np.uint8)
    # 256 at a time: noise for all images at once, in floating point, would need four times their memory.
    for begin in range(0, rows, 256):
        part = patterns[labels[begin : begin + 256]]
        part = part + np.float32(noise) * rng.standard_normal(part.shape, dtype=np.float32)
        images[begin : begin + 256] = np.clip(part * 255, 0, 255)
    return ImageArrays(images, labels.astype(np.int64))
