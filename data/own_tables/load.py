"""From the paths of files to a table."""

from __future__ import annotations

import os
from pathlib import Path

from data.cache import DataError
from data.own_tables.build import Names, build_table
from data.own_tables.reading import read_file
from data.splitting import PARTS
from data.tables import Table
from jumpstart.files import absolute_path


def table_of_files(
    path: str | Path,
    val: str | Path | None = None,
    test: str | Path | None = None,
    *,
    target: str | int | None = None,
    drop_columns: Names = (),
    category_columns: Names = (),
) -> Table:
    """The table of files of separated values.

    Args:
        path: The file that is split, or the training part.
        val: The validation part; ``None`` to split it from ``path``.
        test: The test part; ``None`` to split it from ``path``.
        target: Name or position of the column of the classes.
        drop_columns: Columns that are left out.
        category_columns: Columns whose numbers are categories.

    Raises:
        ValueError: If a column that an argument names does not exist.
        DataError: If a file cannot be read, or its columns cannot be used.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "pets.csv")
        >>> _ = path.write_text("weight,coat,kind\\n4,short,cat\\n5,long,cat\\n20,long,dog\\n30,short,dog\\n")
        >>> table = table_of_files(path, target="kind")
        >>> table.class_names, table.number_names, table.category_names
        (('cat', 'dog'), ('weight',), ('coat',))
    """
    given = {part: absolute_path(os.fspath(file)) for part, file in zip(PARTS, (path, val, test), strict=True) if file}
    raws = {part: read_file(file, None if target is None else str(target)) for part, file in given.items()}
    return build_table(raws, target, drop_columns, category_columns)


def check_file(option: str, path: str | Path) -> Path:
    """The absolute path of a file that exists.

    Raises:
        DataError: If there is no such file.
    """
    file = absolute_path(os.fspath(path))
    if not file.is_file():
        found = "is a folder" if file.is_dir() else "does not exist"
        raise DataError(f"{option}={path} {found}: name a file of separated values, such as data.csv.")
    return file
