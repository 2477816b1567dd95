"""The files of CIFAR-10: the binary archive, and the archive of pickles that torchvision downloads."""

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from data.images.image_arrays import Bytes, ImageArrays

TRAIN = tuple(f"data_batch_{i}" for i in range(1, 6))
"""Names of the parts of the training images."""

TEST = "test_batch"
"""Name of the test images."""

_VALUES = 3 * 32 * 32
_RECORD = 1 + _VALUES
"""Bytes of a record of the binary archive: the class, then the pixels."""


def read_cifar10(paths: Sequence[Path]) -> tuple[ImageArrays, ImageArrays]:
    """Training part and test part.

    Args:
        paths: The binary archive, the archive of pickles, or the six pickles.

    Raises:
        KeyError: If an archive lacks a file.
        ValueError: If a file is incomplete, has a wrong class number, or holds anything but images and classes.
    """
    first = paths[0]
    if first.name in (*TRAIN, TEST):
        contents = {path.name: _from_pickle(path.read_bytes(), path.name) for path in paths}
    else:
        folder, suffix, read = (
            ("cifar-10-batches-bin", ".bin", _from_records)
            if first.name == "cifar-10-binary.tar.gz"
            else ("cifar-10-batches-py", "", _from_pickle)
        )
        with tarfile.open(first) as archive:
            contents = {name: read(_member(archive, f"{folder}/{name}{suffix}"), name) for name in (*TRAIN, TEST)}
    train = [contents[name] for name in TRAIN]
    images, labels = (np.concatenate([getattr(part, field) for part in train]) for field in ("images", "labels"))
    return ImageArrays(images, labels), contents[TEST]


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    stream = archive.extractfile(name)
    if stream is None:
        raise KeyError(f"{name} is not a file")
    return stream.read()


def _from_records(content: bytes, name: str) -> ImageArrays:
    records = np.frombuffer(content, dtype=np.uint8)
    if not len(records) or len(records) % _RECORD:
        raise ValueError(f"{name} does not consist of records of {_RECORD} bytes")
    records = records.reshape(-1, _RECORD)
    return _arrays(np.ascontiguousarray(records[:, 1:]), records[:, 0].astype(np.int64).tolist(), name)


def _from_pickle(content: bytes, name: str) -> ImageArrays:
    try:
        batch = _ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, AttributeError, IndexError, TypeError) as error:
        raise ValueError(f"{name} is no batch of images: {error}") from None
    images = batch.get("data") if isinstance(batch, Mapping) else None
    labels = batch.get("labels") if isinstance(batch, Mapping) else None
    if (
        not isinstance(images, np.ndarray)
        or images.dtype != np.uint8
        or images.ndim != 2
        or images.shape[1] != _VALUES
        or not isinstance(labels, list)
        or len(labels) != len(images)
        or not all(type(label) is int for label in labels)
    ):
        raise ValueError(f"{name} is no batch of images: it must hold data, bytes (rows, {_VALUES}), and labels")
    return _arrays(images, labels, name)


def _arrays(pixels: Bytes, labels: list[int], name: str) -> ImageArrays:
    wrong = [label for label in labels if not 0 <= label <= 9]
    if wrong:
        raise ValueError(f"a class number in {name} is {wrong[0]}, expected 0 to 9")
    return ImageArrays(pixels.reshape(-1, 3, 32, 32), np.array(labels, dtype=np.int64))


def _encode(text: str, encoding: str) -> bytes:
    return text.encode("latin1")


# NumPy has no public name for the function that its pickles call first.
_RECONSTRUCT = cast("Callable[..., object]", np.empty(0).__reduce__()[0])

_ALLOWED: dict[tuple[str, str], Callable[..., object]] = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _RECONSTRUCT for core in ("core", "_core")},
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode,
}
"""The only functions that a pickle may call: those that make an array of numbers."""


class _ArrayUnpickler(pickle.Unpickler):
    """An unpickler of arrays, numbers, texts, lists and dicts, which runs no other code."""

    def find_class(self, module: str, name: str) -> Callable[..., object]:
        """The function of that name.

        Raises:
            pickle.UnpicklingError: If no array needs it.
        """
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it calls {module}.{name}, which is refused")
        return _ALLOWED[module, name]
