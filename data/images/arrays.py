"""Sets of images that fit in memory: arrays of bytes from their files, or generated ones."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from pathlib import Path

import numpy as np

from data.cache import DataDir, DataError, one_line
from data.images.catalog import IMAGE_SOURCES
from data.images.cifar import read_cifar10
from data.images.folders import find_folders, folder_state
from data.images.image_arrays import Bytes, ImageArrays
from data.images.published import PublishedFile, obtain_published, place, published_state


def images_available(name: str, data_dir: DataDir = None) -> None:
    """Make sure that a set of images can be loaded: check its files, or download them.

    Raises:
        DataError: If a file is damaged, or neither in the cache nor reachable.
    """
    source = IMAGE_SOURCES[name]
    if source.folders:
        find_folders(name, data_dir, download=True)
        return
    for file in files_of(name, data_dir):
        obtain_published(file, data_dir)


def files_of(name: str, data_dir: DataDir = None) -> tuple[PublishedFile, ...]:
    """The files that a set of images is read from: of several forms, the first that is cached, else the first."""
    source = IMAGE_SOURCES[name]
    forms = (source.files, *source.other_forms)
    cached = (form for form in forms if all(place(file, data_dir).is_file() for file in form))
    return next(cached, source.files)


def images_state(name: str, data_dir: DataDir = None) -> str:
    """``"built in"``, ``"cached"``, ``"not cached"`` or ``"damaged"``. Never uses the network."""
    source = IMAGE_SOURCES[name]
    if source.folders:
        return folder_state(name, data_dir)
    return published_state(files_of(name, data_dir), data_dir) if source.files else "built in"


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
    paths = [obtain_published(file, data_dir) for file in files_of(name, data_dir)]
    try:
        if name == "cifar10":
            return read_cifar10(paths)
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
