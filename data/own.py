"""Data of the user: what is at the path that ``dataset`` holds.

A value of ``dataset`` is a path if :func:`~jumpstart.files.is_path` says so, else the name of a data set.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from data.cache import DataError
from jumpstart.files import absolute_path


class Own(StrEnum):
    """What the user's path leads to."""

    FOLDER = "folder"
    """A folder of images."""
    TABLE = "table"
    """A file that is read as a table."""


def own_at(dataset: str) -> tuple[Own, Path]:
    """What is at a path, and the absolute path.

    Args:
        dataset: A path; ``~`` is the home folder of the user.

    Raises:
        DataError: If nothing is there, or neither a folder nor a file.

    Example:
        >>> import tempfile
        >>> own_at(tempfile.mkdtemp())[0]
        <Own.FOLDER: 'folder'>
        >>> own_at("./missing.csv")
        Traceback (most recent call last):
        data.cache.DataError: dataset=./missing.csv does not exist: name a folder of images, a file of separated \
values such as data.csv, or a data set without / and dots.
    """
    path = absolute_path(dataset)
    if path.is_dir():
        return Own.FOLDER, path
    if path.is_file():
        return Own.TABLE, path
    found = "is neither a folder nor a file" if path.exists() else "does not exist"
    raise DataError(
        f"dataset={dataset} {found}: name a folder of images, a file of separated values such as data.csv, or a data "
        "set without / and dots."
    )
