"""Sets of images that fit in memory: their files -> arrays of bytes."""

from __future__ import annotations

import gzip
import os
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from data.cache import DataError
from data.images.catalog import IMAGE_SOURCES
from data.images.folders import find_folders, folder_state
from data.images.published import obtain_published, published_state
from data.tables import Integers

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Pictures:
    """Images and their classes.

    Shape:
        - images: ``(rows, channels, height, width)``, bytes.
        - labels: ``(rows,)``, class numbers.
    """

    images: Bytes
    labels: Integers

    def __len__(self) -> int:
        return len(self.labels)


def images_available(name: str, data_dir: str | os.PathLike[str] | None = None) -> None:
    """Make sure that a set of images can be loaded: check its files, or download them.

    Raises:
        DataError: If a file is damaged, or neither there nor reachable.
    """
    source = IMAGE_SOURCES[name]
    if source.folders:
        find_folders(name, data_dir, download=True)
        return
    for file in source.files:
        obtain_published(file, data_dir)


def images_state(name: str, data_dir: str | os.PathLike[str] | None = None) -> str:
    """``"built in"``, ``"cached"``, ``"not cached"`` or ``"damaged"``, without the network."""
    source = IMAGE_SOURCES[name]
    if source.folders:
        return folder_state(name, data_dir)
    return published_state(source.files, data_dir) if source.files else "built in"


def load_pictures(name: str, data_dir: str | os.PathLike[str] | None = None) -> tuple[Pictures, Pictures | None]:
    """A set in memory: the images that are split, and the published test part if there is one.

    Raises:
        DataError: If a file is damaged, or neither cached nor reachable.
    """
    source = IMAGE_SOURCES[name]
    paths = [obtain_published(file, data_dir) for file in source.files]
    try:
        if name == "cifar10":
            return read_cifar10(paths[0])
        parts = [
            Pictures(read_idx(images)[:, None], read_idx(labels).astype(np.int64))
            for images, labels in zip(paths[::2], paths[1::2], strict=True)
        ]
    except (OSError, EOFError, zlib.error, tarfile.TarError, KeyError, ValueError) as error:
        raise DataError(f"{name} cannot be read: {' '.join(str(error).split())}.") from None
    return parts[0], parts[1] if len(parts) > 1 else None


def read_idx(path: Path) -> Bytes:
    """The array in a gzipped IDX file of bytes.

    Raises:
        ValueError: If it is none.
        OSError: If it cannot be unpacked.
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


def read_cifar10(path: Path) -> tuple[Pictures, Pictures]:
    """Training and test part of CIFAR-10's binary archive.

    Raises:
        KeyError: If a file is not in it.
        ValueError: If a file is not whole records.
    """
    with tarfile.open(path) as archive:
        parts = {
            name: _cifar_records(archive, f"cifar-10-batches-bin/{name}.bin")
            for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
        }
    test = parts.pop("test_batch")
    train = np.concatenate(list(parts.values()))
    return _cifar_pictures(train), _cifar_pictures(test)


def make_fake(
    rows: int, num_classes: int, shape: tuple[int, int, int], *, noise: float = 0.1, seed: int = 42
) -> Pictures:
    """Invented images: a coarse pattern of 4 x 4 fields for each class, and noise.

    Args:
        rows: Images; classes take turns.
        num_classes: Classes.
        shape: Channels, height and width.
        noise: Standard deviation of each pixel, of a range of 1.
        seed: Decides patterns and noise.

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
    # Part by part: the noise of all of them in floating point would take four times their memory.
    for begin in range(0, rows, 256):
        part = patterns[labels[begin : begin + 256]]
        part = part + np.float32(noise) * rng.standard_normal(part.shape, dtype=np.float32)
        images[begin : begin + 256] = np.clip(part * 255, 0, 255)
    return Pictures(images, labels.astype(np.int64))


def _cifar_records(archive: tarfile.TarFile, name: str) -> Bytes:
    stream = archive.extractfile(name)
    if stream is None:
        raise KeyError(f"{name} is not a file")
    content = np.frombuffer(stream.read(), dtype=np.uint8)
    if not len(content) or len(content) % 3073:
        raise ValueError(f"{name} is not whole records of 3073 bytes")
    return content.reshape(-1, 3073)


def _cifar_pictures(records: Bytes) -> Pictures:
    if records[:, 0].max() > 9:
        raise ValueError(f"a class number is {records[:, 0].max()}, expected 0 to 9")
    return Pictures(np.ascontiguousarray(records[:, 1:]).reshape(-1, 3, 32, 32), records[:, 0].astype(np.int64))
