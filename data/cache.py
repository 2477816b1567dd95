"""The cache folder of data files, and the error raised when a data set cannot be provided."""

from __future__ import annotations

import os
from pathlib import Path

from jumpstart.files import UserPath, user_path

FOLDER_VARIABLE = "JUMPSTART_DATA_DIR"

DataDir = UserPath | None
"""A cache folder; ``None`` stands for JUMPSTART_DATA_DIR, else the user's cache folder."""


class DataError(RuntimeError):
    """A data set cannot be provided: a file is missing, unreachable, damaged or not writable.

    The message is one line, with the file concerned and a remedy.
    """


def cache_folder(data_dir: DataDir = None) -> Path:
    """The folder that holds ``uci/<data set>/<file>``, and one folder for each set of images.

    Args:
        data_dir: The folder itself; ``None`` for JUMPSTART_DATA_DIR, else the user's cache folder.

    Raises:
        ValueError: As :func:`~jumpstart.files.user_path`.

    Example:
        >>> cache_folder("/data").as_posix()
        '/data'
    """
    if data_dir is not None:
        return user_path(data_dir, "data_dir", "folder")
    if os.environ.get(FOLDER_VARIABLE):
        return user_path(os.environ[FOLDER_VARIABLE], FOLDER_VARIABLE, "folder")
    import platformdirs

    return Path(platformdirs.user_cache_dir("jumpstart"))


def folder_setting(data_dir: DataDir = None) -> str:
    """What determines the cache folder, for remedies: ``data_dir`` if it is given, else JUMPSTART_DATA_DIR.

    Example:
        >>> folder_setting("/data"), folder_setting()
        ('data_dir', 'JUMPSTART_DATA_DIR')
    """
    return FOLDER_VARIABLE if data_dir is None else "data_dir"


def one_line(error: BaseException) -> str:
    r"""The message of an error without line breaks, or the name of its class if the message is empty.

    Example:
        >>> one_line(ValueError("two\nlines")), one_line(EOFError())
        ('two lines', 'EOFError')
    """
    return " ".join(str(error).split()) or type(error).__name__


def not_writable(folder: Path, error: OSError, data_dir: DataDir) -> DataError:
    """The error for a folder of the cache that cannot be written."""
    return DataError(
        f"{folder} cannot be written ({one_line(error)}): set {folder_setting(data_dir)} to a folder that can be "
        "written."
    )
