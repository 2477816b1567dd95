"""What is in the files of a folder of images: sizes, equal files, mean and standard deviation. Recorded in the cache.

A record is made anew if the name, the size or the time of any file changes, or if the record itself is damaged.
"""

from __future__ import annotations

import collections
import hashlib
import json
import logging
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from data.cache import DataError, one_line
from data.images.folders import Listing
from data.images.formats import UNDECODABLE, Header, in_threads, open_image, read_header
from data.tables import Integers
from jumpstart.files import write_text

logger = logging.getLogger(__name__)

MOST_MEASURED = 5000
"""Most training images whose pixels are read for mean and standard deviation."""

_END = 4096
"""Bytes at the end of a file that are compared before whole files are."""


@dataclass(frozen=True)
class Survey:
    """What the headers of some image files tell.

    Attributes:
        sizes: Number of images of each width and height, ``"640x480"``, the most frequent first.
        with_frames: Images with several frames or pages, of which the first is read.
        turned: Images that are stored turned or mirrored, and served upright.
        transparent: Images with transparency, which is ignored.
        unreadable: Images whose header cannot be read.
        equal: For each file with the same bytes as an earlier one: its row, and the row of the first such file.
    """

    sizes: dict[str, int]
    with_frames: int
    turned: int
    transparent: int
    unreadable: int
    equal: list[tuple[int, int]]

    @property
    def side(self) -> int | None:
        """Height and width that all images have; ``None`` if they differ."""
        sides = {side for size in self.sizes for side in _width_and_height(size)}
        return sides.pop() if len(sides) == 1 else None

    @property
    def pixels(self) -> int:
        """Pixels of all images together."""
        return sum(count * math.prod(_width_and_height(size)) for size, count in self.sizes.items())


def _width_and_height(size: str) -> tuple[int, int]:
    width, height = size.split("x")
    return int(width), int(height)


def survey_files(paths: Sequence[str], records: Path, workers: int) -> Survey:
    """Read the header of every file, and compare files of equal size.

    Args:
        paths: The files.
        records: Folder of the records.
        workers: Number of files that are read at the same time, at least 1.

    Raises:
        DataError: If the values of an image have no known range.
    """

    def make() -> dict[str, object]:
        logger.info("Reading the headers of %d images.", len(paths))
        headers = in_threads(_header, paths, workers)
        known = [header for header in headers if header is not None]
        sizes = collections.Counter(f"{header.width}x{header.height}" for header in known)
        return asdict(
            Survey(
                sizes=dict(sizes.most_common()),
                with_frames=sum(header.has_frames for header in known),
                turned=sum(header.is_turned for header in known),
                transparent=sum(header.is_transparent for header in known),
                unreadable=len(headers) - len(known),
                equal=_equal_files(paths),
            )
        )

    def read(content: dict[str, object]) -> Survey:
        survey = Survey(**content)  # type: ignore[arg-type]
        return Survey(**{**vars(survey), "equal": [(int(row), int(first)) for row, first in survey.equal]})

    return read(_recorded(records, f"survey {state_of(paths)}", make))


def measure(listing: Listing, seed: int, records: Path, workers: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, of pixels in [0, 1]. Every image counts equally, whatever its size.

    Args:
        listing: Training images; of more than :data:`MOST_MEASURED`, that many are chosen by the seed.
        seed: Seed of the choice.
        records: Folder of the records.
        workers: Number of images that are decoded at the same time, at least 1.

    Raises:
        DataError: If no image can be decoded, or the values of an image have no known range.
    """
    rows = np.arange(len(listing))
    if len(rows) > MOST_MEASURED:
        rows = np.sort(np.random.default_rng(seed).permutation(rows)[:MOST_MEASURED])
    paths = [listing.path(int(row)) for row in rows]

    def make() -> dict[str, object]:
        logger.info("Measuring mean and standard deviation of %d training images.", len(paths))
        moments = [found for found in in_threads(_moments, paths, workers) if found is not None]
        if not moments:
            raise DataError(f"no training image in {listing.root} can be decoded: replace them.")
        means, squares = np.mean(moments, axis=0)
        return {"mean": means.tolist(), "std": np.sqrt(np.maximum(squares - means**2, 0)).tolist()}

    content = _recorded(records, f"moments {state_of(paths)}", make)
    mean, std = (tuple(float(value) for value in content[name]) for name in ("mean", "std"))  # type: ignore[attr-defined]
    return mean, std


def state_of(paths: Sequence[str]) -> str:
    """A hash of names, sizes and times of files."""
    state = hashlib.sha256()
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:  # a broken link
            status = os.lstat(path)
        state.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\0".encode("utf-8", "surrogateescape"))
    return state.hexdigest()


def groups_of(rows: int, equal: Sequence[tuple[int, int]]) -> Integers:
    """A number for each of the first rows, without gaps: the same for equal files.

    Example:
        >>> groups_of(4, [(2, 0), (9, 1)]).tolist()
        [0, 1, 0, 2]
    """
    first = np.arange(rows)
    for row, earlier in equal:
        if row < rows:
            first[row] = earlier
    return np.unique(first, return_inverse=True)[1].astype(np.int64)


def _header(path: str) -> Header | None:
    try:
        return read_header(path)
    except UNDECODABLE:
        return None


def _moments(path: str) -> tuple[Sequence[float], Sequence[float]] | None:
    """Mean and mean square of each channel."""
    try:
        pixels = np.asarray(open_image(path)).reshape(-1, 3) / 255
    except UNDECODABLE:
        return None
    return pixels.mean(axis=0).tolist(), np.square(pixels).mean(axis=0).tolist()


def _equal_files(paths: Sequence[str]) -> list[tuple[int, int]]:
    """Rows of files with the bytes of an earlier one, and the first such row. Few files are read whole."""
    candidates = list(range(len(paths)))
    keys: dict[int, tuple[object, ...]] = dict.fromkeys(candidates, ())
    for look in (_size, _last_bytes, _digest):
        for row in candidates:
            keys[row] = (*keys[row], look(paths[row]))
        counts = collections.Counter(keys[row] for row in candidates)
        candidates = [row for row in candidates if counts[keys[row]] > 1]
    first: dict[tuple[object, ...], int] = {}
    pairs = [(row, first.setdefault(keys[row], row)) for row in candidates]
    return [(row, earlier) for row, earlier in pairs if row != earlier]


def _size(path: str) -> int:
    return os.stat(path).st_size if os.path.exists(path) else -1


def _last_bytes(path: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - _END))
            return hashlib.sha256(stream.read()).digest()
    except OSError:
        return os.fsencode(path)


def _digest(path: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").digest()
    except OSError:
        return os.fsencode(path)


def _recorded(records: Path, key: str, make: Callable[[], dict[str, object]]) -> dict[str, object]:
    """A mapping from its record, or made and recorded."""
    record = records / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    try:
        checksum, text = record.read_text(encoding="utf-8").split("\n", 1)
        if checksum == hashlib.sha256(text.encode()).hexdigest():
            content: dict[str, object] = json.loads(text)
            return content
    except (OSError, ValueError):
        pass
    content = make()
    text = json.dumps(content)
    try:
        records.mkdir(parents=True, exist_ok=True)
        write_text(record, f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}")
    except OSError as error:
        logger.info("%s cannot be written (%s): the images will be read again next time.", record, one_line(error))
    return content
