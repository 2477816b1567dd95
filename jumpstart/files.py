"""Atomic file writes: a reader finds the old file or the new one, never a part of it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary file beside ``path`` that replaces it when the block ends without an error.

    The temporary file is new, has a name that can't be guessed and the same suffix, and is synced to the disk before
    it is renamed. After an error the temporary file is removed, and ``path`` is unchanged.

    Args:
        path: The file to write. Its folder must exist.

    Yields:
        The path to write to.

    Raises:
        OSError: If the folder is missing or not writable, or the disk is full.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with atomic_path(folder / "log.txt") as draft:
        ...     _ = draft.write_text("whole")
        >>> [path.name for path in folder.iterdir()]
        ['log.txt']
    """
    # A name has at most 255 bytes on most systems, and a character up to 4 of them in UTF-8.
    draft = path.with_name(f".{path.stem[:40]}.{secrets.token_hex(8)}.tmp{path.suffix[-12:]}")
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    try:
        yield draft
        _sync(draft, os.O_RDWR)  # Windows refuses to sync a file that is open for reading only
        os.replace(draft, path)
        with suppress(OSError):  # not every file system, and no Windows, can sync a folder
            _sync(path.parent, os.O_RDONLY)
    finally:
        draft.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file by these bytes, atomically.

    Raises:
        OSError: As :func:`atomic_path`.
    """
    with atomic_path(path) as draft:
        draft.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Replace a file by this text in UTF-8 with Unix line ends, atomically.

    Raises:
        OSError: As :func:`atomic_path`.
    """
    write_bytes(path, text.encode("utf-8"))


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_path(text: str) -> bool:
    """Whether a text is meant as a path and not as a name: it has a separator or a dot, or begins with ``~``.

    Example:
        >>> is_path("data/flowers"), is_path("./flowers"), is_path("wine.csv"), is_path("~"), is_path("moons")
        (True, True, True, True, False)
    """
    return text.startswith("~") or any(mark in text for mark in (".", "/", os.sep))


def absolute_path(text: str) -> Path:
    """The absolute path of a text, with the home folder in place of ``~``, and without ``..``; links are kept."""
    return Path(os.path.abspath(os.path.expanduser(text)))
