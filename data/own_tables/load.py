"""From the paths of files to a table."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Unpack

from data.cache import DataError
from data.own_tables.build import build_table
from data.own_tables.reading import read_file
from data.splitting import PARTS
from data.tables import ColumnOptions, Table
from jumpstart.files import absolute_path


def table_of_files(
    path: Path,
    val: Path | None = None,
    test: Path | None = None,
    **options: Unpack[ColumnOptions],
) -> Table:
    r"""The table of files of separated values.

    Args:
        path: The file that is split, or the training part.
        val: The validation part; ``None`` to split it from ``path``.
        test: The test part; ``None`` to split it from ``path``.
        **options: Arguments of :func:`~data.own_tables.build.build_table`.

    Raises:
        ValueError: If a column that an argument names does not exist.
        DataError: If a file cannot be read, or its columns cannot be used.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "pets.csv")
        >>> _ = path.write_text("weight,coat,kind\n4,short,cat\n5,long,cat\n20,long,dog\n30,short,dog\n")
        >>> table = table_of_files(path, target="kind")
        >>> table.class_names, table.number_names, table.category_names
        (('cat', 'dog'), ('weight',), ('coat',))
    """
    target = options.get("target")
    given = {part: file for part, file in zip(PARTS, (path, val, test), strict=True) if file is not None}
    raws = {part: read_file(file, None if target is None else str(target)) for part, file in given.items()}
    return build_table(raws, **options)


def find_file(option: str, path: object) -> Path | None:
    """The absolute path of a file of the user.

    Args:
        option: The option that names the file, for the message.
        path: The path; ``~`` is the home folder of the user. ``None`` for none.

    Raises:
        DataError: If there is no such file.
        ValueError: If the path is no path.
    """
    if path is None:
        return None
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"{option} must be the path of a file like dataset, got {type(path).__name__}.")
    file = absolute_path(os.fspath(path))
    if not file.is_file():
        found = "is a folder" if file.is_dir() else "does not exist"
        raise DataError(f"{option}={path} {found}: name a file of separated values, such as data.csv.")
    return file
