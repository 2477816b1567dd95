"""The cache folder of data files, and the error when a data set can't be provided."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER_VARIABLE = "JUMPSTART_DATA_DIR"


class DataError(RuntimeError):
    """A data set cannot be had: unreachable, damaged or not writable. One line of message."""


def cache_folder(data_dir: str | os.PathLike[str] | None = None) -> Path:
    """The folder that holds ``uci/<data set>/<file>``: argument, else JUMPSTART_DATA_DIR, else user
    cache.

    Example:
        >>> cache_folder("/data").as_posix()
        '/data'
    """
    chosen = data_dir if data_dir not in (None, "") else os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("jumpstart"))
