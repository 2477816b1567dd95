"""Files that a person names for the output of a command: also devices and links, but no file of a run or a sweep.

The files that a run writes in its own directory go through :func:`~jumpstart.files.atomic_path`, which follows no link.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from jumpstart.files import PathError, write_bytes


@dataclass(frozen=True)
class KeptFiles:
    """Files that no output may replace.

    Attributes:
        owner: What they are files of, in words.
        files: Their paths in the folder of the owner, as patterns of :mod:`fnmatch`.
        signs: Names of files by which the folder is known.
        least: How many of the signs the folder has at least.
    """

    owner: str
    files: Sequence[str]
    signs: Collection[str]
    least: int = 1

    def contain(self, path: Path) -> bool:
        """Whether a path is the place of one of the files.

        Args:
            path: An absolute path.
        """
        for folder in path.parents:
            place = path.relative_to(folder).as_posix()
            if any(fnmatchcase(place, pattern) for pattern in self.files):
                found = sum((folder / name).is_file() for name in self.signs)
                if found >= self.least:
                    return True
        return False


def check_output(path: Path, name: str, kept: Sequence[KeptFiles]) -> None:
    """Refuse a path that a person names for an output, if a file of a run or of a sweep is or will be there.

    Links are followed, so neither the path nor the file behind it may be such a file.

    Args:
        path: The path.
        name: The parameter or flag, for messages.
        kept: The files that must stay.

    Raises:
        PathError: If the path is that of a file to keep.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "config.yaml").touch()
        >>> run = KeptFiles("a run", ["config.yaml", "checkpoints/*"], ["config.yaml"])
        >>> check_output(folder / "report.html", "--output", [run])
        >>> check_output(folder / "config.yaml", "--output", [run])  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        jumpstart.files.PathError: --output must not replace a file of a run, got .../config.yaml: name another file.
    """
    in_real_folder = Path(os.path.realpath(path.parent), path.name)
    for place in {in_real_folder, Path(os.path.realpath(path))}:
        for files in kept:
            if files.contain(place):
                replace = "replace" if place.exists() else "take the place of"
                raise PathError(f"{name} must not {replace} a file of {files.owner}, got {path}: name another file.")


def write_output(path: Path, content: str | bytes) -> None:
    """Write a file that a person names for an output; :func:`check_output` comes first.

    A regular file is replaced atomically. A link stays, and the file behind it is replaced. A device, such as
    ``/dev/stdout``, or a pipe is written to, and never replaced.

    Args:
        path: The file. Its folder must exist.
        content: The bytes, or the text, which is written in UTF-8 with Unix line ends.

    Raises:
        OSError: As :func:`~jumpstart.files.atomic_path`.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "latest.html").symlink_to("report.html")
        >>> write_output(folder / "latest.html", "new")
        >>> (folder / "report.html").read_text(), (folder / "latest.html").is_symlink()
        ('new', True)
    """
    content = content.encode("utf-8") if isinstance(content, str) else content
    try:
        found = path.stat()
    except FileNotFoundError:
        found = None
    if found is not None and (descriptor := _stream_of(found)) is not None:
        with open(os.dup(descriptor), "wb") as file:  # opened again, it would be written from its beginning
            file.write(content)
    elif found is not None and not stat.S_ISREG(found.st_mode):
        with path.open("wb") as device:
            device.write(content)
    else:
        write_bytes(Path(os.path.realpath(path)) if path.is_symlink() else path, content)


def is_stdout(path: Path) -> bool:
    """Whether a path leads to the standard output of this process, such as ``/dev/stdout``."""
    with suppress(OSError):
        return os.path.samestat(path.stat(), os.fstat(1))
    return False


def _stream_of(found: os.stat_result) -> int | None:
    """The standard output or error of this process, if a file is one of them."""
    for descriptor, stream in ((1, sys.stdout), (2, sys.stderr)):
        with suppress(OSError):
            if os.path.samestat(found, os.fstat(descriptor)):
                stream.flush()  # what was printed before comes first
                return descriptor
    return None
